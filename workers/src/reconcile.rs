//! RECONCILE: makes what is derived agree with the store again: counts, messages, the ready set. Without input and
//! idempotent; on a timer, and once at the start, so that a process never depends on what happened before it.

use std::sync::Arc;

use application::ports::StoreError;
use domain::JobKind;

use crate::life::Worker;
use crate::singleton;

const CHORE: &str = "reconcile";
/// Queues looked at in one round.
const QUEUES: u32 = 20_000;

pub(crate) async fn reconcile_loop(worker: Arc<Worker>) {
    let every = worker.config.reconcile_every;
    loop {
        if singleton::is_mine(&worker, CHORE, every * 2).await
            && let Err(error) = reconcile(&worker).await
        {
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
    singleton::give_up(&worker, CHORE).await;
}

async fn reconcile(worker: &Worker) -> Result<(), StoreError> {
    mend_lost_broker(worker).await?;
    let stale = worker.config.stale_message;
    let reconciled = worker
        .ports
        .engine
        .reconcile(stale, worker.ports.clock.now())
        .await?;
    let repairs = &worker.metrics.reconciler_repairs_total;
    if !reconciled.drifted.is_empty() {
        tracing::error!(queues = ?reconciled.drifted, "counts of slots had drifted and are repaired");
        repairs
            .with_label_values(&["drift"])
            .inc_by(reconciled.drifted.len() as u64);
    }
    if reconciled.unpublished > 0 {
        tracing::warn!(
            jobs = reconciled.unpublished,
            "messages were lost; their jobs are sent again"
        );
        repairs
            .with_label_values(&["stale_message"])
            .inc_by(reconciled.unpublished.into());
    }
    worker.dispatcher.note(&reconciled.slots).await;
    worker.relay_nudge.notify_one();
    refresh(worker).await
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
    for kind in JobKind::ALL {
        let of_kind = slots.iter().filter(|slots| slots.queue.kind == kind);
        let (queued, running) = of_kind.fold((0_i64, 0_i64), |(queued, running), slots| {
            (
                queued + i64::from(slots.queued),
                running + i64::from(slots.running),
            )
        });
        let gauge = &worker.metrics.queue_jobs;
        gauge
            .with_label_values(&[kind.as_str(), "queued"])
            .set(queued);
        gauge
            .with_label_values(&[kind.as_str(), "running"])
            .set(running);
    }
    Ok(())
}
