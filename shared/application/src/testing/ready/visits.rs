//! What is in a picker's hand, and what its visit brings home: nothing is picked twice, and a queue whose visit found
//! nothing is held off until there is news of it.

use std::collections::HashMap;
use std::sync::Arc;

use domain::QueueKey;

use super::{Ready, found_nothing, note, pick, picked, queue_of, rebuilt, snapshot, visited};
use crate::ports::Pick;

pub async fn what_was_picked_is_not_picked_again(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 3)]).await;
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    assert_eq!(pick(&port, 2).await, picked(1, 1));
    assert_eq!(pick(&port, 2).await, Pick::Nothing);
}

pub async fn what_is_in_hand_stays_so_until_its_visit_is_over(port: Ready) {
    rebuilt(&port, &[snapshot(1, 7, 3)]).await;
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    // A fourth job comes while two are in hand.
    note(&port, snapshot(1, 8, 4)).await;
    assert_eq!(pick(&port, 9).await, picked(1, 2));
    assert_eq!(pick(&port, 9).await, Pick::Nothing);
    // The first two are claimed: two are left, and those are in hand.
    note(&port, snapshot(1, 9, 2)).await;
    visited(&port, queue_of(1), 2, 2).await;
    assert_eq!(pick(&port, 9).await, Pick::Nothing);
    // The second visit came back without a claim.
    visited(&port, queue_of(1), 2, 0).await;
    assert_eq!(pick(&port, 9).await, picked(1, 2));
}

pub async fn messages_that_came_during_an_empty_visit_are_not_missed(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1)]).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    port.arrived(&[queue_of(1)]).await.expect("arrived");
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
}

pub async fn an_empty_visit_holds_a_queue_off_until_messages_arrive(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 5)]).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(1, 1, 5)).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    port.arrived(&[queue_of(1)]).await.expect("arrived");
    assert_eq!(pick(&port, 9).await, picked(1, 5));
}

pub async fn an_empty_visit_holds_a_queue_off_until_a_newer_snapshot(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 5)]).await;
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(1, 2, 5)).await;
    assert_eq!(pick(&port, 9).await, picked(1, 5));
}

pub async fn concurrent_picks_never_exceed_the_hint(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 100), snapshot(2, 1, 50)]).await;
    let pickers: Vec<_> = (0..8)
        .map(|_| {
            let port = Arc::clone(&port);
            tokio::spawn(async move {
                let mut total: HashMap<QueueKey, u32> = HashMap::new();
                while let Pick::Queue { queue, n, .. } = pick(&port, 7).await {
                    *total.entry(queue).or_default() += n;
                }
                total
            })
        })
        .collect();
    let mut all: HashMap<QueueKey, u32> = HashMap::new();
    for picker in pickers {
        for (queue, n) in picker.await.expect("a picker") {
            *all.entry(queue).or_default() += n;
        }
    }
    assert_eq!(all, HashMap::from([(queue_of(1), 100), (queue_of(2), 50)]));
}
