//! The wildcards of OpenCode's rules.

/// `*` stands for any text and `?` for one character; `rm *` fits `rm` alone too.
pub(super) fn fits(text: &str, pattern: &str) -> bool {
    if pattern.strip_suffix(" *") == Some(text) {
        return true;
    }
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(place) {
            Some('*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(&one) if one == '?' || one == text[at] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((start, taken)) = star else {
                    return false;
                };
                star = Some((start, taken + 1));
                (place, at) = (start + 1, taken + 1);
            }
        }
    }
    pattern[place..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_wildcards_do() {
        for (text, pattern) in [
            ("abc", "a*c"),
            ("abc", "???"),
            ("", "*"),
            ("a.b.c", "*.c"),
            ("xaab", "*a?"),
        ] {
            assert!(fits(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("abc", "a*d"), ("ab", "???"), ("", "?"), ("a", "")] {
            assert!(!fits(text, pattern), "{text} {pattern}");
        }
    }
}
