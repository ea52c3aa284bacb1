//! Which queues may be picked from, and how much at once: jobs that wait, free slots, no pause, a kind that was asked for.
//! Never in which order; that is [`turns`](super::turns).

use domain::{JobKind, QueueKey, SlotSnapshot};

use super::{Ready, note, pick, picked, queue_of, rebuilt, snapshot};
use crate::ports::{PICK_MAX, Pick};

pub async fn a_queue_is_ready_while_it_has_jobs_and_free_slots(port: Ready) {
    let no_slot = SlotSnapshot {
        quota: 2,
        running: 2,
        ..snapshot(1, 1, 5)
    };
    let not_published = SlotSnapshot {
        published: 0,
        ..snapshot(2, 1, 5)
    };
    rebuilt(&port, &[no_slot, not_published, snapshot(3, 1, 0)]).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    let one_slot = SlotSnapshot {
        version: 2,
        running: 1,
        ..no_slot
    };
    note(&port, one_slot).await;
    assert_eq!(pick(&port, 9).await, picked(1, 1));
    assert_eq!(pick(&port, 9).await, Pick::Nothing);
}

pub async fn a_paused_queue_is_not_ready(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 5)]).await;
    let paused = SlotSnapshot {
        paused: true,
        ..snapshot(1, 2, 5)
    };
    note(&port, paused).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(1, 3, 5)).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
}

pub async fn a_pick_is_bounded_by_want_hint_and_limit(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, PICK_MAX + 5)]).await;
    assert_eq!(pick(&port, 0).await, Pick::Nothing);
    assert_eq!(pick(&port, 3).await, picked(1, 3));
    assert_eq!(pick(&port, 1_000).await, picked(1, PICK_MAX));
    assert_eq!(pick(&port, 1_000).await, picked(1, 2));
    assert_eq!(pick(&port, 1_000).await, Pick::Nothing);
}

pub async fn kinds_that_were_not_asked_for_are_left_alone(port: Ready) {
    let training = QueueKey {
        kind: JobKind::Training,
        ..queue_of(1)
    };
    let slots = SlotSnapshot {
        queue: training,
        ..snapshot(1, 1, 1)
    };
    rebuilt(&port, &[slots]).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    assert_eq!(port.pick(&[], 1).await.expect("pick"), Pick::Nothing);
    let expected = Pick::Queue {
        queue: training,
        n: 1,
        estimate: 1.0,
    };
    assert_eq!(port.pick(&JobKind::ALL, 1).await.expect("pick"), expected);
}
