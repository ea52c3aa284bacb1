//! Connections that break, in the ways in which connections do.

use crate::fault::{self, WHILE};
use crate::harness::{PAST_LEASE, PATIENCE, Server, Site, Stand, eventually};

/// Cuts of every connection of every process, one after the other.
const CUTS: usize = 2;
/// Answers to commits that each process loses, again and again.
const LOST_AT_ONCE: u32 = 2;
const LOST_AGAIN: usize = 2;

pub async fn connections_are_cut_in_the_middle(site: Site) {
    let stand = Stand::start(site, "cuts").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    for _ in 0..CUTS {
        for member in stand.members() {
            fault::cut(&[member]);
            stand.work_goes_on(5).await;
        }
    }
    let members: Vec<_> = stand.members().iter().collect();
    fault::cut(&members);
    load.goes_on(20).await;
    fault::slow_down(&members, WHILE).await;
    for server in [Server::Rabbitmq, Server::Redis] {
        fault::refuse(&members, server, WHILE).await;
        stand.work_goes_on(20).await;
    }
    stand.finish(load).await;
}

/// A worker that cannot reach the store, told so or not, ends its runs by itself before others begin them again.
pub async fn partitions_outlast_the_lease(site: Site) {
    let stand = Stand::start(site, "partitions").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    let (workers, producers) = (stand.workers(), stand.producers());
    fault::refuse(&[workers[0]], Server::Postgres, PAST_LEASE).await;
    stand.work_goes_on(20).await;
    fault::silence(&[workers[1], producers[0]], Server::Postgres, PAST_LEASE).await;
    stand.work_goes_on(20).await;
    for server in [Server::Rabbitmq, Server::Redis] {
        fault::silence(&[workers[2], producers[1]], server, WHILE).await;
        stand.work_goes_on(20).await;
    }
    stand.finish(load).await;
}

/// The server has committed, and the client never hears of it: of submissions, claims, ends, leases.
pub async fn answers_to_commits_are_lost(site: Site) {
    let stand = Stand::start(site, "commits").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    for _ in 0..LOST_AGAIN {
        for member in stand.members() {
            member
                .wire(Server::Postgres)
                .lose_answers_to_commits(LOST_AT_ONCE);
        }
        for member in stand.members() {
            let what = format!("{} has lost answers", member.name);
            eventually(&what, PATIENCE, async || {
                (member.wire(Server::Postgres).answers_to_lose() == 0).then_some(())
            })
            .await;
        }
        stand.work_goes_on(20).await;
    }
    stand.finish(load).await;
}
