//! What agents can do, in words that registrations and sessions share.

/// Capabilities that mean the same everywhere, each with what it promises. Others are allowed, and mean what those who
/// write them agree on; `language:rust` is a good form for what has many kinds.
pub const WELL_KNOWN_CAPABILITIES: [(&str, &str); 12] = [
    ("code_editing", "changes files of a repository as asked"),
    ("code_review", "finds faults in a change and says where"),
    ("testing", "writes and runs tests"),
    ("debugging", "finds the cause of a failure"),
    ("refactoring", "changes structure and keeps behaviour"),
    ("documentation", "writes documentation"),
    ("planning", "breaks a task down into steps"),
    ("research", "finds and sums up what is known"),
    ("data_analysis", "works on data and reports findings"),
    ("shell", "runs programs of the machine it works on"),
    ("web", "reads pages of the web"),
    ("vision", "understands images"),
];

const CAPABILITY_MAX: usize = 64;

/// 1 to 64 of a-z, 0-9, `_`, `-`, `.` and `:`, the first a letter.
pub fn is_capability(text: &str) -> bool {
    text.len() <= CAPABILITY_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | ':')
        })
}
