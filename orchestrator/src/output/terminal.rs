//! What others wrote, made safe to look at: a terminal obeys the control characters in it, which may rename its window, fill
//! its input or hide what follows. Colours stay; what else would be obeyed is shown as a picture of itself.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longer sequences are nobody's colours.
const SEQUENCE_BYTES: usize = 64;
const ESCAPE: u8 = 0x1b;
/// Ends all colours.
const PLAIN: &[u8] = b"\x1b[0m";
/// The first byte of the control characters U+0080 to U+009F in UTF-8.
const C1_LEAD: u8 = 0xc2;

/// Of a text that comes in pieces.
#[derive(Default)]
pub struct Visible {
    /// The beginning of what may be a sequence, or a character.
    pending: Vec<u8>,
    /// A colour was begun and not ended.
    is_coloured: bool,
}

impl Visible {
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.pending.push(byte);
            match judge(&self.pending) {
                Judged::Unfinished => {}
                Judged::Fine => {
                    if let [ESCAPE, .., b'm'] = self.pending[..] {
                        self.is_coloured = self.pending != PLAIN && self.pending != b"\x1b[m";
                    }
                    shown.append(&mut self.pending);
                }
                Judged::Obeyed(letter, bytes) => {
                    let held = std::mem::take(&mut self.pending);
                    shown.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    // What follows is text again, or begins another sequence.
                    shown.extend(self.feed(&held[bytes..]));
                }
            }
        }
        shown
    }

    /// What is left when nothing more comes; what is written after it has the terminal's own colours.
    pub fn finish(&mut self) -> Vec<u8> {
        let left = std::mem::take(&mut self.pending);
        let mut shown = visible(&String::from_utf8_lossy(&left)).into_bytes();
        if std::mem::take(&mut self.is_coloured) {
            shown.extend_from_slice(PLAIN);
        }
        shown
    }
}

/// A whole text, on any screen.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            '\0'..='\x1f' | '\x7f' => pictured(letter as u8),
            letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
            letter => letter,
        })
        .collect()
}

/// The same JSON, in which the control characters that may stand as they are do not.
pub fn escaped(json: &str) -> Cow<'_, str> {
    let is_raw = |letter: char| letter.is_control() && letter != '\n';
    if !json.contains(is_raw) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_raw(letter) {
            let _ = write!(text, "\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    Cow::Owned(text)
}

enum Judged {
    Unfinished,
    Fine,
    /// By the terminal; what is shown for its first character, and how many bytes that has.
    Obeyed(char, usize),
}

fn judge(bytes: &[u8]) -> Judged {
    match bytes {
        // A carriage return draws a bar of progress anew.
        [b'\n' | b'\t' | b'\r'] | [C1_LEAD, 0xa0..=0xbf] => Judged::Fine,
        [ESCAPE | C1_LEAD] => Judged::Unfinished,
        [ESCAPE, rest @ ..] => colour(rest),
        [C1_LEAD, 0x80..=0x9f] => Judged::Obeyed(char::REPLACEMENT_CHARACTER, 2),
        [C1_LEAD, _] => Judged::Obeyed(char::REPLACEMENT_CHARACTER, 1),
        [control @ (0..=0x1f | 0x7f), ..] => Judged::Obeyed(pictured(*control), 1),
        _ => Judged::Fine,
    }
}

/// `ESC [ 1;31 m`, or `ESC [ K`, which clears the rest of a line.
fn colour(rest: &[u8]) -> Judged {
    match rest {
        [b'['] => Judged::Unfinished,
        [b'[', parameters @ .., b'm' | b'K'] if are_parameters(parameters) => Judged::Fine,
        [b'[', parameters @ ..]
            if parameters.len() < SEQUENCE_BYTES && are_parameters(parameters) =>
        {
            Judged::Unfinished
        }
        _ => Judged::Obeyed(pictured(ESCAPE), 1),
    }
}

fn are_parameters(bytes: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b'0'..=b'9' | b';' | b':');
    bytes.iter().all(allowed)
}

/// U+2400 and what follows are pictures of the control characters.
fn pictured(byte: u8) -> char {
    const PICTURES: u32 = 0x2400;
    const DELETE: u8 = 0x7f;
    if byte == DELETE {
        return '\u{2421}';
    }
    char::from_u32(PICTURES + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &[(&str, &str)] = &[
        ("plain\ttext, größe\r\n", "plain\ttext, größe\r\n"),
        ("\x1b[1;31mred\x1b[0m\x1b[K", "\x1b[1;31mred\x1b[0m\x1b[K"),
        ("\x1b]0;pwn\x07", "␛]0;pwn␇"),
        ("\x1b[2Jgone\x1b[6n", "␛[2Jgone␛[6n"),
        ("\x1b\x1b[31mx", "␛\x1b[31mx\x1b[0m"),
        ("\x1b[31mx\x1b[m", "\x1b[31mx\x1b[m"),
        ("a\u{9b}6n\u{a0}b\x08\x7f", "a\u{fffd}6n\u{a0}b␈␡"),
    ];

    #[test]
    fn what_a_terminal_would_obey_is_shown_however_it_is_cut() {
        for (written, expected) in WRITTEN {
            for size in 1..=written.len() {
                let mut visible = Visible::default();
                let pieces = written.as_bytes().chunks(size);
                let mut shown: Vec<u8> = pieces.flat_map(|piece| visible.feed(piece)).collect();
                shown.extend(visible.finish());
                assert_eq!(
                    String::from_utf8_lossy(&shown),
                    *expected,
                    "{written:?} by {size}"
                );
            }
        }
    }

    #[test]
    fn json_says_the_same_without_control_characters() {
        let document = serde_json::json!({"a": "x\u{85}\u{7f}\u{1b}\u{e2}y", "b": [1]});
        for text in [
            document.to_string(),
            serde_json::to_string_pretty(&document).unwrap(),
        ] {
            let escaped = escaped(&text);
            assert!(!escaped.contains(|letter: char| letter.is_control() && letter != '\n'));
            let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, document);
        }
    }

    #[test]
    fn what_is_no_text_hides_no_sequence() {
        for (written, expected) in [
            (&b"\xc2\x1b[2J"[..], "\u{fffd}␛[2J"),
            (b"\xc2\xc2\x9b6n", "\u{fffd}\u{fffd}6n"),
            (b"end\xc2", "end\u{fffd}"),
            (b"end\x1b[3", "end␛[3"),
        ] {
            let mut visible = Visible::default();
            let mut shown = visible.feed(written);
            shown.extend(visible.finish());
            assert_eq!(String::from_utf8_lossy(&shown), expected);
        }
    }

    #[test]
    fn a_whole_text_has_no_control_characters_but_lines_and_tabs() {
        assert_eq!(
            visible("a\x1b[31mb\x07\u{9b}\n\tc\r"),
            "a␛[31mb␇\u{fffd}\n\tc␍"
        );
    }
}
