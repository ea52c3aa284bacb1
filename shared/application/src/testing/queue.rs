//! What every [`JobQueue`] must do.

use std::sync::Arc;
use std::time::Duration;

use domain::{JobKind, QueueKey, TenantId};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ports::{JobQueue, Wakeups};

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
                wakeups_come_once,
                a_visit_takes_what_it_asks_for_at_most,
                a_queue_that_never_was_is_empty,
                a_queue_made_ahead_is_known_and_empty,
                an_emptied_queue_takes_wakeups_again,
                publishing_nothing_is_fine,
                the_same_queue_twice_in_a_batch_counts_twice,
                queues_do_not_mix,
                acked_wakeups_never_come_again,
                wakeups_given_back_come_again,
                wakeups_of_an_open_visit_are_not_given_to_another,
                more_wakeups_than_jobs_are_only_more_wakeups,
                the_depth_counts_what_nobody_has_in_hand,
                a_queue_has_no_more_than_its_messages_may_stand_for,
                asking_for_depths_disturbs_nobody,
                a_thousand_wakeups_come_exactly_once,
                concurrent_visits_share_all_there_is,
                many_queues_are_filled_at_once,
                concurrent_publishers_lose_nothing,
                concurrent_publishers_make_the_same_new_queues,
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

async fn publish(port: &Queue, wakeups: impl IntoIterator<Item = (QueueKey, u32)>) {
    let wakeups = wakeups
        .into_iter()
        .map(|(queue, n)| Wakeups { queue, n })
        .collect();
    let unsent = port.publish(wakeups).await.expect("publish");
    assert_eq!(unsent, []);
}

/// Takes what a visit finds and acks it.
async fn take(port: &Queue, queue: QueueKey, n: u32) -> u32 {
    let visit = port.visit(queue, n).await.expect("visit");
    assert!(visit.taken <= n, "{} of {n}", visit.taken);
    port.ack(visit.receipt).await.expect("ack");
    visit.taken
}

/// Visits and acks until `count` wake-ups have come, and fails on more, or when time is up.
async fn drain(port: &Queue, queue: QueueKey, n: u32, count: u32) {
    let deadline = Instant::now() + SETTLES_WITHIN;
    let mut came = 0;
    while came < count {
        let taken = take(port, queue, n).await;
        if taken == 0 {
            assert!(Instant::now() < deadline, "{came} of {count}");
            sleep(POLL_EVERY).await;
        }
        came += taken;
    }
    assert_eq!(came, count);
}

async fn until_depth(port: &Queue, queue: QueueKey, expected: u32) {
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        let depth = port.depth(queue).await.expect("depth");
        if depth == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{depth} instead of {expected} wake-ups"
        );
        sleep(POLL_EVERY).await;
    }
}

async fn assert_empty(port: &Queue, queue: QueueKey) {
    assert_eq!(take(port, queue, 10).await, 0);
}

pub async fn wakeups_come_once(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 10)]).await;
    drain(&port, queue, 3, 10).await;
    assert_empty(&port, queue).await;
}

pub async fn a_visit_takes_what_it_asks_for_at_most(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 5)]).await;
    for (n, expected) in [(0, 0), (1, 1), (3, 3), (100, 1)] {
        assert_eq!(take(&port, queue, n).await, expected, "of {n}");
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

pub async fn a_queue_made_ahead_is_known_and_empty(port: Queue) {
    let queue = queue_of(1);
    for _ in 0..2 {
        port.make(queue).await.expect("make");
    }
    assert!(port.knows(queue));
    assert_empty(&port, queue).await;
    publish(&port, [(queue, 3)]).await;
    port.make(queue).await.expect("make what is there");
    drain(&port, queue, 10, 3).await;
}

pub async fn an_emptied_queue_takes_wakeups_again(port: Queue) {
    let queue = queue_of(1);
    for _ in 0..5 {
        publish(&port, [(queue, 1)]).await;
        drain(&port, queue, 1, 1).await;
        assert_empty(&port, queue).await;
    }
}

pub async fn publishing_nothing_is_fine(port: Queue) {
    publish(&port, []).await;
}

pub async fn the_same_queue_twice_in_a_batch_counts_twice(port: Queue) {
    let (one, other) = (queue_of(1), queue_of(2));
    publish(&port, [(one, 2), (other, 1), (one, 3)]).await;
    drain(&port, one, 10, 5).await;
    drain(&port, other, 10, 1).await;
    assert_empty(&port, one).await;
}

pub async fn queues_do_not_mix(port: Queue) {
    let one = queue_of(1);
    let other_tenant = queue_of(2);
    let other_kind = QueueKey {
        kind: JobKind::Training,
        ..one
    };
    publish(&port, [(one, 1), (other_tenant, 2), (other_kind, 3)]).await;
    drain(&port, one, 10, 1).await;
    drain(&port, other_tenant, 10, 2).await;
    drain(&port, other_kind, 10, 3).await;
    assert_empty(&port, one).await;
}

pub async fn acked_wakeups_never_come_again(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 4)]).await;
    assert_eq!(take(&port, queue, 2).await, 2);
    assert_eq!(take(&port, queue, 10).await, 2);
    assert_empty(&port, queue).await;
    until_depth(&port, queue, 0).await;
}

pub async fn wakeups_given_back_come_again(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 5)]).await;
    let visit = port.visit(queue, 3).await.expect("visit");
    assert_eq!(visit.taken, 3);
    port.give_back(visit.receipt).await.expect("give back");
    until_depth(&port, queue, 5).await;
    drain(&port, queue, 2, 5).await;
    assert_empty(&port, queue).await;
}

pub async fn wakeups_of_an_open_visit_are_not_given_to_another(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 3)]).await;
    let first = port.visit(queue, 2).await.expect("visit");
    let second = port.visit(queue, 10).await.expect("visit");
    assert_eq!((first.taken, second.taken), (2, 1));
    assert_empty(&port, queue).await;
    port.ack(second.receipt).await.expect("ack");
    port.give_back(first.receipt).await.expect("give back");
    drain(&port, queue, 10, 2).await;
}

/// A relay that crashed between sending and counting sends again; nothing but the count tells.
pub async fn more_wakeups_than_jobs_are_only_more_wakeups(port: Queue) {
    let queue = queue_of(1);
    for _ in 0..3 {
        publish(&port, [(queue, 7)]).await;
    }
    until_depth(&port, queue, 21).await;
    drain(&port, queue, 64, 21).await;
    assert_empty(&port, queue).await;
}

pub async fn the_depth_counts_what_nobody_has_in_hand(port: Queue) {
    let (queue, other) = (queue_of(1), queue_of(2));
    assert_eq!(port.depth(queue).await.expect("depth"), 0);
    publish(&port, [(queue, 5), (other, 1)]).await;
    until_depth(&port, queue, 5).await;
    let acked = port.visit(queue, 2).await.expect("visit");
    let given_back = port.visit(queue, 1).await.expect("visit");
    until_depth(&port, queue, 2).await;
    port.ack(acked.receipt).await.expect("ack");
    until_depth(&port, queue, 2).await;
    port.give_back(given_back.receipt).await.expect("give back");
    until_depth(&port, queue, 3).await;
    drain(&port, queue, 10, 3).await;
    assert_eq!(port.depth(queue).await.expect("depth"), 0);
    assert_eq!(port.depth(other).await.expect("depth"), 1);
}

/// A message may stand for many of them; how many at most is what tells that some were lost.
pub async fn a_queue_has_no_more_than_its_messages_may_stand_for(port: Queue) {
    for (tenant, n) in [(1, 3), (2, 64), (3, 1_000)] {
        let queue = queue_of(tenant);
        publish(&port, [(queue, n)]).await;
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            let depth = port.depth(queue).await.expect("depth");
            assert!(depth <= n, "{depth} messages of {n} wake-ups");
            if depth * port.wakeups_a_message() >= n {
                break;
            }
            assert!(Instant::now() < deadline, "{depth} messages of {n}");
            sleep(POLL_EVERY).await;
        }
    }
}

pub async fn asking_for_depths_disturbs_nobody(port: Queue) {
    const ASKED: u128 = 50;
    let queue = queue_of(1);
    publish(&port, [(queue, 4)]).await;
    let open = port.visit(queue, 3).await.expect("visit");
    // Of queues that are not there, at the same time as all else goes on.
    let asking = join_all((1_000..1_000 + ASKED).map(|tenant| port.depth(queue_of(tenant))));
    let publishing = publish(&port, (1..=ASKED).map(|tenant| (queue_of(tenant), 1)));
    let (depths, ()) = futures::join!(asking, publishing);
    for depth in depths {
        assert_eq!(depth.expect("depth"), 0);
    }
    // The visit is still open, and its ack still means what it took.
    until_depth(&port, queue, 2).await;
    port.ack(open.receipt).await.expect("ack");
    drain(&port, queue, 10, 2).await;
    assert_empty(&port, queue).await;
    // Asking has made no queue that would be taken for one that was published to.
    publish(&port, [(queue_of(1_000), 1)]).await;
    drain(&port, queue_of(1_000), 10, 1).await;
}

pub async fn a_thousand_wakeups_come_exactly_once(port: Queue) {
    let queue = queue_of(1);
    publish(&port, [(queue, 1_000)]).await;
    drain(&port, queue, 100, 1_000).await;
    assert_empty(&port, queue).await;
}

pub async fn concurrent_visits_share_all_there_is(port: Queue) {
    const VISITORS: usize = 8;
    const WAKEUPS: u32 = 400;
    let queue = queue_of(1);
    publish(&port, [(queue, WAKEUPS)]).await;
    let visitors = (0..VISITORS).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            let mut came = 0;
            loop {
                let taken = take(&port, queue, 7).await;
                if taken == 0 {
                    return came;
                }
                came += taken;
            }
        })
    });
    let came: u32 = join_all(visitors)
        .await
        .into_iter()
        .map(|visitor| visitor.expect("a visitor"))
        .sum();
    assert_eq!(came, WAKEUPS);
}

pub async fn many_queues_are_filled_at_once(port: Queue) {
    const QUEUES: u128 = 300;
    publish(&port, (0..QUEUES).map(|tenant| (queue_of(tenant), 1))).await;
    for tenant in 0..QUEUES {
        drain(&port, queue_of(tenant), 5, 1).await;
    }
}

pub async fn concurrent_publishers_lose_nothing(port: Queue) {
    const PUBLISHERS: u32 = 10;
    const EACH: u32 = 50;
    let queue = queue_of(1);
    let publishers = (0..PUBLISHERS).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move { publish(&port, [(queue, EACH)]).await })
    });
    for publisher in join_all(publishers).await {
        publisher.expect("a publisher");
    }
    drain(&port, queue, 64, PUBLISHERS * EACH).await;
    assert_empty(&port, queue).await;
}

pub async fn concurrent_publishers_make_the_same_new_queues(port: Queue) {
    const PUBLISHERS: u32 = 6;
    const QUEUES: u128 = 20;
    let publishers = (0..PUBLISHERS).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            publish(&port, (0..QUEUES).map(|tenant| (queue_of(tenant), 2))).await;
        })
    });
    for publisher in join_all(publishers).await {
        publisher.expect("a publisher");
    }
    for tenant in 0..QUEUES {
        until_depth(&port, queue_of(tenant), 2 * PUBLISHERS).await;
        drain(&port, queue_of(tenant), 64, 2 * PUBLISHERS).await;
    }
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
