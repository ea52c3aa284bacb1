//! RECONCILE: makes what is derived agree with the store again: counts, messages, the ready set. Without input and
//! idempotent; on a timer, and once at the start, so that a process never depends on what happened before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use application::ports::StoreError;
use domain::{JobKind, QueueKey, SlotSnapshot};
use telemetry::Metrics;

use crate::life::Worker;
use crate::singleton;

const CHORE: &str = "reconcile";
/// Queues looked at in one round.
const QUEUES: u32 = 20_000;
/// Queues of which the broker is asked for its depth in one round, drawn by lot: most stay silent while all hands are
/// full, and none of them stands in the way of one whose wake-ups are lost.
const SILENT_QUEUES: usize = 500;
/// How often queues that changed while they were counted are counted again in one round.
const RECOUNTS: usize = 5;

pub(crate) async fn reconcile_loop(worker: Arc<Worker>) {
    let every = worker.config.reconcile_every;
    loop {
        if !singleton::is_mine(&worker, CHORE, every * 2).await {
            // Whoever does it now tells the counts; ours would stay as they were.
            show(&worker.metrics, None);
        } else if let Err(error) = reconcile(&worker).await {
            show(&worker.metrics, None);
            tracing::warn!(%error, "counts and messages could not be reconciled");
            worker
                .metrics
                .engine_errors_total
                .with_label_values(&["reconcile"])
                .inc();
        }
        tokio::select! {
            biased;
            () = worker.over.cancelled() => break,
            () = tokio::time::sleep(every) => {}
        }
    }
    show(&worker.metrics, None);
    singleton::give_up(&worker, CHORE).await;
}

async fn reconcile(worker: &Worker) -> Result<(), StoreError> {
    mend_lost_broker(worker).await?;
    let reconciled = worker
        .ports
        .engine
        .reconcile(worker.config.silence, worker.ports.clock.now())
        .await?;
    let repairs = &worker.metrics.reconciler_repairs_total;
    if !reconciled.drifted.is_empty() {
        tracing::error!(queues = ?reconciled.drifted, "counts of slots had drifted and are repaired");
        repairs
            .with_label_values(&["drift"])
            .inc_by(reconciled.drifted.len() as u64);
    }
    worker.dispatcher.note(&reconciled.slots).await;
    mend_silent_queues(worker, reconciled.silent).await?;
    worker.relay_nudge.notify_one();
    refresh(worker).await
}

/// Queues that have free slots and do not use their wake-ups up: the broker is asked how many it really has for them.
async fn mend_silent_queues(worker: &Worker, silent: Vec<SlotSnapshot>) -> Result<(), StoreError> {
    let mut silent = drawn(silent);
    for _ in 0..RECOUNTS {
        let most = fewer_than_counted(worker, &silent).await;
        if most.is_empty() {
            return Ok(());
        }
        // Read after the broker was asked, so that little happens until the count is written: what has changed by then
        // is not believed, and queues that much is submitted to change all the time.
        silent = worker.ports.engine.slots(QUEUES).await?;
        silent.retain(|slots| most.contains_key(&slots.queue));
        let lacks = |slots: &SlotSnapshot| {
            let most = *most.get(&slots.queue)?;
            (most < slots.published).then_some((*slots, most))
        };
        let counted = silent.iter().filter_map(lacks).collect();
        let mended = worker.ports.engine.recount_published(counted).await?;
        if !mended.is_empty() {
            tracing::warn!(
                queues = mended.len(),
                "wake-ups were lost and are sent again"
            );
            let repairs = &worker.metrics.reconciler_repairs_total;
            repairs
                .with_label_values(&["lost_wakeups"])
                .inc_by(mended.len() as u64);
        }
        worker.dispatcher.note(&mended).await;
        silent.retain(|slots| mended.iter().all(|mended| mended.queue != slots.queue));
    }
    Ok(())
}

/// As many as are asked for in one round.
fn drawn(mut silent: Vec<SlotSnapshot>) -> Vec<SlotSnapshot> {
    if silent.len() > SILENT_QUEUES {
        fastrand::shuffle(&mut silent);
        silent.truncate(SILENT_QUEUES);
    }
    silent
}

/// How many wake-ups the broker has at most for those of the queues for which it has fewer than are counted.
async fn fewer_than_counted(worker: &Worker, silent: &[SlotSnapshot]) -> BTreeMap<QueueKey, u32> {
    let queue = &worker.ports.queue;
    let mut most = BTreeMap::new();
    for slots in silent {
        match queue.depth(slots.queue).await {
            Ok(depth) => {
                let fewer = fewer(slots, depth, queue.wakeups_a_message());
                most.extend(fewer.map(|most| (slots.queue, most)));
            }
            Err(error) => {
                tracing::warn!(%error, "the broker cannot be asked for its wake-ups");
                break;
            }
        }
    }
    most
}

/// What these messages stand for at most, if that is less than is counted; else the wake-ups are there, and whoever has
/// free hands will take them.
///
/// They may stand for fewer. Counted as the most, no more are sent than were lost, and what is counted too many is found
/// when the messages are used up: none stand for none.
fn fewer(slots: &SlotSnapshot, messages: u32, wakeups_a_message: u32) -> Option<u32> {
    let most = messages.saturating_mul(wakeups_a_message);
    (most < slots.published).then_some(most)
}

/// A broker without our marker has lost its data, or is new: every waiting job is sent again.
async fn mend_lost_broker(worker: &Worker) -> Result<(), StoreError> {
    match worker.ports.queue.has_marker().await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, "the broker cannot be asked for its marker");
            return Ok(());
        }
    }
    let slots = worker.ports.engine.forget_published().await?;
    if let Err(error) = worker.ports.queue.set_marker().await {
        tracing::warn!(%error, "the broker's marker could not be set; trying again later");
        return Ok(());
    }
    tracing::info!(
        queues = slots.len(),
        "the broker was empty; waiting jobs are sent again"
    );
    worker
        .metrics
        .reconciler_repairs_total
        .with_label_values(&["broker"])
        .inc();
    worker.dispatcher.note(&slots).await;
    Ok(())
}

/// Tells the ready set and the metrics what the store says now.
async fn refresh(worker: &Worker) -> Result<(), StoreError> {
    let slots = worker.ports.engine.slots(QUEUES).await?;
    if let Err(error) = worker.ports.ready.refresh(&slots).await {
        tracing::warn!(%error, "the ready set could not be refreshed");
    }
    show(&worker.metrics, Some(&slots));
    Ok(())
}

/// The counts of all queues as metrics; `None` takes them away: an old count looks like a true one for ever.
fn show(metrics: &Metrics, slots: Option<&[SlotSnapshot]>) {
    let gauge = &metrics.queue_jobs;
    let Some(slots) = slots else {
        gauge.reset();
        return;
    };
    for kind in JobKind::ALL {
        let of_kind = slots.iter().filter(|slots| slots.queue.kind == kind);
        let (queued, running) = of_kind.fold((0_i64, 0_i64), |(queued, running), slots| {
            (
                queued + i64::from(slots.queued),
                running + i64::from(slots.running),
            )
        });
        for (state, jobs) in [("queued", queued), ("running", running)] {
            gauge.with_label_values(&[kind.as_str(), state]).set(jobs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::{SERVICE_SECONDS_UNKNOWN, TenantId};
    use uuid::Uuid;

    use super::*;

    fn slots(tenant: u128, kind: JobKind) -> SlotSnapshot {
        SlotSnapshot {
            queue: QueueKey {
                tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
                kind,
            },
            version: 1,
            weight: 1,
            quota: 4,
            running: 2,
            queued: 7,
            due: 3,
            published: 3,
            paused: false,
            service_seconds: SERVICE_SECONDS_UNKNOWN,
        }
    }

    #[test]
    fn wakeups_are_lost_when_the_messages_cannot_stand_for_them() {
        let counted = |published| SlotSnapshot {
            published,
            ..slots(1, JobKind::Session)
        };
        assert_eq!(fewer(&counted(72), 8, 64), None, "nine in each, say");
        assert_eq!(fewer(&counted(72), 1, 64), Some(64));
        assert_eq!(fewer(&counted(1), 0, 64), Some(0));
        assert_eq!(fewer(&counted(3), 2, 1), Some(2));
        assert_eq!(fewer(&counted(u32::MAX), u32::MAX, 64), None);
    }

    #[test]
    fn every_silent_queue_is_drawn_at_some_time() {
        let many = SILENT_QUEUES as u128 + 100;
        let silent: Vec<_> = (0..many)
            .map(|tenant| slots(tenant, JobKind::Session))
            .collect();
        let mut never: BTreeSet<_> = silent.iter().map(|slots| slots.queue).collect();
        for _ in 0..100 {
            let drawn = drawn(silent.clone());
            assert_eq!(drawn.len(), SILENT_QUEUES);
            for slots in drawn {
                never.remove(&slots.queue);
            }
        }
        assert!(never.is_empty(), "{never:?}");
        assert_eq!(drawn(silent[..3].to_vec()), silent[..3]);
    }

    #[test]
    fn counts_are_shown_as_queue_lists_show_them_and_taken_away() {
        let metrics = Metrics::new();
        let sessions = [slots(1, JobKind::Session), slots(2, JobKind::Session)];
        show(&metrics, Some(&sessions));
        let text = metrics.render();
        for line in [
            "orchestrator_queue_jobs{kind=\"session\",state=\"queued\"} 14\n",
            "orchestrator_queue_jobs{kind=\"session\",state=\"running\"} 4\n",
            "orchestrator_queue_jobs{kind=\"training\",state=\"queued\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        show(&metrics, None);
        let text = metrics.render();
        assert!(!text.contains("orchestrator_queue_jobs{"), "{text}");
    }
}
