//! Migrations are compiled in, so a new one must rebuild this crate.

#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn main() {
    println!("cargo:rerun-if-changed=../../../migrations/postgres");
}
