//! FIRE: makes the jobs of schedules whose tick has come. Which job a tick makes is the application's business, and that
//! it is made once the store's; here it is only looked at in time.

use std::sync::Arc;
use std::time::Duration;

use application::ports::StoreError;
use application::use_cases::{FireRound, fire_schedules};
use domain::Timestamp;

use crate::life::Worker;
use crate::singleton;

/// Nobody tells of new or edited schedules, so a tick may be late by this. Timetables are told in minutes.
const EVERY_MOST: Duration = Duration::from_secs(5);
/// Between two looks at the least: clocks are not finer in what they promise.
const EVERY_LEAST: Duration = Duration::from_millis(50);
const CHORE: &str = "schedule";

pub(crate) async fn schedule_loop(worker: Arc<Worker>) {
    let mut pause = EVERY_LEAST;
    loop {
        tokio::select! {
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY_MOST;
        if !singleton::is_mine(&worker, CHORE, EVERY_MOST * 2).await {
            continue;
        }
        match fire(&worker).await {
            Ok(next) => pause = until(next, worker.ports.clock.now()),
            Err(error) => {
                tracing::warn!(%error, "schedules could not be fired");
                worker
                    .metrics
                    .engine_errors_total
                    .with_label_values(&[CHORE])
                    .inc();
            }
        }
    }
    singleton::give_up(&worker, CHORE).await;
}

/// Fires all that is due. Returns when the next tick comes, as far as is known.
async fn fire(worker: &Worker) -> Result<Option<Timestamp>, StoreError> {
    loop {
        let round = fire_schedules(&worker.ports).await?;
        count(worker, &round);
        if round.jobs > 0 {
            worker.relay_nudge.notify_one();
        }
        if !round.full || worker.over.is_cancelled() {
            return Ok(round.next);
        }
    }
}

fn count(worker: &Worker, round: &FireRound) {
    let outcomes = [
        ("job", round.jobs),
        ("refused", round.refused),
        ("overlapped", round.overlapped),
        ("missed", round.missed),
    ];
    for (outcome, ticks) in outcomes {
        worker
            .metrics
            .schedule_ticks_total
            .with_label_values(&[outcome])
            .inc_by(ticks.into());
    }
}

fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next.map_or(EVERY_MOST, |next| {
        (next - now).to_std().unwrap_or(EVERY_LEAST)
    });
    wait.clamp(EVERY_LEAST, EVERY_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_sleeps_to_the_next_tick_and_not_for_long() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(until(None, now), EVERY_MOST);
        let soon = Duration::from_secs(2);
        assert_eq!(until(Some(now + soon), now), soon);
        let late = Duration::from_hours(9);
        assert_eq!(until(Some(now + late), now), EVERY_MOST);
        assert_eq!(until(Some(now), now + late), EVERY_LEAST, "it has come");
    }
}
