//! Processes that die, freeze or are told to leave, in the middle of their work.

use crate::fault;
use crate::harness::{Site, Stand};

pub async fn every_process_is_killed_in_turn(site: Site) {
    let stand = Stand::start(site, "kills").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    for member in stand.members() {
        fault::kill(&stand, member).await;
        load.goes_on(20).await;
    }
    fault::kill_all(&stand, &stand.workers()).await;
    stand.work_goes_on(20).await;
    stand.finish(load).await;
}

/// Frozen together, so that a worker's lease ends while the other ones have everything to do.
pub async fn workers_and_producers_freeze_past_the_lease(site: Site) {
    let stand = Stand::start(site, "freezes").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    let (workers, producers) = (stand.workers(), stand.producers());
    fault::freeze(&[workers[0], producers[0]]).await;
    stand.work_goes_on(20).await;
    fault::freeze(&[workers[1], workers[2], producers[1]]).await;
    stand.work_goes_on(20).await;
    stand.finish(load).await;
}

pub async fn workers_leave_under_load(site: Site) {
    let stand = Stand::start(site, "drains").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    for worker in stand.workers() {
        fault::leave(&stand, worker).await;
        load.goes_on(20).await;
    }
    for producer in stand.producers() {
        fault::leave(&stand, producer).await;
        load.goes_on(20).await;
    }
    stand.finish(load).await;
}
