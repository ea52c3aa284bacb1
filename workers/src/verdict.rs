//! What a run's end says of the agent that did the work. Knows nothing of how agents are kept or chosen.

use std::time::Duration;

use domain::{Ending, Outcome};

/// A run that ended at a shorter limit says nothing of its agent: whoever submits chooses the limit, and nobody is to take a
/// shared agent from others by it. It is what sessions have that choose none.
const TIME_ENOUGH_SECONDS: u32 = 3600;

/// `limit_seconds`: how long the run might have taken. `by_agent`: its outcome is the agent's doing.
pub(crate) fn verdict(
    limit_seconds: u32,
    ending: &Ending,
    by_agent: bool,
    took: Duration,
) -> Outcome {
    match ending {
        Ending::Completed(result) | Ending::PartiallyCompleted(result) => Outcome::Succeeded {
            seconds: took.as_secs_f64(),
            quality: result.rating(),
        },
        Ending::Rejected { result, .. } if by_agent => Outcome::Rejected {
            quality: result.rating(),
        },
        Ending::Failed(_) | Ending::Retry { .. } if by_agent => Outcome::Failed,
        // It did not come to an end in the time that it had, if that was time enough.
        Ending::TimedOut(_) if limit_seconds >= TIME_ENOUGH_SECONDS => Outcome::Failed,
        _ => Outcome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use domain::JobError;

    use super::*;

    fn error() -> JobError {
        JobError::new("X", "it did not work")
    }

    fn says(limit_seconds: u32, ending: &Ending, by_agent: bool) -> Outcome {
        verdict(limit_seconds, ending, by_agent, Duration::from_secs(1))
    }

    #[test]
    fn a_limit_counts_against_the_agent_where_it_was_time_enough() {
        let too_late = Ending::TimedOut(error());
        for by_agent in [true, false] {
            assert_eq!(says(1, &too_late, by_agent), Outcome::Nothing);
            let short = TIME_ENOUGH_SECONDS - 1;
            assert_eq!(says(short, &too_late, by_agent), Outcome::Nothing);
            assert_eq!(
                says(TIME_ENOUGH_SECONDS, &too_late, by_agent),
                Outcome::Failed
            );
        }
    }

    #[test]
    fn only_what_the_agent_did_is_held_against_it() {
        let again = Ending::Retry {
            error: error(),
            after: None,
        };
        for ending in [Ending::Failed(error()), again] {
            assert_eq!(says(60, &ending, true), Outcome::Failed);
            assert_eq!(says(60, &ending, false), Outcome::Nothing);
        }
    }
}
