//! What happens to queues: their wake-ups vanish, people pause and resume them.

use std::time::Duration;

use crate::audit::Database;
use crate::fault;
use crate::harness::{Server, Site, Stand, eventually};

/// A queue with lost wake-ups is noticed after 10 seconds of silence, at the reconciler's next turn, within 5; the rest
/// is for the work on its backlog, on a busy machine.
const MENDED_WITHIN: Duration = Duration::from_mins(2);
/// Tenants of the load whose queues are paused: one with few slots, one with many.
const PAUSED: [&str; 2] = ["t-2", "t-8"];

/// While the load goes on, so that no queue is ever quite silent. The broker keeps its marker, and nobody is told.
pub async fn wake_ups_vanish_from_the_broker(site: Site) {
    let stand = Stand::start(site, "purges").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    let database = stand.database().await;
    let workers = stand.workers();
    for worker in &workers {
        worker.wire(Server::Rabbitmq).refuse();
    }
    load.goes_on(100).await;
    load.eases();
    let lost = fault::purge_queues(&stand, &database).await;
    for worker in &workers {
        worker.wire(Server::Rabbitmq).mend();
    }
    assert!(lost > 0, "there was nothing to lose");
    for queue in database.queues().await {
        let what = format!("the backlog of {queue} is worked off");
        let due = format!(
            "SELECT due::int8 FROM tenant_slots WHERE kind || '.' || tenant_id = '{queue}'"
        );
        eventually(&what, MENDED_WITHIN, async || {
            (database.number(&due).await == 0).then_some(())
        })
        .await;
    }
    stand.finish(load).await;
}

/// Nothing of a paused queue begins, not even what a dead worker leaves, and the other queues do not notice.
pub async fn queues_are_paused_and_resumed(site: Site) {
    let stand = Stand::start(site, "pauses").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    let database = stand.database().await;
    for tenant in PAUSED {
        fault::steer(&stand, tenant, "pause").await;
    }
    let begun = runs(&database).await;
    fault::kill(&stand, stand.workers()[0]).await;
    load.goes_on(100).await;
    stand.work_goes_on(100).await;
    assert_eq!(begun, runs(&database).await, "runs begun so far");
    let waiting = backlog(&database).await;
    assert!(waiting > 0, "nothing waits");
    for tenant in PAUSED {
        fault::steer(&stand, tenant, "resume").await;
    }
    stand.work_goes_on(waiting).await;
    assert!(begun < runs(&database).await, "nothing begins");
    stand.finish(load).await;
}

/// Runs of the tenants whose queues are paused.
async fn runs(database: &Database) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM job_attempts a JOIN tenants t ON t.id = a.tenant_id WHERE {}",
        paused()
    );
    database.number(&sql).await
}

async fn backlog(database: &Database) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM jobs j JOIN tenants t ON t.id = j.tenant_id WHERE j.state = 'queued' AND {}",
        paused()
    );
    database.number(&sql).await
}

fn paused() -> String {
    format!("t.slug IN ('{}')", PAUSED.join("', '"))
}
