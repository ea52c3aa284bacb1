//! Whose turn it is: kinds take turns, tenants by weight, and nobody waits behind another's backlog. Here every job takes
//! a second; what longer ones are charged is in [`seconds`](super::seconds).

use std::collections::HashMap;

use domain::{JobKind, QueueKey, SlotSnapshot};

use super::{Ready, note, pick, picked, queue_of, rebuilt, snapshot, tenants_of_picks, visited};
use crate::ports::{PICK_MAX, Pick};

pub async fn kinds_take_turns(port: Ready) {
    let training = QueueKey {
        kind: JobKind::Training,
        ..queue_of(500)
    };
    let mut slots: Vec<SlotSnapshot> = (1..=100).map(|tenant| snapshot(tenant, 1, 1)).collect();
    slots.push(SlotSnapshot {
        queue: training,
        ..snapshot(500, 1, 10)
    });
    rebuilt(&port, &slots).await;
    let mut trainings = 0;
    for _ in 0..20 {
        match port.pick(&JobKind::ALL, 1).await.expect("pick") {
            Pick::Queue { queue, .. } if queue == training => trainings += 1,
            Pick::Queue { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(trainings, 10);
}

pub async fn ties_go_to_the_first_key(port: Ready) {
    let slots = [snapshot(3, 1, 1), snapshot(1, 1, 1), snapshot(2, 1, 1)];
    rebuilt(&port, &slots).await;
    assert_eq!(tenants_of_picks(&port, 3).await, [1, 2, 3]);
}

pub async fn weights_are_shares(port: Ready) {
    let heavy = SlotSnapshot {
        weight: 3,
        ..snapshot(2, 1, 1_000)
    };
    rebuilt(&port, &[snapshot(1, 1, 1_000), heavy]).await;
    let mut picks = HashMap::new();
    for (index, tenant) in tenants_of_picks(&port, 400).await.into_iter().enumerate() {
        *picks.entry(tenant).or_insert(0_u32) += 1;
        // Not only in the end: at any moment nobody is further off its share than a pick or two.
        let share = picks.get(&2).copied().unwrap_or(0) * 4;
        let total = 3 * u32::try_from(index + 1).expect("few picks");
        assert!(
            share.abs_diff(total) <= 8,
            "{picks:?} after {} picks",
            index + 1
        );
    }
    assert_eq!(picks, HashMap::from([(1, 100), (2, 300)]));
}

pub async fn a_backlog_delays_another_tenant_by_one_pick_at_most(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000_000)]).await;
    for _ in 0..50 {
        assert_eq!(pick(&port, 1_000).await, picked(1, PICK_MAX));
    }
    note(&port, snapshot(2, 1, 1)).await;
    let next = [pick(&port, 1_000).await, pick(&port, 1_000).await];
    assert!(next.contains(&picked(2, 1)), "{next:?}");
}

pub async fn idling_earns_no_credit(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000), snapshot(2, 1, 1)]).await;
    assert_eq!(tenants_of_picks(&port, 2).await, [1, 2]);
    note(&port, snapshot(2, 2, 0)).await;
    tenants_of_picks(&port, 100).await;
    note(&port, snapshot(2, 3, 1_000)).await;
    // Tenant 2 has had 100 fewer, and gets half from now on, not more.
    let tenants = tenants_of_picks(&port, 20).await;
    let second = tenants.iter().filter(|tenant| **tenant == 2).count();
    assert!((9..=11).contains(&second), "{tenants:?}");
}

pub async fn going_idle_pays_no_debt(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 40), snapshot(2, 1, 1_000)]).await;
    assert_eq!(pick(&port, 40).await, picked(1, 40));
    note(&port, snapshot(1, 2, 0)).await;
    visited(&port, queue_of(1), 40, 40).await;
    note(&port, snapshot(1, 3, 40)).await;
    assert_eq!(tenants_of_picks(&port, 40).await, [2; 40]);
    assert_eq!(tenants_of_picks(&port, 2).await, [1, 2]);
}

pub async fn ten_thousand_queues_are_each_picked_once(port: Ready) {
    const QUEUES: u128 = 10_000;
    let slots: Vec<SlotSnapshot> = (0..QUEUES).map(|tenant| snapshot(tenant, 1, 1)).collect();
    rebuilt(&port, &slots).await;
    let mut tenants = tenants_of_picks(&port, 10_000).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    tenants.sort_unstable();
    tenants.dedup();
    assert_eq!(tenants.len(), 10_000);
}
