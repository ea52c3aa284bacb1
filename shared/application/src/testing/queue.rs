//! What every [`JobQueue`] must do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::{JobId, JobKind, Priority, QueueKey, TenantId};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ports::{JobQueue, Message};

/// How long a broker may take to see what it was told without an answer, a message given back above all.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(5);

#[macro_export]
macro_rules! queue_contract {
    ($open:expr) => {
        $crate::port_contract!(
            queue,
            $open,
            [
                messages_come_once_and_in_order,
                a_visit_takes_what_it_asks_for_at_most,
                a_queue_that_never_was_is_empty,
                an_emptied_queue_takes_messages_again,
                publishing_nothing_is_fine,
                queues_do_not_mix,
                acked_messages_never_come_again,
                messages_given_back_come_again,
                messages_of_an_open_visit_are_not_given_to_another,
                a_thousand_messages_come_exactly_once,
                concurrent_visits_never_share_a_message,
                many_queues_are_filled_at_once,
                concurrent_publishers_lose_nothing,
                the_marker_is_there_once_set,
                a_healthy_broker_checks_out,
            ]
        );
    };
}

type Queue = Arc<dyn JobQueue>;

fn queue_of(tenant: u128) -> QueueKey {
    QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
        kind: JobKind::Session,
    }
}

fn job(number: u128) -> JobId {
    JobId::from_uuid(Uuid::from_u128(number))
}

fn messages(queue: QueueKey, numbers: impl IntoIterator<Item = u128>) -> Vec<Message> {
    numbers
        .into_iter()
        .map(|number| Message {
            queue,
            job: job(number),
            priority: Priority::Medium,
        })
        .collect()
}

async fn publish(port: &Queue, messages: Vec<Message>) {
    let unsent = port.publish(messages).await.expect("publish");
    assert_eq!(unsent, []);
}

/// Visits and acks until `count` jobs have come or time is up.
async fn drain(port: &Queue, queue: QueueKey, n: u32, count: usize) -> Vec<JobId> {
    let deadline = Instant::now() + SETTLES_WITHIN;
    let mut came = Vec::new();
    while came.len() < count && Instant::now() < deadline {
        let visit = port.visit(queue, n).await.expect("visit");
        if visit.jobs.is_empty() {
            sleep(POLL_EVERY).await;
        }
        came.extend(visit.jobs);
        port.ack(visit.receipt).await.expect("ack");
    }
    came
}

async fn assert_empty(port: &Queue, queue: QueueKey) {
    let visit = port.visit(queue, 10).await.expect("visit");
    assert_eq!(visit.jobs, []);
    port.ack(visit.receipt)
        .await
        .expect("the ack of an empty visit");
}

pub async fn messages_come_once_and_in_order(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 1..=10)).await;
    let expected: Vec<JobId> = (1..=10).map(job).collect();
    assert_eq!(drain(&port, queue, 3, 10).await, expected);
    assert_empty(&port, queue).await;
}

pub async fn a_visit_takes_what_it_asks_for_at_most(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 1..=5)).await;
    for (n, expected) in [(0, 0), (1, 1), (3, 3), (100, 1)] {
        let visit = port.visit(queue, n).await.expect("visit");
        assert_eq!(visit.jobs.len(), expected, "of {n}");
        port.ack(visit.receipt).await.expect("ack");
    }
}

pub async fn a_queue_that_never_was_is_empty(port: Queue) {
    for _ in 0..3 {
        assert_empty(&port, queue_of(404)).await;
    }
    let visit = port.visit(queue_of(404), 1).await.expect("visit");
    port.give_back(visit.receipt)
        .await
        .expect("giving nothing back");
}

pub async fn an_emptied_queue_takes_messages_again(port: Queue) {
    let queue = queue_of(1);
    for round in 0..5 {
        publish(&port, messages(queue, [round])).await;
        assert_eq!(drain(&port, queue, 1, 1).await, [job(round)]);
        assert_empty(&port, queue).await;
    }
}

pub async fn publishing_nothing_is_fine(port: Queue) {
    publish(&port, Vec::new()).await;
}

pub async fn queues_do_not_mix(port: Queue) {
    let one = queue_of(1);
    let other_tenant = queue_of(2);
    let other_kind = QueueKey {
        kind: JobKind::Training,
        ..one
    };
    let mut all = messages(one, [1]);
    all.extend(messages(other_tenant, [2]));
    all.extend(messages(other_kind, [3]));
    publish(&port, all).await;
    assert_eq!(drain(&port, one, 10, 1).await, [job(1)]);
    assert_eq!(drain(&port, other_tenant, 10, 1).await, [job(2)]);
    assert_eq!(drain(&port, other_kind, 10, 1).await, [job(3)]);
    assert_empty(&port, one).await;
}

pub async fn acked_messages_never_come_again(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 1..=4)).await;
    let visit = port.visit(queue, 2).await.expect("visit");
    assert_eq!(visit.jobs, [job(1), job(2)]);
    port.ack(visit.receipt).await.expect("ack");
    let visit = port.visit(queue, 10).await.expect("visit");
    assert_eq!(visit.jobs, [job(3), job(4)]);
    port.ack(visit.receipt).await.expect("ack");
    assert_empty(&port, queue).await;
}

pub async fn messages_given_back_come_again(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 1..=5)).await;
    let visit = port.visit(queue, 3).await.expect("visit");
    assert_eq!(visit.jobs.len(), 3);
    port.give_back(visit.receipt).await.expect("give back");
    let came: HashSet<JobId> = drain(&port, queue, 2, 5).await.into_iter().collect();
    assert_eq!(came, (1..=5).map(job).collect());
    assert_empty(&port, queue).await;
}

pub async fn messages_of_an_open_visit_are_not_given_to_another(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 1..=3)).await;
    let first = port.visit(queue, 2).await.expect("visit");
    let second = port.visit(queue, 10).await.expect("visit");
    assert_eq!(first.jobs, [job(1), job(2)]);
    assert_eq!(second.jobs, [job(3)]);
    assert_empty(&port, queue).await;
    port.ack(second.receipt).await.expect("ack");
    port.give_back(first.receipt).await.expect("give back");
    assert_eq!(drain(&port, queue, 10, 2).await.len(), 2);
}

pub async fn a_thousand_messages_come_exactly_once(port: Queue) {
    let queue = queue_of(1);
    publish(&port, messages(queue, 0..1_000)).await;
    let came = drain(&port, queue, 100, 1_000).await;
    assert_eq!(came.len(), 1_000);
    let different: HashSet<JobId> = came.into_iter().collect();
    assert_eq!(different.len(), 1_000);
    assert_empty(&port, queue).await;
}

pub async fn concurrent_visits_never_share_a_message(port: Queue) {
    const VISITORS: usize = 8;
    const MESSAGES: u128 = 400;
    let queue = queue_of(1);
    publish(&port, messages(queue, 0..MESSAGES)).await;
    let visitors = (0..VISITORS).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            let mut came = Vec::new();
            loop {
                let visit = port.visit(queue, 7).await.expect("visit");
                let done = visit.jobs.is_empty();
                came.extend(visit.jobs);
                port.ack(visit.receipt).await.expect("ack");
                if done {
                    return came;
                }
            }
        })
    });
    let came: Vec<JobId> = join_all(visitors)
        .await
        .into_iter()
        .flat_map(|visitor| visitor.expect("a visitor"))
        .collect();
    let different: HashSet<JobId> = came.iter().copied().collect();
    assert_eq!(came.len(), different.len(), "a message came twice");
    assert_eq!(different, (0..MESSAGES).map(job).collect());
}

pub async fn many_queues_are_filled_at_once(port: Queue) {
    const QUEUES: u128 = 300;
    let all = (0..QUEUES)
        .flat_map(|tenant| messages(queue_of(tenant), [tenant]))
        .collect();
    publish(&port, all).await;
    for tenant in 0..QUEUES {
        assert_eq!(drain(&port, queue_of(tenant), 5, 1).await, [job(tenant)]);
    }
}

pub async fn concurrent_publishers_lose_nothing(port: Queue) {
    const PUBLISHERS: u128 = 10;
    const EACH: u128 = 50;
    let queue = queue_of(1);
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let port = Arc::clone(&port);
        let first = publisher * EACH;
        tokio::spawn(async move { publish(&port, messages(queue, first..first + EACH)).await })
    });
    for publisher in join_all(publishers).await {
        publisher.expect("a publisher");
    }
    let came: HashSet<JobId> = drain(&port, queue, 64, 500).await.into_iter().collect();
    assert_eq!(came, (0..PUBLISHERS * EACH).map(job).collect());
}

pub async fn the_marker_is_there_once_set(port: Queue) {
    assert!(!port.has_marker().await.expect("has_marker"));
    for _ in 0..2 {
        port.set_marker().await.expect("set_marker");
        assert!(port.has_marker().await.expect("has_marker"));
    }
}

pub async fn a_healthy_broker_checks_out(port: Queue) {
    port.check().await.expect("check");
}
