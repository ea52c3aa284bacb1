//! Keeps a patch below a limit by leaving out the parts of its largest files, so that one huge file does not cost all the
//! others theirs. Never holds more than the limit, however long the patch that comes in is.

use std::fmt::Write as _;

/// How the part of a file begins. No other line does: lines of content follow a blank, `+`, `-` or a length.
const HEADER: &[u8] = b"diff --git ";
/// When more files than these would have to go, what remains says little about the run.
const LEFT_OUT_MAX: usize = 100;
/// Of a part's first line, which has its name twice.
const HEAD_BYTES: usize = 16 * 1024;

/// The part of one file.
#[derive(Default)]
struct Part {
    /// Its first line.
    head: Vec<u8>,
    bytes: usize,
    /// None once it was left out.
    text: Option<Vec<u8>>,
}

/// Takes a patch in chunks of any size.
pub(super) struct Parts {
    limit: usize,
    kept: usize,
    left_out: usize,
    files: Vec<Part>,
    /// The beginning of the current line, up to the header's length.
    start: Vec<u8>,
}

impl Parts {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: 0,
            left_out: 0,
            files: Vec::new(),
            start: Vec::new(),
        }
    }

    /// False when there is no use in going on: too many files would have to go.
    pub(super) fn push(&mut self, chunk: &[u8]) -> bool {
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            let missing = HEADER.len() - self.start.len();
            let (start, rest) = piece.split_at(missing.min(piece.len()));
            if missing > 0 {
                self.start.extend_from_slice(start);
                if self.start.len() == HEADER.len() || start.ends_with(b"\n") {
                    self.begin_line();
                }
            }
            self.append(rest);
            if piece.ends_with(b"\n") {
                self.start.clear();
            }
        }
        self.left_out <= LEFT_OUT_MAX
    }

    /// The patch without the parts that had to go, and lines that name those. None when nothing or too little is left.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if !self.start.is_empty() && self.start.len() < HEADER.len() {
            self.begin_line();
        }
        if self.left_out > LEFT_OUT_MAX || (self.left_out > 0 && self.kept == 0) {
            return None;
        }
        let mut patch = Vec::with_capacity(self.kept);
        let mut notes = String::new();
        for part in &self.files {
            match &part.text {
                Some(text) => patch.extend_from_slice(text),
                None => {
                    let _ = writeln!(
                        notes,
                        "#   {}: {} bytes of patch",
                        name(&part.head),
                        part.bytes
                    );
                }
            }
        }
        if !notes.is_empty() {
            let limit = self.limit;
            let head = format!(
                "# The patch is larger than {limit} bytes; the parts of these files were left out of it:\n"
            );
            patch.extend_from_slice(head.as_bytes());
            patch.extend_from_slice(notes.as_bytes());
        }
        Some(patch)
    }

    /// The start of the line is known: it belongs to a new part, or to the last one.
    fn begin_line(&mut self) {
        if self.start == HEADER || self.files.is_empty() {
            self.files.push(Part {
                text: Some(Vec::new()),
                ..Part::default()
            });
        }
        let start = std::mem::take(&mut self.start);
        self.append(&start);
        self.start = start;
    }

    fn append(&mut self, bytes: &[u8]) {
        let Some(part) = self.files.last_mut() else {
            return;
        };
        part.bytes += bytes.len();
        if part.head.len() < HEAD_BYTES && !part.head.ends_with(b"\n") {
            part.head.extend_from_slice(bytes);
        }
        if let Some(text) = &mut part.text {
            text.extend_from_slice(bytes);
            self.kept += bytes.len();
        }
        while self.kept > self.limit {
            self.leave_largest_out();
        }
    }

    /// What goes once never has to come back: the parts that are smaller only become more.
    fn leave_largest_out(&mut self) {
        let largest = self
            .files
            .iter_mut()
            .filter(|part| part.text.is_some())
            .max_by_key(|part| part.bytes);
        if let Some(part) = largest {
            part.text = None;
            self.kept -= part.bytes;
            self.left_out += 1;
        }
    }
}

/// The name in `diff --git a/NAME b/NAME`: without renames, both halves are the same one. Quoted as git does.
fn name(head: &[u8]) -> String {
    let line = String::from_utf8_lossy(head);
    let names = line.trim_end_matches('\n');
    let names = names.strip_prefix("diff --git ").unwrap_or(names);
    let half = names.get(..names.len() / 2).unwrap_or(names);
    match half.strip_prefix("\"a/") {
        Some(quoted) => format!("\"{quoted}"),
        None => half.strip_prefix("a/").unwrap_or(half).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, bytes: usize) -> String {
        format!(
            "diff --git a/{name} b/{name}\n+{}\n diff --git in content\n",
            "y".repeat(bytes)
        )
    }

    fn keep(limit: usize, patch: &str, chunk: usize) -> Option<String> {
        let mut parts = Parts::new(limit);
        for chunk in patch.as_bytes().chunks(chunk) {
            parts.push(chunk);
        }
        parts
            .finish()
            .map(|kept| String::from_utf8(kept).expect("text"))
    }

    #[test]
    fn the_largest_parts_go_wherever_they_stand_and_however_they_come_in() {
        let (one, two, three) = (part("one", 10), part("two", 900), part("a b", 20));
        let (four, five) = (part("four", 700), part("five", 30));
        let whole = [&*one, &two, &three, &four, &five].concat();
        for chunk in [1, 2, 7, 64, 100_000] {
            assert_eq!(keep(10_000, &whole, chunk).unwrap(), whole);
            let kept = keep(400, &whole, chunk).unwrap();
            let patch = [&*one, &three, &five].concat();
            let (before, notes) = kept.split_at(patch.len());
            assert_eq!(before, patch);
            let notes: Vec<&str> = notes.lines().skip(1).collect();
            assert_eq!(
                notes,
                [
                    format!("#   two: {} bytes of patch", two.len()),
                    format!("#   four: {} bytes of patch", four.len())
                ]
            );
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_kept() {
        let whole = format!("{}+end", part("one", 10));
        assert_eq!(keep(1000, &whole, 3).unwrap(), whole);
        assert_eq!(keep(1000, "", 3).unwrap(), "");
    }

    #[test]
    fn when_nothing_or_hundreds_of_files_would_go_there_is_no_patch() {
        assert_eq!(keep(100, &part("one", 200), 64), None);
        let many: String = (0..200).map(|n| part(&n.to_string(), 1000)).collect();
        assert_eq!(keep(5_000, &many, 64), None);
    }

    #[test]
    fn names_are_shown_as_git_wrote_them() {
        assert_eq!(
            name(b"diff --git a/src/a b.rs b/src/a b.rs\n"),
            "src/a b.rs"
        );
        assert_eq!(name(b"diff --git \"a/x\\ny\" \"b/x\\ny\"\n"), "\"x\\ny\"");
    }
}
