//! What every [`ReadySet`] must do, by theme, and the helpers that the themes share. Every ready set runs all of it by
//! [`ready_contract!`], so that it does not matter to the engine which one it has.
//!
//! [`ready_contract!`]: crate::ready_contract

mod knowledge;
mod readiness;
mod seconds;
mod shares;
mod turns;
mod visits;
mod wakeups;

use std::sync::Arc;

use domain::{JobKind, QueueKey, SlotSnapshot, TenantId};
use uuid::Uuid;

use crate::ports::{Found, Pick, ReadySet, Visited};

pub use knowledge::*;
pub use readiness::*;
pub use seconds::*;
pub use shares::*;
pub use turns::*;
pub use visits::*;
pub use wakeups::*;

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
