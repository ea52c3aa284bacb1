//! The one binary: servers, the API's client, and the demo.
//!
//! Everything that differs between installations is decided here and nowhere else: which adapters stand behind the
//! ports (`compose`), where settings come from (`config`), what the process answers to its caller (`exit`, `output`).

mod all_in_one;
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help, read in a terminal"
)]
mod cli;
mod client;
mod commands;
mod compose;
mod config;
mod demo;
mod exit;
mod output;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use cli::Cli;
use exit::Exit;

fn main() -> ExitCode {
    if let Some(code) = inner_role() {
        return code;
    }
    match start(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of_error(&error);
            if exit != Exit::Ok {
                output::say(format_args!("error: {error:#}"));
            }
            exit.into()
        }
    }
}

/// What a worker uses its own binary for, before anything parses the command line or starts a thread.
fn inner_role() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (role, rest) = arguments.split_first()?;
    match role.to_str()? {
        compose::tools::GUARD => Some(adapter_agents::guard::main(rest)),
        compose::tools::TRAINER => Some(adapter_training::reference::main(rest)),
        _ => None,
    }
}

fn start(cli: Cli) -> anyhow::Result<Exit> {
    // Fails only when a provider is there already, which would be as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime could not be started")?;
    let ended = runtime.block_on(commands::run(cli));
    // Whatever still blocks a thread (a reader of standard input, a file system that hangs) does not keep us.
    runtime.shutdown_background();
    ended
}
