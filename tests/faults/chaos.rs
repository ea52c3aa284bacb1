//! All faults, mixed by a seed: in each round something is done to the processes while something else is done to what
//! they need.

use std::time::Duration;

use fastrand::Rng;

use crate::fault::{self, WHILE};
use crate::harness::{Member, Server, Site, Stand, number};

const ROUNDS: u64 = 3;
/// Between the beginnings of two faults of a round, at most.
const APART: Duration = Duration::from_millis(1_500);
const LOST_AT_ONCE: u32 = 3;

#[derive(Debug, Clone, Copy)]
enum OnProcesses {
    Kill,
    KillAll,
    Freeze,
    Leave,
    None,
}

#[derive(Debug, Clone, Copy)]
enum OnServers {
    Kill(Server),
    QuitPostgres,
    WipeRabbitmq,
    WipeRedis,
    FlushRedis,
    FillQueues,
    Cut,
    Refuse(Server),
    Silence(Server),
    SlowDown,
    LoseAnswers,
}

const ON_PROCESSES: [OnProcesses; 6] = [
    OnProcesses::Kill,
    OnProcesses::Kill,
    OnProcesses::KillAll,
    OnProcesses::Freeze,
    OnProcesses::Leave,
    OnProcesses::None,
];

const ON_SERVERS: [OnServers; 17] = [
    OnServers::Kill(Server::Postgres),
    OnServers::Kill(Server::Rabbitmq),
    OnServers::Kill(Server::Redis),
    OnServers::QuitPostgres,
    OnServers::WipeRabbitmq,
    OnServers::WipeRedis,
    OnServers::FlushRedis,
    OnServers::FillQueues,
    OnServers::Cut,
    OnServers::Refuse(Server::Postgres),
    OnServers::Refuse(Server::Rabbitmq),
    OnServers::Refuse(Server::Redis),
    OnServers::Silence(Server::Postgres),
    OnServers::Silence(Server::Rabbitmq),
    OnServers::Silence(Server::Redis),
    OnServers::SlowDown,
    OnServers::LoseAnswers,
];

pub async fn faults_come_as_they_like(site: Site) {
    let stand = Stand::start(site, "chaos").await;
    let mut rng = Rng::with_seed(stand.seed);
    let load = stand.load().await;
    load.goes_on(100).await;
    for round in 1..=number("FAULTS_ROUNDS").unwrap_or(ROUNDS) {
        let on_processes = ON_PROCESSES[rng.usize(..ON_PROCESSES.len())];
        let on_servers = ON_SERVERS[rng.usize(..ON_SERVERS.len())];
        let apart = APART.mul_f64(rng.f64());
        eprintln!("round {round}: {on_processes:?} and, {apart:?} later, {on_servers:?}");
        let (mut one, mut other) = (rng.fork(), rng.fork());
        tokio::join!(strike_processes(&stand, on_processes, &mut one), async {
            tokio::time::sleep(apart).await;
            strike_servers(&stand, on_servers, &mut other).await;
        });
        load.goes_on(20).await;
        stand.work_goes_on(20).await;
    }
    stand.finish(load).await;
}

async fn strike_processes(stand: &Stand, what: OnProcesses, rng: &mut Rng) {
    let members = some(stand, rng);
    match what {
        OnProcesses::Kill => fault::kill(stand, members[0]).await,
        OnProcesses::KillAll => fault::kill_all(stand, &members).await,
        OnProcesses::Freeze => fault::freeze(&members).await,
        OnProcesses::Leave => fault::leave(stand, members[0]).await,
        OnProcesses::None => {}
    }
}

async fn strike_servers(stand: &Stand, what: OnServers, rng: &mut Rng) {
    let members = some(stand, rng);
    let lasts = WHILE.mul_f64(0.5 + rng.f64());
    match what {
        OnServers::Kill(server) => fault::kill_server(stand, server).await,
        OnServers::QuitPostgres => fault::quit_server(stand, Server::Postgres).await,
        OnServers::WipeRabbitmq => stand.servers.wipe(Server::Rabbitmq).await,
        OnServers::WipeRedis => stand.servers.wipe(Server::Redis).await,
        OnServers::FlushRedis => stand.servers.flush_redis().await,
        OnServers::FillQueues => fault::fill_queues(stand, lasts).await,
        OnServers::Cut => fault::cut(&members),
        OnServers::Refuse(server) => fault::refuse(&members, server, lasts).await,
        OnServers::Silence(server) => fault::silence(&members, server, lasts).await,
        OnServers::SlowDown => fault::slow_down(&members, lasts).await,
        OnServers::LoseAnswers => {
            for member in members {
                member
                    .wire(Server::Postgres)
                    .lose_answers_to_commits(LOST_AT_ONCE);
            }
        }
    }
}

/// One to all of the members, in any order.
fn some<'a>(stand: &'a Stand, rng: &mut Rng) -> Vec<&'a Member> {
    let mut members: Vec<&Member> = stand.members().iter().collect();
    rng.shuffle(&mut members);
    members.truncate(rng.usize(1..=members.len()));
    members
}
