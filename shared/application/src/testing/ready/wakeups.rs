//! Pickers that found nothing sleep. All that makes a queue ready must wake them, or jobs wait beside idle workers.

use std::time::Duration;

use tokio::time::timeout;

use super::{Ready, found_nothing, note, pick, picked, queue_of, rebuilt, snapshot, visited};
use crate::ports::Pick;

const WAKES_WITHIN: Duration = Duration::from_secs(10);

pub async fn a_queue_that_becomes_ready_wakes_the_pickers(port: Ready) {
    rebuilt(&port, &[]).await;
    let mut wakeups = port.wakeups();
    for version in 1..=20 {
        wakeups.mark_unchanged();
        assert_eq!(pick(&port, 1).await, Pick::Nothing);
        note(&port, snapshot(1, 2 * version, 1)).await;
        timeout(WAKES_WITHIN, wakeups.changed())
            .await
            .expect("a wake-up was lost")
            .expect("the set is still there");
        assert_eq!(pick(&port, 1).await, picked(1, 1));
        note(&port, snapshot(1, 2 * version + 1, 0)).await;
        visited(&port, queue_of(1), 1, 1).await;
    }
}

pub async fn arrivals_and_rebuilding_wake_the_pickers(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1)]).await;
    found_nothing(&port, queue_of(1), 1).await;
    let mut wakeups = port.wakeups();
    wakeups.mark_unchanged();
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    port.arrived(&[queue_of(1)]).await.expect("arrived");
    timeout(WAKES_WITHIN, wakeups.changed())
        .await
        .expect("arrivals wake")
        .expect("the set is still there");
    assert_eq!(pick(&port, 1).await, picked(1, 1));

    wakeups.mark_unchanged();
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    rebuilt(&port, &[snapshot(1, 1, 1)]).await;
    timeout(WAKES_WITHIN, wakeups.changed())
        .await
        .expect("rebuilding wakes")
        .expect("the set is still there");
}
