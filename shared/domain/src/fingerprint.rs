//! Which failures are alike: what groups dead letters.

use crate::JobError;

/// Characters of a message that count.
const MESSAGE_MAX: usize = 400;

/// The error with everything taken out that differs from job to job: numbers, ids, paths' digits and quoted words.
///
/// Two errors with the same fingerprint have most likely the same cause. It is readable, so that it can be the title of
/// its group: `COMMAND_FAILED: the command ended with exit code #`.
pub fn fingerprint(error: &JobError) -> String {
    let mut shape = format!("{}: ", error.code);
    let mut words = error.message.chars().take(MESSAGE_MAX).peekable();
    let mut word = String::new();
    loop {
        match words.next() {
            Some(c) if is_of_a_word(c) => word.push(c),
            other => {
                push(&mut shape, &word);
                word.clear();
                match other {
                    Some(c) if c.is_whitespace() => {
                        if !shape.ends_with(' ') {
                            shape.push(' ');
                        }
                    }
                    Some(c) if !c.is_control() => shape.push(c),
                    Some(_) => {}
                    None => return shape.trim_end().to_owned(),
                }
            }
        }
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

/// A word with a digit in it is most likely a number, an id or a name with one in it.
fn push(shape: &mut String, word: &str) {
    if word.chars().any(|c| c.is_ascii_digit()) {
        shape.push('#');
    } else {
        shape.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> String {
        fingerprint(&JobError::new("X", message))
    }

    #[test]
    fn what_differs_from_job_to_job_does_not_count() {
        let one = of("worker 0198c5a2-7e1b-7cc0-8000-0123456789ab: exit code 3\n after 12.5 s");
        let two = of("worker 0198ffff-0000-7cc0-8000-ba9876543210: exit code 4\n after 0.25 s");
        assert_eq!(one, two);
        assert_eq!(one, "X: worker #: exit code # after #.# s");
        assert_ne!(of("disk full"), of("no such file"));
    }

    #[test]
    fn a_long_message_has_a_short_fingerprint() {
        assert!(of(&"word ".repeat(10_000)).len() < 500);
    }
}
