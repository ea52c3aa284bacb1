//! What picks are charged, and how that is corrected when the truth is known.

use domain::SlotSnapshot;

use super::{Ready, note, pick, picked, queue_of, rebuilt, snapshot, tenants_of_picks, visited};
use crate::ports::{CHARGE_MIN_SECONDS, PICK_MAX, Pick, Served};

/// 10,000 jobs that take `seconds` each.
fn jobs_of(seconds: f64, tenant: u128, version: i64) -> SlotSnapshot {
    SlotSnapshot {
        service_seconds: seconds,
        ..snapshot(tenant, version, 10_000)
    }
}

async fn served(port: &Ready, tenant: u128, beyond: f64) {
    let queue = queue_of(tenant);
    let served = Served { queue, beyond };
    port.served(&[served]).await.expect("served");
}

async fn estimate_of_pick(port: &Ready) -> f64 {
    match pick(port, 1).await {
        Pick::Queue { estimate, .. } => estimate,
        other => panic!("{other:?}"),
    }
}

pub async fn a_pick_is_charged_the_expected_seconds(port: Ready) {
    rebuilt(&port, &[jobs_of(5.0, 1, 1), jobs_of(0.5, 2, 1)]).await;
    // 5 seconds, then ten times half a second; a tie goes to the first.
    let turn = [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2];
    assert_eq!(tenants_of_picks(&port, 11).await, turn);
    assert_eq!(tenants_of_picks(&port, 11).await, turn);
    // A pick of several is charged for each: 15 seconds.
    assert!(matches!(pick(&port, 3).await, Pick::Queue { n: 3, .. }));
    assert_eq!(tenants_of_picks(&port, 30).await, [2; 30]);
    assert_eq!(tenants_of_picks(&port, 1).await, [1]);
}

pub async fn the_newest_snapshot_says_what_a_job_is_charged(port: Ready) {
    let third = 1.0 / 3.0;
    for (version, seconds) in [(7, third), (8, 0.1 + 0.2), (9, 1e6 + third)] {
        rebuilt(&port, &[jobs_of(1.0, 1, 1)]).await;
        note(&port, jobs_of(seconds, 1, version)).await;
        note(&port, jobs_of(77.0, 1, version - 1)).await;
        let estimate = estimate_of_pick(&port).await;
        assert_eq!(
            estimate.to_bits(),
            seconds.to_bits(),
            "{estimate}, not {seconds}"
        );
    }
}

pub async fn a_job_that_takes_no_time_is_charged_something(port: Ready) {
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        rebuilt(&port, &[jobs_of(seconds, 1, 1), jobs_of(0.0, 2, 1)]).await;
        let estimate = estimate_of_pick(&port).await;
        assert_eq!(estimate.to_bits(), CHARGE_MIN_SECONDS.to_bits());
        assert_eq!(tenants_of_picks(&port, 3).await, [2, 1, 2]);
    }
}

pub async fn what_was_not_claimed_is_not_charged(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000), snapshot(2, 1, 1_000)]).await;
    assert_eq!(pick(&port, 40).await, picked(1, 40));
    visited(&port, queue_of(1), 40, 10).await;
    assert_eq!(tenants_of_picks(&port, 10).await, [2; 10]);
    assert_eq!(tenants_of_picks(&port, 2).await, [1, 2]);
}

pub async fn what_was_not_claimed_is_given_back_to_the_present_at_most(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000), snapshot(2, 1, 1_000)]).await;
    assert_eq!(pick(&port, 40).await, picked(1, 40));
    assert_eq!(tenants_of_picks(&port, 20).await, [2; 20]);
    visited(&port, queue_of(1), 40, 0).await;
    // The latest pick was at 19, and tenant 2 is at 20.
    assert_eq!(tenants_of_picks(&port, 6).await, [1, 1, 2, 1, 2, 1]);
}

pub async fn an_end_corrects_what_the_pick_was_charged(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000), snapshot(2, 1, 1_000)]).await;
    assert_eq!(tenants_of_picks(&port, 2).await, [1, 2]);
    // It took 10 seconds, not one.
    served(&port, 1, 9.0).await;
    assert_eq!(tenants_of_picks(&port, 9).await, [2; 9]);
    assert_eq!(pick(&port, 10).await, picked(1, 10));
    assert_eq!(tenants_of_picks(&port, 4).await, [2; 4]);
    // They took half a second each: at 15 instead of 20, and tenant 2 is at 14.
    served(&port, 1, -5.0).await;
    assert_eq!(tenants_of_picks(&port, 3).await, [2, 1, 2]);
}

pub async fn corrections_are_shared_out_by_weight(port: Ready) {
    let heavy = SlotSnapshot {
        weight: 4,
        ..snapshot(1, 1, 1_000)
    };
    rebuilt(&port, &[heavy, snapshot(2, 1, 1_000)]).await;
    assert_eq!(pick(&port, 4).await, picked(1, 4));
    served(&port, 1, 36.0).await;
    assert_eq!(tenants_of_picks(&port, 10).await, [2; 10]);
    assert_eq!(tenants_of_picks(&port, 5).await, [1, 2, 1, 1, 1]);
}

pub async fn a_correction_earns_no_credit(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1_000), snapshot(2, 1, 1_000)]).await;
    tenants_of_picks(&port, 20).await;
    served(&port, 1, -1e9).await;
    served(&port, 1, -1e9).await;
    let tenants = tenants_of_picks(&port, 20).await;
    let first = tenants.iter().filter(|tenant| **tenant == 1).count();
    assert!((9..=11).contains(&first), "{tenants:?}");
}

pub async fn a_correction_at_full_quota_earns_no_credit(port: Ready) {
    let full = SlotSnapshot {
        quota: 1,
        ..snapshot(1, 1, 1_000)
    };
    rebuilt(&port, &[full, snapshot(2, 1, 1_000)]).await;
    assert_eq!(tenants_of_picks(&port, 21).await[..2], [1, 2]);
    served(&port, 1, -1e9).await;
    visited(&port, queue_of(1), 1, 1).await;
    note(&port, snapshot(1, 2, 1_000)).await;
    // A charge on top of what it never had back would be one too many.
    let tenants = tenants_of_picks(&port, 20).await;
    let first = tenants.iter().filter(|tenant| **tenant == 1).count();
    assert!((9..=11).contains(&first), "{tenants:?}");
}

pub async fn a_correction_makes_nothing_ready(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1)]).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    served(&port, 1, -0.5).await;
    served(&port, 1, 0.5).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
}

pub async fn a_correction_counts_for_a_queue_that_went_idle(port: Ready) {
    rebuilt(&port, &[snapshot(1, 1, 1), snapshot(2, 1, 1_000)]).await;
    assert_eq!(pick(&port, 1).await, picked(1, 1));
    // As it is said: what it took, then that it is over.
    served(&port, 1, 9.0).await;
    note(&port, snapshot(1, 2, 0)).await;
    visited(&port, queue_of(1), 1, 1).await;
    assert_eq!(tenants_of_picks(&port, 5).await, [2; 5]);
    // Also while it is idle, as long as it is remembered: at 20 in all.
    served(&port, 1, 10.0).await;
    note(&port, snapshot(1, 3, 1_000)).await;
    assert_eq!(tenants_of_picks(&port, 15).await, [2; 15]);
    assert_eq!(tenants_of_picks(&port, 2).await, [1, 2]);
}

pub async fn what_was_had_while_all_are_idle_is_no_debt(port: Ready) {
    rebuilt(&port, &[jobs_of(3_600.0, 1, 1)]).await;
    assert!(matches!(pick(&port, PICK_MAX).await, Pick::Queue { .. }));
    note(&port, snapshot(1, 2, 0)).await;
    // Nobody wanted anything meanwhile, so nobody is owed anything.
    note(&port, snapshot(2, 1, 1_000)).await;
    note(&port, snapshot(1, 3, 1_000)).await;
    assert_eq!(tenants_of_picks(&port, 4).await, [1, 2, 1, 2]);
}

pub async fn corrections_that_cannot_be_are_harmless(port: Ready) {
    rebuilt(&port, &[]).await;
    served(&port, 9, 100.0).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
    note(&port, snapshot(9, 1, 10)).await;
    note(&port, snapshot(10, 1, 10)).await;
    for beyond in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        served(&port, 9, beyond).await;
    }
    assert_eq!(tenants_of_picks(&port, 4).await, [9, 10, 9, 10]);
    port.served(&[]).await.expect("served");
}

pub async fn a_newcomer_is_served_at_once_beside_a_flood_of_long_jobs(port: Ready) {
    rebuilt(&port, &[jobs_of(3_600.0, 1, 1)]).await;
    for _ in 0..50 {
        assert!(matches!(pick(&port, PICK_MAX).await, Pick::Queue { .. }));
    }
    // Its jobs turn out to be short, which is much to give back.
    served(&port, 1, -1e9).await;
    note(&port, jobs_of(1.0, 2, 1)).await;
    let next = tenants_of_picks(&port, 2).await;
    assert!(next.contains(&2), "{next:?}");
    // It has no credit either: an hour for the flood, an hour for the newcomer.
    let mut newcomers = 0;
    while let Pick::Queue { queue, .. } = pick(&port, 1).await {
        if queue == queue_of(1) {
            break;
        }
        newcomers += 1;
    }
    assert!((3_598..=3_600).contains(&newcomers), "{newcomers}");
}
