//! What a program prints, made fit for a log: streamed as it comes, valid text, without secrets, and bounded.

mod lines;
mod pump;
mod records;
mod redact;
mod scan;

pub use lines::LineText;
pub use pump::{Console, OutputLimits};
pub use records::{RECORD_BYTES, Records};
pub use redact::{Redactor, Seam};
