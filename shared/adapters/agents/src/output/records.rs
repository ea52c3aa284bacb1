//! Splits a stream of JSON lines into lines, bounded.

/// Enough for a checkpoint with a small model's state in it.
pub const RECORD_BYTES: usize = 1024 * 1024;

/// Whole lines out of reads of any size. A longer line than [`RECORD_BYTES`] is dropped, and counted.
#[derive(Default)]
pub struct Records {
    pending: Vec<u8>,
    dropping: bool,
    /// How many lines were too long.
    pub dropped: usize,
}

impl Records {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !self.dropping && self.pending.len() + piece.len() > RECORD_BYTES {
                self.dropping = true;
                self.dropped += 1;
                self.pending = Vec::new();
            }
            if !self.dropping {
                self.pending.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") && !std::mem::take(&mut self.dropping) {
                lines.push(std::mem::take(&mut self.pending));
            }
        }
        lines
    }

    /// The last line, if it was not ended.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.dropping = false;
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_one_too_long_is_left_out() {
        let mut records = Records::default();
        assert_eq!(records.feed(b"{\"a\":1}\n{\"b\""), [b"{\"a\":1}\n"]);
        assert_eq!(records.feed(b":2}\n"), [b"{\"b\":2}\n"]);
        assert!(records.feed(&vec![b'x'; RECORD_BYTES + 1]).is_empty());
        assert_eq!(records.feed(b"xx\n{}\n"), [b"{}\n"]);
        assert_eq!(records.dropped, 1);
        assert!(records.feed(b"{\"end\":1}").is_empty());
        assert_eq!(records.finish().as_deref(), Some(&b"{\"end\":1}"[..]));
        assert_eq!(records.finish(), None);
    }
}
