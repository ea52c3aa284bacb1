//! Examples from a JSONL file. A line is one of
//!
//! - `{"text": "..."}`
//! - `{"prompt": "...", "completion": "..."}`
//! - `{"messages": [{"role": "...", "content": "..."}, ...]}`
//!
//! and may have other members; blank lines are passed over.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::Problem;
use super::model::END;

/// All of it is held in memory.
const DATASET_BYTES: usize = 256 * 1024 * 1024;
/// With at least this many examples, the last tenth is kept for evaluation.
const HOLD_OUT_FROM: usize = 10;

/// The text of all examples, each ended by [`END`].
#[derive(Debug)]
pub(super) struct Examples {
    pub training: Vec<u8>,
    pub evaluation: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Example {
    Messages { messages: Vec<Turn> },
    Pair { prompt: String, completion: String },
    Text { text: String },
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

impl Example {
    fn into_text(self) -> String {
        match self {
            Self::Text { text } => text,
            Self::Pair { prompt, completion } => prompt + "\n" + &completion,
            Self::Messages { messages } => messages
                .into_iter()
                .flat_map(|turn| [turn.role, ": ".to_owned(), turn.content, "\n".to_owned()])
                .collect(),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Examples, Problem> {
    let named = |error: &dyn std::fmt::Display| Problem(format!("{}: {error}", path.display()));
    let mut reader = BufReader::new(File::open(path).map_err(|error| named(&error))?);
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let (mut line, mut total) = (Vec::new(), 0);
    for number in 1_u64.. {
        line.clear();
        let count = reader
            .read_until(b'\n', &mut line)
            .map_err(|error| named(&error))?;
        if count == 0 {
            break;
        }
        total += count;
        if total > DATASET_BYTES {
            return Err(named(
                &"is larger than 256 MiB, the most that this trainer takes",
            ));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let example: Example = serde_json::from_slice(&line).map_err(|error| {
            // The parser does not say more than this for a line that is JSON of another shape.
            let reason = match error.classify() {
                serde_json::error::Category::Data => {
                    "it has neither `text`, nor `prompt` and `completion`, nor `messages`"
                        .to_owned()
                }
                _ => format!("it is not JSON ({error})"),
            };
            Problem(format!("{}, line {number}: {reason}", path.display()))
        })?;
        let mut text = example.into_text().into_bytes();
        if !text.is_empty() {
            text.push(END);
            texts.push(text);
        }
    }
    if texts.is_empty() {
        return Err(named(&"has no examples"));
    }
    Ok(split(&texts))
}

/// With few examples, the evaluation is on what was trained on.
fn split(texts: &[Vec<u8>]) -> Examples {
    if texts.len() < HOLD_OUT_FROM {
        let all = texts.concat();
        return Examples {
            training: all.clone(),
            evaluation: all,
        };
    }
    let (training, evaluation) = texts.split_at(texts.len() - texts.len() / 10);
    Examples {
        training: training.concat(),
        evaluation: evaluation.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Examples, Problem> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn the_three_shapes_are_read() {
        let examples = read_text(
            "{\"text\":\"one\"}\n\n{\"prompt\":\"p\",\"completion\":\"c\",\"id\":7}\n\
             {\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"}]}",
        )
        .unwrap();
        assert_eq!(examples.training, b"one\0p\nc\0user: hi\nassistant: ho\n\0");
        assert_eq!(examples.evaluation, examples.training);
    }

    #[test]
    fn with_many_examples_some_are_held_out() {
        let lines: Vec<String> = (0..20)
            .map(|at| format!("{{\"text\":\"{}\"}}", at % 10))
            .collect();
        let examples = read_text(&lines.join("\n")).unwrap();
        assert_eq!(
            (examples.training.len(), examples.evaluation.len()),
            (36, 4)
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let broken = read_text("{\"text\":\"a\"}\n{\"text\": \n").unwrap_err();
        assert!(broken.0.contains("line 2: it is not JSON"), "{broken}");
        let shape = read_text("\n{\"txt\":\"a\"}\n").unwrap_err();
        assert!(shape.0.contains("line 2: it has neither"), "{shape}");
        let empty = read_text("\n\n").unwrap_err();
        assert!(empty.0.contains("has no examples"), "{empty}");
    }
}
