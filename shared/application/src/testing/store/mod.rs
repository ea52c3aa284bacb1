//! The contract of the store ports, one function a promise. Every store runs all of them by [`store_contract!`].
//!
//! A contract gets a store that is empty and its own: engine methods cross tenants, so nobody else may use it
//! meanwhile. Time is passed in; nothing here sleeps or asks a real clock.
//!
//! [`store_contract!`]: crate::store_contract

pub mod agent_tasks;
pub mod agents;
pub mod another_agent;
pub mod budgets;
pub mod claim;
mod clockwork;
pub mod deadlines;
pub mod dependencies;
pub mod finish;
pub mod guards;
pub mod keys;
pub mod lease;
pub mod life;
pub mod months;
pub mod queue_steering;
pub mod read;
pub mod reconcile;
pub mod relay;
pub mod replays;
pub mod report;
pub mod routed;
pub mod schedules;
pub mod steer;
pub mod submit;
pub mod tenants;
pub mod ticks;
pub mod waiting;
mod world;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::ports::{
    AgentStore, AgentTaskStore, EngineStore, JobStore, KeyStore, ReplayStore, ScheduleStore,
    TenantStore,
};

pub use world::World;

/// A migrated, empty store, and what must live as long as it does (a temporary folder, say).
#[derive(Clone)]
pub struct StoreUnderTest {
    pub jobs: Arc<dyn JobStore>,
    pub engine: Arc<dyn EngineStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub agents: Arc<dyn AgentStore>,
    pub agent_tasks: Arc<dyn AgentTaskStore>,
    pub keys: Arc<dyn KeyStore>,
    pub schedules: Arc<dyn ScheduleStore>,
    pub replays: Arc<dyn ReplayStore>,
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl StoreUnderTest {
    pub fn new<S>(store: Arc<S>) -> Self
    where
        S: AgentStore
            + AgentTaskStore
            + JobStore
            + EngineStore
            + TenantStore
            + KeyStore
            + ReplayStore
            + ScheduleStore
            + 'static,
    {
        Self {
            jobs: store.clone(),
            engine: store.clone(),
            tenants: store.clone(),
            agents: store.clone(),
            agent_tasks: store.clone(),
            replays: store.clone(),
            schedules: store.clone(),
            keys: store,
            guard: None,
        }
    }

    /// Keeps `guard` until the last clone of this is dropped.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }
}

impl fmt::Debug for StoreUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreUnderTest")
            .field("guarded", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

/// One `#[tokio::test]` a contract. `$make` is an async function without arguments that gives a fresh
/// [`StoreUnderTest`], or an `Option` of one where `None` means that this kind of store is not tested here.
#[macro_export]
macro_rules! store_contract {
    ($make:path) => {
        $crate::store_contract! { @each $make;
            agents:
                an_agent_reads_back_as_it_was_registered,
                an_agent_is_its_tenants_own_or_shared,
                agents_are_listed_by_name,
                an_agents_name_is_taken_once,
                an_external_agent_may_register_again,
                an_agents_change_of_an_old_version_is_refused,
                agents_with_an_address_are_found_whosever_they_are,
                a_heartbeat_is_kept_and_an_older_one_is_not,
                what_asks_and_reports_lives;
            another_agent:
                a_session_that_failed_for_good_is_tried_anew_only_with_another_agent,
                only_agents_that_a_live_worker_runs_are_others;
            agent_tasks:
                a_task_is_asked_for_reported_and_ended,
                a_task_is_its_agents_and_its_runs_alone,
                who_lost_its_lease_is_refused,
                a_task_that_nobody_wants_is_told_so,
                the_run_after_a_lost_one_joins_its_task,
                a_run_that_failed_leaves_nothing_to_join,
                of_those_who_ask_at_once_one_gets_the_task,
                tasks_that_nobody_touches_are_forgotten;
            routed:
                a_routed_session_is_claimed_with_the_best_agent,
                an_agent_gets_no_more_than_its_capacity,
                a_late_routed_claim_starts_no_session_before_what_happened_last,
                routed_sessions_keep_to_quotas_and_pauses,
                tenants_who_wait_in_vain_hide_no_other,
                a_session_fails_over_and_the_breaker_opens,
                an_agents_quality_is_kept_of_what_was_rated,
                a_dead_workers_agent_is_free_again;
            replays:
                dead_letters_are_grouped_by_what_they_share,
                all_that_match_are_queued_again_step_by_step,
                a_replay_is_held_up_by_a_full_backlog,
                a_replay_that_is_held_up_holds_up_no_other,
                an_aborted_replay_stops,
                what_was_retried_meanwhile_is_skipped,
                replays_are_their_tenants_own;
            submit:
                a_job_reads_back_as_it_was_submitted,
                a_submit_writes_events_counts_and_messages,
                only_the_fault_of_a_submission_refuses_it,
                a_backlog_takes_no_more_than_its_limit,
                a_backlog_holds_against_a_race,
                a_submit_fills_the_window,
                a_submit_makes_up_for_wakeups_that_are_missing,
                a_thousand_jobs_are_one_submission;
            read:
                another_tenant_sees_nothing,
                a_job_without_history_is_not_a_missing_job,
                a_list_is_what_all_its_filters_let_through,
                pages_show_each_job_once,
                queues_show_depth_age_and_use,
                the_oldest_of_a_queue_is_due,
                events_and_logs_go_on_where_a_reader_stopped;
            steer:
                every_action_does_what_the_table_says,
                a_started_job_is_queued_and_published,
                a_started_job_needs_no_wakeup_where_the_window_is_full,
                a_cancelled_job_gives_up_its_place,
                a_running_job_is_asked_to_stop_once,
                a_paused_job_holds_no_slot_and_goes_on,
                a_pause_that_was_asked_for_is_not_lost,
                a_retried_job_has_all_its_attempts_again,
                a_retry_needs_room_and_an_active_tenant;
            relay:
                a_relay_fills_the_window_and_touches_no_job,
                a_relay_gives_no_more_than_asked,
                a_relay_that_says_no_more_has_left_no_queue_out,
                a_lowered_quota_narrows_the_window,
                a_relay_serves_the_emptiest_queue_first,
                relays_at_once_never_pass_the_window,
                an_inactive_tenant_is_not_relayed,
                what_could_not_be_sent_is_sent_again,
                jobs_are_promoted_when_their_time_has_come,
                promotions_at_once_count_each_job_once;
            claim:
                a_claimed_job_runs_on_its_worker,
                many_claimers_never_pass_the_quota,
                turns_go_by_priority_then_by_age,
                a_job_that_has_waited_long_goes_first,
                a_claim_takes_what_is_free_of_each_queue,
                wakeups_are_used_up_whatever_came_of_them,
                what_may_not_run_now_is_not_claimed,
                labelled_jobs_wait_for_a_worker_that_has_their_labels,
                labelled_jobs_share_the_free_slots,
                labelled_work_is_found_where_the_least_runs,
                a_worker_without_its_lease_claims_nothing,
                a_late_claim_starts_no_job_before_what_happened_last;
            report:
                a_report_is_kept_in_all_its_parts,
                a_new_run_has_said_nothing_yet,
                one_call_brings_reports_of_many_jobs,
                a_report_that_is_sent_again_does_no_harm,
                only_the_latest_checkpoints_are_kept,
                an_earlier_checkpoint_is_restored_as_the_newest,
                a_report_behind_the_fence_writes_nothing,
                any_text_that_a_run_writes_is_kept;
            finish:
                last_words_are_written_with_the_end_and_never_without,
                a_run_that_ends_well_ends_the_job,
                a_run_that_ends_badly_says_why,
                a_failed_run_is_tried_again_later,
                a_job_whose_attempts_are_used_up_fails,
                a_job_that_is_handed_back_waits_again,
                a_stop_wins_over_another_try,
                a_job_finishes_once,
                a_finish_behind_the_fence_writes_nothing,
                one_call_finishes_many_jobs,
                a_queue_learns_how_long_its_runs_take;
            lease:
                a_lease_is_renewed_while_it_lasts,
                a_renewal_names_the_jobs_to_stop,
                people_see_workers_as_they_are,
                a_worker_that_leaves_is_forgotten,
                a_dead_workers_job_runs_again,
                reapers_at_once_settle_once,
                a_reaper_takes_no_more_than_its_limit,
                lost_leases_use_up_the_attempts,
                a_stop_asked_of_a_dead_worker_holds;
            dependencies:
                a_job_waits_for_all_its_prerequisites,
                who_waits_on_keeps_nobody_else_back,
                a_failed_prerequisite_fails_who_waits,
                prerequisites_may_have_ended_before,
                only_a_tenants_own_jobs_can_be_waited_for,
                only_a_tenants_own_job_can_be_a_parent,
                a_submission_may_be_a_chain,
                a_waiting_job_is_steered_by_a_person,
                every_end_of_a_prerequisite_is_told,
                a_retry_of_a_prerequisite_is_no_end,
                releases_at_once_move_each_job_once;
            deadlines:
                a_job_that_waits_past_its_deadline_fails,
                a_run_is_not_expired,
                a_job_that_is_cancelled_has_no_deadline,
                an_expiry_takes_no_more_than_its_limit,
                a_retry_forgets_a_deadline_that_has_passed,
                a_retry_keeps_a_deadline_that_is_to_come,
                a_released_job_keeps_its_deadline,
                a_job_past_its_deadline_is_not_claimed,
                a_labelled_job_past_its_deadline_is_not_claimed;
            queue_steering:
                a_paused_queue_takes_jobs_and_starts_none,
                a_draining_queue_starts_what_it_has_and_takes_no_more,
                all_queues_of_a_tenant_are_steered_at_once;
            waiting:
                a_waiting_job_sees_what_is_before_it,
                labelled_jobs_are_before_labelled_ones_only,
                jobs_that_no_live_worker_could_run_are_before_nobody,
                a_run_that_lost_its_lease_is_no_measure,
                a_waiting_job_sees_who_could_run_it,
                a_waiting_job_sees_its_prerequisites_and_its_queue,
                another_tenant_learns_nothing_of_a_waiting_job;
            guards:
                fences_only_rise,
                only_the_latest_fence_is_the_latest,
                an_end_under_an_old_guard_is_refused;
            reconcile:
                right_counts_are_left_alone,
                a_queue_that_nobody_visits_is_named,
                a_queue_that_cannot_go_on_is_not_silent,
                counted_wakeups_are_believed_while_nothing_moves,
                a_broker_that_lost_its_data_gets_all_anew,
                slots_list_queues_with_work_only;
            tenants:
                a_tenant_reads_back_as_it_was_created,
                a_slug_is_taken_once,
                tenants_are_listed_by_slug,
                a_change_reaches_the_slots,
                an_inactive_tenants_queues_are_paused,
                a_change_of_an_old_version_is_refused,
                of_changes_at_once_one_wins;
            budgets:
                what_a_session_uses_counts_above_it,
                one_call_adds_up_what_a_family_uses,
                reports_at_once_are_all_counted,
                a_resume_grants_what_is_used_up_once,
                a_budget_that_stops_is_not_granted_again,
                a_family_has_no_more_generations_than_it_may;
            months:
                what_sessions_use_counts_in_the_month_of_the_report,
                a_used_up_month_starts_no_sessions_until_it_turns,
                a_changed_limit_counts_at_once;
            keys:
                a_key_reads_back_as_it_was_created,
                a_key_is_revoked_once_and_by_its_tenant;
            schedules:
                a_schedule_reads_back_as_it_was_created,
                schedules_are_their_tenants_own,
                schedules_are_listed_by_name,
                a_schedules_name_is_taken_once,
                a_tenant_has_no_more_schedules_than_it_may;
            ticks:
                a_tick_makes_a_job_that_waits_in_its_queue,
                firers_at_once_make_one_job,
                missed_ticks_become_what_was_asked_for,
                a_paused_schedule_does_not_fire,
                of_an_edit_and_a_tick_the_second_looks_again,
                a_tick_does_not_overlap_where_it_must_not,
                a_refused_tick_is_told_and_the_next_one_comes,
                a_tick_of_a_closed_queue_or_tenant_is_refused,
                a_person_does_not_wait_for_the_tick,
                a_deleted_schedule_leaves_its_jobs,
                the_longest_due_fire_first;
            life:
                counts_stay_right_through_any_life;
        }
    };
    (@each $make:path; $($theme:ident: $($contract:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $contract() {
                let store: Option<$crate::testing::StoreUnderTest> = $make().await.into();
                if let Some(store) = store {
                    $crate::testing::store::$theme::$contract(store).await;
                }
            }
        )+)+
    };
}
