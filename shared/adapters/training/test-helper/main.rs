//! The guard and the reference trainer for this crate's tests; the product has both inside its own binary.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "guard" => adapter_agents::guard::main(rest),
        Some((first, rest)) if first == "reference-trainer" => {
            adapter_training::reference::main(rest)
        }
        _ => ExitCode::from(2),
    }
}
