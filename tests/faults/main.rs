//! Faults: everything that an installation is made of dies, freezes, forgets or falls silent under load, with real
//! processes and real servers, and afterwards the store's own tables are asked whether anything was lost, done twice,
//! or done at the wrong time.
//!
//! Each story breaks one thing again and again; the last one mixes them by a seed. `FAULTS_SEED` replays one (the order
//! of faults and jobs, not the timing), `FAULTS_ROUNDS` makes the last story longer. The servers are this program's own
//! and need nothing to be running. With `ORCHESTRATOR_TEST_MODE=embedded` nothing here does anything.
#![expect(
    clippy::print_stderr,
    reason = "the whole program is tests; counts are shown when it is asked to, and when they fail"
)]

mod audit;
mod chaos;
mod fault;
mod harness;
mod network;
mod processes;
mod queues;
mod servers;

use harness::Site;

/// False in a run for the embedded mode only.
fn is_wanted() -> bool {
    std::env::var_os("ORCHESTRATOR_TEST_MODE").is_none_or(|mode| mode != "embedded")
}

/// A test of each story. `beside` others are those that break only what is their own; the rest have the servers `alone`.
macro_rules! stories {
    (beside { $($near:ident::$beside:ident;)+ } alone { $($far:ident::$alone:ident;)+ }) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $beside() {
            if is_wanted() {
                $near::$beside(Site::shared().await).await;
            }
        })+
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $alone() {
            if is_wanted() {
                $far::$alone(Site::alone().await).await;
            }
        })+
    };
}

stories! {
beside {
    audit::every_rule_finds_what_breaks_it;
    processes::every_process_is_killed_in_turn;
    processes::workers_and_producers_freeze_past_the_lease;
    processes::workers_leave_under_load;
    network::connections_are_cut_in_the_middle;
    network::partitions_outlast_the_lease;
    network::answers_to_commits_are_lost;
    servers::a_full_queue_refuses_messages;
    queues::wake_ups_vanish_from_the_broker;
    queues::queues_are_paused_and_resumed;
}
alone {
    servers::rabbitmq_is_killed_and_loses_its_data;
    servers::redis_forgets_and_dies;
    servers::postgres_stops_at_once_and_is_killed;
    chaos::faults_come_as_they_like;
}
}
