//! Migrations are compiled in, so a new one must rebuild this crate.

fn main() {
    println!("cargo:rerun-if-changed=../../../migrations/postgres");
}
