//! What people see of a world. The only place that writes to the standard output.

/// A line of the trace, as it happens.
#[expect(clippy::print_stdout, reason = "somebody asked to see the trace")]
pub fn line(line: &str) {
    println!("{line}");
}
