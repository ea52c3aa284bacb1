//! Bytes in reads of any size become clean text in whole lines.
//!
//! A secret that was cut by a read is whole again here, since text only leaves at the end of a line, or up to a place
//! before which no secret can be unfinished. Memory is bounded by the longest line.

use super::redact::{Redactor, Seam};

/// A longer line leaves in pieces.
const LINE_BYTES: usize = 16 * 1024;

/// The unfinished line of one stream.
pub struct LineText {
    redactor: Redactor,
    seam: Seam,
    pending: Vec<u8>,
}

impl LineText {
    pub fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            seam: Seam::default(),
            pending: Vec::new(),
        }
    }

    /// Takes a read in; returns the text that is complete, perhaps none.
    pub fn feed(&mut self, mut bytes: &[u8]) -> String {
        let mut out = String::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.append(&bytes[..end], &mut out);
            self.end_line(&mut out);
            out.push('\n');
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, &mut out);
        out
    }

    /// The stream has been silent for a moment: returns what can be shown of the unfinished line.
    pub fn idle(&mut self) -> String {
        let mut out = String::new();
        let text = self.decoded();
        let shown = self.redactor.settled(&text);
        self.emit_front(&text, shown, &mut out);
        out
    }

    /// The stream has ended: returns the rest.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.end_line(&mut out);
        out
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn append(&mut self, mut bytes: &[u8], out: &mut String) {
        while self.pending.len() + bytes.len() > LINE_BYTES {
            let (now, later) = bytes.split_at(LINE_BYTES.saturating_sub(self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            let text = self.decoded();
            let settled = self.redactor.settled(&text);
            // One endless word: it leaves as it is, and the seam remembers whether it was a secret.
            let shown = if settled == 0 { text.len() } else { settled };
            self.emit_front(&text, shown, out);
        }
        self.pending.extend_from_slice(bytes);
    }

    fn end_line(&mut self, out: &mut String) {
        let pending = std::mem::take(&mut self.pending);
        let text = clean(&String::from_utf8_lossy(&pending));
        out.push_str(&self.redactor.redact(&text, &mut self.seam));
        self.seam.line_ended();
    }

    /// The pending bytes as text, leaving a character that is still incomplete where it is.
    fn decoded(&mut self) -> String {
        let whole = self.pending.len() - incomplete_tail(&self.pending);
        let rest = self.pending.split_off(whole);
        let text = clean(&String::from_utf8_lossy(&self.pending));
        self.pending = rest;
        text
    }

    /// Emits the first `shown` bytes of `text` and puts the rest back before what is pending.
    fn emit_front(&mut self, text: &str, shown: usize, out: &mut String) {
        let (front, back) = text.split_at(shown);
        if !front.is_empty() {
            out.push_str(&self.redactor.redact(front, &mut self.seam));
        }
        let incomplete = std::mem::replace(&mut self.pending, back.as_bytes().to_vec());
        self.pending.extend_from_slice(&incomplete);
    }
}

/// NUL cannot be stored as text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// How many bytes at the end are the beginning of a character that may be completed.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if back < length { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(secrets: &[&str]) -> LineText {
        LineText::new(Redactor::new(
            secrets.iter().map(|&secret| secret.to_owned()),
        ))
    }

    #[test]
    fn whole_lines_leave_at_once_and_the_rest_waits() {
        let mut text = text(&[]);
        assert_eq!(text.feed(b"one\ntwo\nthr"), "one\ntwo\n");
        assert_eq!(text.feed(b"ee\n"), "three\n");
        assert_eq!(text.feed(b"last"), "");
        assert_eq!(text.finish(), "last");
    }

    #[test]
    fn a_prompt_without_a_line_end_is_shown_when_the_stream_is_silent() {
        let mut text = text(&[]);
        assert_eq!(text.feed(b"Continue? [y/n] "), "");
        assert_eq!(text.idle(), "Continue? [y/n] ");
        assert_eq!(text.feed(b"yes\n"), "yes\n");
    }

    #[test]
    fn a_secret_cut_by_reads_and_silence_is_still_caught() {
        let mut text = text(&["correct horse battery"]);
        let mut seen = text.feed(b"the pass is correct ho");
        seen += &text.idle();
        seen += &text.feed(b"rse bat");
        seen += &text.idle();
        seen += &text.feed(b"tery\n");
        assert_eq!(seen, "the pass is [redacted]\n");
        let mut seen = text.feed(b"key AKIAABCD");
        seen += &text.idle();
        seen += &text.feed(b"EFGHIJKLMNOP end\n");
        assert_eq!(seen, "key [redacted] end\n");
        for cut in [
            "Author",
            "Authorization: ",
            "Authorization: Bear",
            "Authorization: Bearer ",
        ] {
            let mut seen = text.feed(cut.as_bytes());
            seen += &text.idle();
            seen += &text.feed(&b"Authorization: Bearer abcdef.ghij\n"[cut.len()..]);
            assert_eq!(seen, "Authorization: Bearer [redacted]\n", "{cut}");
        }
    }

    #[test]
    fn broken_text_becomes_valid_and_cut_characters_whole() {
        let mut text = text(&[]);
        assert_eq!(text.feed(b"a\0b\xff\n"), "a\u{fffd}b\u{fffd}\n");
        let word = "größe ".as_bytes();
        let mut seen = text.feed(&word[..3]);
        seen += &text.idle();
        seen += &text.feed(&word[3..]);
        seen += &text.finish();
        assert_eq!(seen, "größe ");
    }

    #[test]
    fn an_endless_line_leaves_in_pieces_and_nothing_of_it_is_lost() {
        let mut text = text(&[]);
        let mut seen = String::new();
        for _ in 0..100 {
            seen += &text.feed(&[b'x'; 1000]);
            assert!(text.pending.len() <= LINE_BYTES);
        }
        seen += &text.finish();
        assert_eq!(seen, "x".repeat(100_000));
    }

    #[test]
    fn a_secret_longer_than_a_piece_is_swallowed_to_its_end() {
        let mut text = text(&[]);
        let mut line = b"token=".to_vec();
        line.extend(vec![b'k'; 40_000]);
        line.extend_from_slice(b" after\n");
        let seen = text.feed(&line);
        assert_eq!(seen.replace("[redacted]", ""), "token= after\n");
    }
}
