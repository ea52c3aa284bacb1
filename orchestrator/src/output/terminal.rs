//! What others wrote, made safe to look at: a terminal obeys the control characters in it, which may rename its window, fill
//! its input or hide what follows. Colours stay; what else would be obeyed is shown as a picture of itself.

/// Longer sequences are nobody's colours.
const SEQUENCE_BYTES: usize = 64;
const ESCAPE: u8 = 0x1b;
/// The first byte of the control characters U+0080 to U+009F in UTF-8.
const C1_LEAD: u8 = 0xc2;

/// Of a text that comes in pieces.
#[derive(Default)]
pub struct Visible {
    /// The beginning of what may be a sequence, or a character.
    pending: Vec<u8>,
}

impl Visible {
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.pending.push(byte);
            match judge(&self.pending) {
                Judged::Unfinished => {}
                Judged::Fine => shown.append(&mut self.pending),
                Judged::Obeyed(letter) => {
                    let held = std::mem::take(&mut self.pending);
                    shown.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    // What follows an escape is text again, or begins another sequence.
                    let rest = if held[0] == C1_LEAD { &[] } else { &held[1..] };
                    shown.extend(self.feed(rest));
                }
            }
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

enum Judged {
    Unfinished,
    Fine,
    /// By the terminal; what is shown for its first character.
    Obeyed(char),
}

fn judge(bytes: &[u8]) -> Judged {
    match bytes {
        // A carriage return draws a bar of progress anew.
        [b'\n' | b'\t' | b'\r'] => Judged::Fine,
        [ESCAPE | C1_LEAD] => Judged::Unfinished,
        [ESCAPE, rest @ ..] => colour(rest),
        [C1_LEAD, 0x80..=0x9f] => Judged::Obeyed(char::REPLACEMENT_CHARACTER),
        [C1_LEAD, _] => Judged::Fine,
        [control @ (0..=0x1f | 0x7f), ..] => Judged::Obeyed(pictured(*control)),
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
        _ => Judged::Obeyed(pictured(ESCAPE)),
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
        ("\x1b\x1b[31mx", "␛\x1b[31mx"),
        ("a\u{9b}6n\u{a0}b\x08\x7f", "a\u{fffd}6n\u{a0}b␈␡"),
    ];

    #[test]
    fn what_a_terminal_would_obey_is_shown_however_it_is_cut() {
        for (written, expected) in WRITTEN {
            for size in 1..=written.len() {
                let mut visible = Visible::default();
                let pieces = written.as_bytes().chunks(size);
                let shown: Vec<u8> = pieces.flat_map(|piece| visible.feed(piece)).collect();
                assert_eq!(
                    String::from_utf8_lossy(&shown),
                    *expected,
                    "{written:?} by {size}"
                );
            }
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
