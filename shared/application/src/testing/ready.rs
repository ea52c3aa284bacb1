//! What every [`ReadySet`] must do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{JobKind, QueueKey, SlotSnapshot, TenantId};
use tokio::time::timeout;
use uuid::Uuid;

use crate::ports::{Found, PICK_MAX, Pick, ReadySet, Visited};

mod seconds;
mod shares;

pub use seconds::*;
pub use shares::*;

const WAKES_WITHIN: Duration = Duration::from_secs(10);

#[macro_export]
macro_rules! ready_contract {
    ($open:expr) => {
        $crate::port_contract!(
            ready,
            $open,
            [
                a_fresh_set_is_blank_until_rebuilt,
                a_queue_is_ready_while_it_has_jobs_and_free_slots,
                a_paused_queue_is_not_ready,
                a_pick_is_bounded_by_want_hint_and_limit,
                what_was_picked_is_not_picked_again,
                what_is_in_hand_stays_so_until_its_visit_is_over,
                a_stale_snapshot_is_ignored,
                a_refresh_offers_again_what_a_dead_picker_had_in_hand,
                messages_that_came_during_an_empty_visit_are_not_missed,
                kinds_that_were_not_asked_for_are_left_alone,
                kinds_take_turns,
                ties_go_to_the_first_key,
                weights_are_shares,
                a_backlog_delays_another_tenant_by_one_pick_at_most,
                idling_earns_no_credit,
                going_idle_pays_no_debt,
                an_empty_visit_holds_a_queue_off_until_messages_arrive,
                an_empty_visit_holds_a_queue_off_until_a_newer_snapshot,
                a_snapshot_from_before_idling_does_no_harm,
                arrivals_in_an_unknown_queue_are_harmless,
                rebuilding_forgets_what_was_known,
                a_queue_that_becomes_ready_wakes_the_pickers,
                arrivals_and_rebuilding_wake_the_pickers,
                ten_thousand_queues_are_each_picked_once,
                concurrent_picks_never_exceed_the_hint,
                a_pick_is_charged_the_expected_seconds,
                the_newest_snapshot_says_what_a_job_is_charged,
                a_job_that_takes_no_time_is_charged_something,
                what_was_not_claimed_is_not_charged,
                what_was_not_claimed_is_given_back_to_the_present_at_most,
                an_end_corrects_what_the_pick_was_charged,
                corrections_are_shared_out_by_weight,
                a_correction_earns_no_credit,
                a_correction_at_full_quota_earns_no_credit,
                a_correction_makes_nothing_ready,
                a_correction_counts_for_a_queue_that_went_idle,
                what_was_had_while_all_are_idle_is_no_debt,
                corrections_that_cannot_be_are_harmless,
                a_newcomer_is_served_at_once_beside_a_flood_of_long_jobs,
                long_and_short_jobs_get_the_same_worker_seconds,
                weights_are_shares_of_worker_seconds,
                a_healthy_set_checks_out,
            ]
        );
    };
}

type Ready = Arc<dyn ReadySet>;

const SESSIONS: &[JobKind] = &[JobKind::Session];

fn queue_of(tenant: u128) -> QueueKey {
    QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
        kind: JobKind::Session,
    }
}

/// A queue of weight 1 with `queued` jobs of a second each, a wake-up for each, and as many free slots.
fn snapshot(tenant: u128, version: i64, queued: u32) -> SlotSnapshot {
    SlotSnapshot {
        queue: queue_of(tenant),
        version,
        weight: 1,
        quota: 1_000_000,
        running: 0,
        queued,
        due: queued,
        published: queued,
        paused: false,
        service_seconds: 1.0,
    }
}

async fn rebuilt(port: &Ready, slots: &[SlotSnapshot]) {
    port.rebuild(slots).await.expect("rebuild");
}

async fn note(port: &Ready, slots: SlotSnapshot) {
    port.note(&[slots]).await.expect("note");
}

async fn pick(port: &Ready, want: u32) -> Pick {
    port.pick(SESSIONS, want).await.expect("pick")
}

fn picked(tenant: u128, n: u32) -> Pick {
    let queue = queue_of(tenant);
    let estimate = 1.0;
    Pick::Queue { queue, n, estimate }
}

/// The visit of a pick of `n` jobs of a second is over, and found wake-ups.
async fn visited(port: &Ready, queue: QueueKey, n: u32, claimed: u32) {
    let visited = Visited {
        queue,
        n,
        claimed,
        estimate: 1.0,
        found: Found::Something,
    };
    port.visited(visited).await.expect("visited");
}

async fn found_nothing(port: &Ready, queue: QueueKey, n: u32) {
    let visited = Visited {
        queue,
        n,
        claimed: 0,
        estimate: 1.0,
        found: Found::Nothing,
    };
    port.visited(visited).await.expect("visited");
}

/// The tenants of `count` picks of one job each.
async fn tenants_of_picks(port: &Ready, count: usize) -> Vec<u128> {
    let mut tenants = Vec::new();
    for _ in 0..count {
        match pick(port, 1).await {
            Pick::Queue { queue, n: 1, .. } => tenants.push(queue.tenant.as_uuid().as_u128()),
            other => panic!("{other:?} after {tenants:?}"),
        }
    }
    tenants
}

pub async fn a_fresh_set_is_blank_until_rebuilt(port: Ready) {
    assert_eq!(pick(&port, 1).await, Pick::Blank);
    note(&port, snapshot(1, 1, 1)).await;
    port.arrived(&[queue_of(1)]).await.expect("arrived");
    found_nothing(&port, queue_of(1), 1).await;
    assert_eq!(pick(&port, 1).await, Pick::Blank);
    rebuilt(&port, &[]).await;
    assert_eq!(pick(&port, 1).await, Pick::Nothing);
}

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
    assert_eq!(pick(&port, 2).await, picked(1, 2));
    assert_eq!(
        pick(&port, 2).await,
        Pick::Nothing,
        "an older one is ignored"
    );
    port.refresh(&[snapshot(2, 7, 2)]).await.expect("refresh");
    assert_eq!(pick(&port, 2).await, picked(2, 2));
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

pub async fn a_healthy_set_checks_out(port: Ready) {
    port.check().await.expect("check");
}
