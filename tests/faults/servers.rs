//! Servers that die, forget everything, or take nothing more.

use crate::fault::{self, WHILE};
use crate::harness::{Server, Site, Stand};

pub async fn rabbitmq_is_killed_and_loses_its_data(site: Site) {
    let stand = Stand::start(site, "rabbitmq").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    fault::kill_server(&stand, Server::Rabbitmq).await;
    stand.work_goes_on(50).await;
    stand.servers.wipe(Server::Rabbitmq).await;
    stand.work_goes_on(50).await;
    stand.finish(load).await;
}

pub async fn redis_forgets_and_dies(site: Site) {
    let stand = Stand::start(site, "redis").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    stand.servers.flush_redis().await;
    stand.work_goes_on(50).await;
    fault::kill_server(&stand, Server::Redis).await;
    stand.work_goes_on(50).await;
    stand.servers.wipe(Server::Redis).await;
    stand.work_goes_on(50).await;
    stand.servers.flush_redis().await;
    load.goes_on(50).await;
    stand.finish(load).await;
}

pub async fn postgres_stops_at_once_and_is_killed(site: Site) {
    let stand = Stand::start(site, "postgres").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    fault::quit_server(&stand, Server::Postgres).await;
    load.goes_on(50).await;
    stand.work_goes_on(50).await;
    fault::kill_server(&stand, Server::Postgres).await;
    load.goes_on(50).await;
    stand.work_goes_on(50).await;
    stand.finish(load).await;
}

pub async fn a_full_queue_refuses_messages(site: Site) {
    let stand = Stand::start(site, "full").await;
    let load = stand.load().await;
    load.goes_on(100).await;
    fault::fill_queues(&stand, WHILE).await;
    stand.work_goes_on(50).await;
    stand.finish(load).await;
}
