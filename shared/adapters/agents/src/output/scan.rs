//! The shapes of secrets, found by hand in one pass: a general pattern engine would be slower and no clearer.

pub(super) const KEY_BEGIN: &str = "-----BEGIN ";
pub(super) const KEY_KIND: &str = "PRIVATE KEY";
pub(super) const KEY_END: &str = "-----END ";

/// Where a secret stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub start: usize,
    pub end: usize,
    /// The lines that follow belong to it.
    pub opens_key_block: bool,
}

impl Found {
    pub(super) const fn plain(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            opens_key_block: false,
        }
    }
}

/// A token that is known by how it begins.
struct Shape {
    prefix: &'static str,
    /// How many characters of its alphabet follow at least.
    min: usize,
}

const fn token(prefix: &'static str, min: usize) -> Shape {
    Shape { prefix, min }
}

const SHAPES: &[Shape] = &[
    token("orc_", 20),
    token("ora_", 20),
    token("AKIA", 16),
    token("ASIA", 16),
    token("ghp_", 20),
    token("gho_", 20),
    token("ghu_", 20),
    token("ghs_", 20),
    token("ghr_", 20),
    token("github_pat_", 20),
    token("glpat-", 16),
    token("sk-", 20),
    token("xoxa-", 10),
    token("xoxb-", 10),
    token("xoxp-", 10),
    token("xoxr-", 10),
    token("xoxs-", 10),
];

/// Keys and tokens of this product: a prefix and many hexadecimal digits.
const OWN: [&str; 2] = ["orc_", "ora_"];
const OWN_DIGITS: usize = 40;

/// What stands before the token of a request's header; it stays.
const BEARER: &str = "Bearer ";
/// Prose has shorter words after it. In the header itself, any token is one, and small letters are allowed.
const BEARER_MIN: usize = 16;
const BEARER_HEADER: &str = "authorization";

/// Names whose value after `=` is a secret when they end so, in lower case.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
];

/// The first secret in `text`.
pub(super) fn first(text: &str) -> Option<Found> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find_map(|at| match bytes[at] {
        b'=' => assigned(text, at),
        b':' if text[at..].starts_with("://") => in_authority(text, at + 3),
        b'-' if text[at..].starts_with(KEY_BEGIN) => key_block(text, at),
        b'o' | b'A' | b'g' | b's' | b'x' => token_at(text, at),
        b'B' | b'b' => bearer_at(text, at),
        _ => None,
    })
}

fn token_at(text: &str, at: usize) -> Option<Found> {
    let shape = SHAPES
        .iter()
        .find(|shape| text[at..].starts_with(shape.prefix))?;
    let from = at + shape.prefix.len();
    if is_inside_word(text, at) && !is_own(shape, &text[from..]) {
        return None;
    }
    let length = text[from..].bytes().take_while(|&b| is_token(b)).count();
    (length >= shape.min).then_some(Found::plain(at, from + length))
}

/// Ours are unmistakable, so nothing that is written right before one hides it.
fn is_own(shape: &Shape, rest: &str) -> bool {
    let digits = rest
        .bytes()
        .take_while(|b| b.is_ascii_hexdigit() || *b == b'_')
        .count();
    OWN.contains(&shape.prefix) && digits >= OWN_DIGITS
}

/// The token after `Bearer `.
fn bearer_at(text: &str, at: usize) -> Option<Found> {
    let from = at + BEARER.len();
    let word = text.get(at..from)?;
    if !word.eq_ignore_ascii_case(BEARER) || is_inside_word(text, at) {
        return None;
    }
    let length = text[from..]
        .bytes()
        .take_while(|&b| is_token(b) || matches!(b, b'+' | b'/' | b'=' | b'~'))
        .count();
    let is_token = if header_start(&text[..at]) < at {
        length > 0
    } else {
        word == BEARER && length >= BEARER_MIN
    };
    is_token.then_some(Found::plain(from, from + length))
}

/// Where a header's name begins that `before` ends in, as `Authorization: ` or `"Authorization": "`; its length when it
/// ends otherwise.
fn header_start(before: &str) -> usize {
    let is_quote = |c| matches!(c, '"' | '\'');
    let name = before
        .trim_end_matches(is_quote)
        .trim_end()
        .strip_suffix(':')
        .map(|name| name.trim_end_matches(is_quote));
    name.and_then(|name| {
        let start = name.len().checked_sub(BEARER_HEADER.len())?;
        let word = name.get(start..)?;
        word.eq_ignore_ascii_case(BEARER_HEADER).then_some(start)
    })
    .unwrap_or(before.len())
}

fn is_inside_word(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// `name=value` or `name="value"`, `equals` being the place of the `=`.
fn assigned(text: &str, equals: usize) -> Option<Found> {
    let name_length = text[..equals]
        .bytes()
        .rev()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        .count();
    let name = text[equals - name_length..equals].to_ascii_lowercase();
    if !SECRET_NAMES.iter().any(|secret| name.ends_with(secret)) {
        return None;
    }
    let value = &text[equals + 1..];
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let start = equals + 1 + quote.map_or(0, char::len_utf8);
    let ends = |c: char| match quote {
        Some(quote) => c == quote,
        None => c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | ')' | '='),
    };
    let length = text[start..].find(ends).unwrap_or(text.len() - start);
    let shown = text[start..].starts_with("[redacted]");
    (length > 0 && !shown).then_some(Found::plain(start, start + length))
}

/// The password of `user:password@host`, `from` being the place after `://`.
fn in_authority(text: &str, from: usize) -> Option<Found> {
    let authority = text[from..]
        .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''))
        .map_or(&text[from..], |end| &text[from..from + end]);
    let at = authority.rfind('@')?;
    let colon = authority[..at].find(':')?;
    (colon + 1 < at).then_some(Found::plain(from + colon + 1, from + at))
}

fn key_block(text: &str, at: usize) -> Option<Found> {
    let kind_end = text[at + KEY_BEGIN.len()..].find("-----")? + at + KEY_BEGIN.len();
    if !text[at..kind_end].contains(KEY_KIND) {
        return None;
    }
    // A key on one line, as in JSON, ends on it.
    let end = text[kind_end..].find(KEY_END).map(|end| {
        let tail = kind_end + end + KEY_END.len();
        text[tail..]
            .find("-----")
            .map_or(text.len(), |dashes| tail + dashes + 5)
    });
    Some(Found {
        start: at,
        end: end.unwrap_or(text.len()),
        opens_key_block: end.is_none(),
    })
}

/// A line inside a private key: base64, a `Name: value` header, or the closing line.
pub(super) fn is_key_material(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(KEY_END)
        || line.starts_with("Proc-Type:")
        || line.starts_with("DEK-Info:")
        || line
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

/// How much of the beginning goes on a secret that the last piece ended in.
pub(super) fn secret_run(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ';' | ','))
        .unwrap_or(text.len())
}

/// Where the last word begins, with the `Bearer` and the header's name that may stand before it. The text's length when
/// it ends in something that no secret begins with.
pub(super) fn last_word(text: &str) -> usize {
    let start = text
        .char_indices()
        .rev()
        .find(|(_, c)| c.is_whitespace())
        .map_or(0, |(at, c)| at + c.len_utf8());
    let bearer = start
        .checked_sub(BEARER.len())
        .filter(|&from| {
            text.get(from..start)
                .is_some_and(|word| word.eq_ignore_ascii_case(BEARER))
        })
        .unwrap_or(start);
    let quote = text[bearer..].starts_with(['"', '\'']);
    let start = header_start(&text[..bearer + usize::from(quote)]).min(bearer);
    if text[start..].bytes().any(|b| b.is_ascii_alphanumeric()) {
        start
    } else {
        text.len()
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
