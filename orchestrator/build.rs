//! Asks the linker to write the program's relative relocations down in their short form, which is 2 MiB less that every
//! process reads at its start and keeps in memory. Only where the C library of this machine can read it, and the
//! program is built for this machine; and only in release builds, so that development links as always.

use std::env;
use std::process::Command;

/// The first glibc that reads it.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| said(variable).is_some_and(|it| it == value);
    let for_here = said("HOST") == said("TARGET");
    let with_glibc = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let released = is("PROFILE", "release");
    if released && for_here && with_glibc && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what cargo says, and no configuration"
)]
fn said(variable: &str) -> Option<String> {
    env::var(variable).ok()
}

/// `glibc 2.36`, as a pair.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
