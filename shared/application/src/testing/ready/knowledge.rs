//! What the set knows and what it lets go of. It is a cache of the store: blank until it is rebuilt, never set back by what
//! is late, and set right again by a refresh or by rebuilding it.

use super::{Ready, found_nothing, note, pick, picked, queue_of, rebuilt, snapshot};
use crate::ports::Pick;

pub async fn a_fresh_set_is_blank_until_rebuilt(port: Ready) {
    assert_eq!(pick(&port, 1).await, Pick::Blank);
    note(&port, snapshot(1, 1, 1)).await;
    port.arrived(&[queue_of(1)]).await.expect("arrived");
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Blank);
    rebuilt(&port, &[]).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
}

pub async fn a_stale_snapshot_is_ignored(port: Ready) {
    rebuilt(&port, &[snapshot(1, 7, 2)]).await;
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    note(&port, snapshot(1, 6, 9)).await;
    // 10 is after 9, though not as text.
    note(&port, snapshot(1, 10, 0)).await;
    note(&port, snapshot(1, 9, 9)).await;
    assert_eq!(pick(&port, 2).await, Pick::Nothing);
}

pub async fn a_refresh_offers_again_what_a_dead_picker_had_in_hand(port: Ready) {
    rebuilt(&port, &[snapshot(1, 7, 2), snapshot(2, 7, 2)]).await;
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    assert_eq!(pick(&port, 2).await, picked(2, 2));
    found_nothing(&port, queue_of(2), 2).await;
    note(&port, snapshot(1, 7, 2)).await;
    assert_eq!(pick(&port, 2).await, Pick::Nothing);
    port.refresh(&[snapshot(1, 7, 2), snapshot(2, 6, 2)])
        .await
        .expect("refresh");
    // Of a queue that is written to all the time the store's word is always an old one.
    assert_eq!(pick(&port, 2).await, picked(2, 2));
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    assert_eq!(pick(&port, 2).await, Pick::Nothing);
    port.refresh(&[snapshot(1, 6, 9)]).await.expect("refresh");
    assert_eq!(
        pick(&port, 9).await,
        picked(1, 2),
        "what an older one says is not believed"
    );
}

pub async fn a_snapshot_from_before_idling_does_no_harm(port: Ready) {
    rebuilt(&port, &[]).await;
    note(&port, snapshot(1, 5, 0)).await;
    // Late and wrong: it costs one visit at most, and what is true afterwards counts again.
    note(&port, snapshot(1, 4, 1)).await;
    if let Pick::Queue { queue, .. } = pick(&port, 1).await {
        found_nothing(&port, queue, 1).await;
    }
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(1, 6, 2)).await;
    assert_eq!(pick(&port, 9).await, picked(1, 2));
}

pub async fn arrivals_in_an_unknown_queue_are_harmless(port: Ready) {
    rebuilt(&port, &[]).await;
    port.arrived(&[queue_of(9)]).await.expect("arrived");
    found_nothing(&port, queue_of(9), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(9, 1, 1)).await;
    assert_eq!(pick(&port, 1).await, picked(9, 1));
}

pub async fn rebuilding_forgets_what_was_known(port: Ready) {
    rebuilt(&port, &[snapshot(1, 100, 5), snapshot(2, 100, 5)]).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    // The store was set back: its versions are lower than those known.
    rebuilt(&port, &[snapshot(2, 3, 1)]).await;
    assert_eq!(pick(&port, 9).await, picked(2, 1));
    assert_eq!(pick(&port, 9).await, Pick::Nothing);
}

pub async fn a_healthy_set_checks_out(port: Ready) {
    port.check().await.expect("check");
}
