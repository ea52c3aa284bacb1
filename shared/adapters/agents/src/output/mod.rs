//! What a program prints, made fit for a log: streamed as it comes, valid text, without secrets, and bounded.

mod lines;
mod pump;
mod redact;
mod scan;

pub use lines::LineText;
pub use pump::{Console, OutputLimits};
pub use redact::{Redactor, Seam};
