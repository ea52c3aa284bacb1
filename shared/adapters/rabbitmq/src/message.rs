//! What a message says: how many wake-ups it stands for, in digits.
//!
//! A message costs the broker some hundred times what it costs to count, so the wake-ups of a deep queue share messages.
//! Those of a shallow one stay apart, so that several workers find something.

/// The messages that a batch is spread over at least, while it lasts.
const SPREAD: u32 = 8;
/// As many as are taken at one visit at most; more would only be sent back.
pub(crate) const COUNT_MAX: u32 = application::ports::PICK_MAX;

/// How many wake-ups each message stands for when `n` are sent to one queue.
pub(crate) fn split(n: u32) -> impl Iterator<Item = u32> {
    let each = (n / SPREAD).clamp(1, COUNT_MAX);
    let last = n % each;
    (0..n / each)
        .map(move |_| each)
        .chain((last > 0).then_some(last))
}

pub(crate) fn body(count: u32) -> Vec<u8> {
    count.to_string().into_bytes()
}

/// A message that says nothing of the kind, as those of earlier releases, stands for one.
pub(crate) fn count(body: &[u8]) -> u32 {
    std::str::from_utf8(body)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .map_or(1, |count: u32| count.clamp(1, COUNT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_without_loss() {
        for n in 0..2_000 {
            assert_eq!(split(n).sum::<u32>(), n);
            assert!(split(n).all(|count| (1..=COUNT_MAX).contains(&count)));
        }
    }

    #[test]
    fn few_stay_apart_and_many_share() {
        assert_eq!(split(7).count(), 7);
        assert_eq!(split(64).count(), 8);
        assert_eq!(split(1_000).count(), 16);
    }

    #[test]
    fn a_count_is_read_back_and_anything_else_is_one() {
        assert_eq!(count(&body(17)), 17);
        for other in [&b"wake"[..], b"", b"0", b"-3", &[0xff]] {
            assert_eq!(count(other), 1);
        }
        assert_eq!(count(b"4000000000"), COUNT_MAX);
    }
}
