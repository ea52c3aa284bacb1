//! The faults, one function each: it strikes, lasts as long as it is meant to, and is over when it returns.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::audit::Database;
use crate::harness::{Api, Member, PAST_LEASE, Server, Stand};

/// How long a process or a server stays away.
pub const MOMENT: Duration = Duration::from_secs(1);
/// How long what is only troubled is troubled.
pub const WHILE: Duration = Duration::from_secs(3);
/// On each chunk that goes over a slow wire.
const DELAY: Duration = Duration::from_millis(30);
/// Messages that a full queue holds.
const FULL: u32 = 1;

pub async fn kill(stand: &Stand, member: &Member) {
    member.kill();
    tokio::time::sleep(MOMENT).await;
    stand.bring(member).await;
}

pub async fn freeze(members: &[&Member]) {
    for member in members {
        member.freeze();
    }
    tokio::time::sleep(PAST_LEASE).await;
    for member in members {
        member.thaw();
    }
}

/// SIGTERM in the middle of its work.
pub async fn leave(stand: &Stand, member: &Member) {
    member.leave().await;
    stand.bring(member).await;
}

pub fn cut(members: &[&Member]) {
    for wire in members.iter().flat_map(|member| member.wires()) {
        wire.cut();
    }
}

/// Connections to a server are broken, and new ones refused.
pub async fn refuse(members: &[&Member], server: Server, lasts: Duration) {
    for member in members {
        member.wire(server).refuse();
    }
    tokio::time::sleep(lasts).await;
    mend(members, server);
}

/// Nothing comes through to a server, and nobody is told.
pub async fn silence(members: &[&Member], server: Server, lasts: Duration) {
    for member in members {
        member.wire(server).silence();
    }
    tokio::time::sleep(lasts).await;
    mend(members, server);
}

pub async fn slow_down(members: &[&Member], lasts: Duration) {
    for wire in members.iter().flat_map(|member| member.wires()) {
        wire.slow_down(DELAY);
    }
    tokio::time::sleep(lasts).await;
    for server in Server::ALL {
        mend(members, server);
    }
}

fn mend(members: &[&Member], server: Server) {
    for member in members {
        member.wire(server).mend();
    }
}

/// A server dies and is started again.
pub async fn kill_server(stand: &Stand, server: Server) {
    stand.servers.kill(server).await;
    tokio::time::sleep(MOMENT).await;
    stand.servers.up(server).await;
}

pub async fn quit_server(stand: &Stand, server: Server) {
    stand.servers.quit(server).await;
    stand.servers.up(server).await;
}

/// Every queue of the stand holds one message and refuses the rest, for a while.
pub async fn fill_queues(stand: &Stand, lasts: Duration) {
    let api = broker(stand);
    let policy = format!("/api/policies/%2F/{}", stand.name);
    let body = json!({
        "pattern": format!("^{}\\.session\\.", stand.name),
        "definition": {"max-length": FULL, "overflow": "reject-publish"},
        "apply-to": "queues",
    });
    let put = api
        .send(api.request(Method::PUT, &policy).json(&body))
        .await;
    assert!(put.status < 300, "{}", put.text());
    tokio::time::sleep(lasts).await;
    let deleted = api.send(api.request(Method::DELETE, &policy)).await;
    assert!(deleted.status < 300, "{}", deleted.text());
}

/// The broker loses what its queues of the stand hold, and nothing else. Returns how many wake-ups the store counts there.
pub async fn purge_queues(stand: &Stand, database: &Database) -> i64 {
    let counted = "SELECT sum(published)::int8 FROM tenant_slots";
    let lost = database.number(counted).await;
    let api = broker(stand);
    for queue in database.queues().await {
        let contents = format!("/api/queues/%2F/{}.{queue}/contents", stand.name);
        let purged = api.send(api.request(Method::DELETE, &contents)).await;
        // Those that never had a wake-up are not there.
        let known = purged.status < 300 || purged.status == 404;
        assert!(known, "{}", purged.text());
    }
    lost
}

/// `pause` or `resume`, of a tenant's sessions.
pub async fn steer(stand: &Stand, tenant: &str, how: &str) {
    let api = stand.api().acting_for(tenant);
    let answer = api
        .post_empty(&format!("/api/v1/queues/session/{how}"))
        .await;
    answer.expect(200);
}

fn broker(stand: &Stand) -> Api {
    let management = stand.servers.management.as_str().trim_end_matches('/');
    Api::new(management, None)
}

/// Kills all of them at once and starts them again.
pub async fn kill_all(stand: &Stand, members: &[&Member]) {
    for member in members {
        member.kill();
    }
    tokio::time::sleep(MOMENT).await;
    join_all(members.iter().map(|member| stand.bring(member))).await;
}
