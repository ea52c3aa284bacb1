//! Stories: what the users of an installation live through, told over real HTTP and the real command line, with real
//! processes, in both modes.
//!
//! A story is an async function of the mode. It takes the shared installation, or one of its own where it breaks
//! things, and a tenant of its own; it never sleeps for luck, and says what it waited for when that does not come.
//! The table below makes two tests of each, `embedded::..` and `services::..`; with
//! `ORCHESTRATOR_TEST_MODE=embedded` only the first half does something.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole program is tests; a panic is how they fail, and output is shown when they do"
)]

mod harness;
// Told in one mode only, so the table below does not name it as a chapter of both.
mod opencode_running;

/// Chapters of stories that hold in both modes, then those that have a meaning in one mode only.
macro_rules! stories {
    (
        both { $($chapter:ident: $($story:ident),+;)+ }
        embedded { $($embedded_chapter:ident: $($embedded_story:ident),+;)+ }
        services { $($services_chapter:ident: $($services_story:ident),+;)+ }
    ) => {
        $(mod $chapter;)+
        mod embedded {
            stories!(@mode Embedded $($chapter: $($story),+;)+);
            mod only {
                stories!(@mode Embedded $($embedded_chapter: $($embedded_story),+;)+);
            }
        }
        mod services {
            stories!(@mode Services $($chapter: $($story),+;)+);
            mod only {
                stories!(@mode Services $($services_chapter: $($services_story),+;)+);
            }
        }
    };
    (@mode $mode:ident $($chapter:ident: $($story:ident),+;)+) => {
        $(mod $chapter {
            $(#[tokio::test]
            async fn $story() {
                let mode = crate::harness::Mode::$mode;
                if mode.is_wanted() {
                    crate::$chapter::$story(mode).await;
                }
            })+
        })+
    };
}

stories! {
both {
    way_of_a_job:
        a_session_is_followed_from_its_creation_to_its_diff,
        events_and_log_are_live,
        progress_is_shown_and_a_checkpoint_reaches_the_next_run,
        a_pending_session_waits_for_its_start,
        a_session_is_not_run_before_its_time,
        an_installation_describes_itself;
    crash:
        the_jobs_of_a_killed_worker_run_again_and_finish_once,
        a_frozen_worker_finds_its_jobs_taken,
        a_backlog_survives_a_crash;
    drain:
        a_leaving_worker_hands_back_what_it_cannot_finish,
        a_leaving_worker_finishes_what_it_can,
        a_second_sigterm_ends_a_worker_at_once;
    quota:
        a_backlog_stays_within_its_quota_and_delays_nobody_else,
        a_quota_can_be_changed_while_sessions_wait;
    backlog:
        a_full_backlog_refuses_and_nothing_is_half_done;
    bulk:
        a_thousand_sessions_complete,
        one_wrong_session_refuses_all;
    bad_input:
        every_wrong_body_gets_its_problem,
        what_is_no_request_gets_its_problem_too,
        a_list_refuses_what_it_does_not_understand,
        tenants_do_not_see_each_other;
    failing_runs:
        a_repository_that_cannot_be_had_fails_the_session,
        a_command_that_fails_fails_the_session_with_its_words,
        exit_75_asks_for_another_attempt,
        a_deadline_ends_a_session_that_does_not,
        a_command_on_a_full_disk_fails_with_that_reason;
    verifying:
        a_failed_check_is_told_to_the_agent_who_mends_it,
        work_that_never_passes_fails_and_is_kept,
        a_check_runs_only_where_the_operator_allows_commands;
    pushing:
        a_session_comes_back_as_a_branch,
        a_branch_of_others_is_left_alone_and_its_own_is_renewed,
        a_push_that_cannot_be_is_refused_at_once;
    outputs:
        a_command_hands_its_output_over,
        a_schema_that_cannot_be_used_is_refused_at_once;
    resuming:
        a_paused_session_goes_on_with_its_changes,
        a_paused_session_can_be_stopped,
        a_budget_pauses_or_stops_what_uses_too_much,
        a_family_draws_on_one_budget,
        a_tenants_month_holds_all_its_sessions;
    steering:
        a_stopped_session_is_dead_and_leaves_its_diff,
        a_queued_session_can_be_cancelled,
        a_failed_session_can_be_retried,
        what_a_state_does_not_allow_is_refused;
    training:
        a_model_is_trained_and_can_be_downloaded,
        a_dataset_that_cannot_be_used_fails_the_job_with_its_reason,
        a_training_goes_on_where_a_leaving_worker_stopped_it;
    schedules:
        a_schedule_is_kept_and_run_by_hand;
    pipelines:
        a_pipeline_runs_in_order,
        a_failed_prerequisite_ends_those_after_it,
        a_session_waits_for_another_from_the_command_line;
    scheduling:
        a_critical_session_overtakes_a_backlog,
        a_session_waits_for_a_worker_with_its_label,
        a_deadline_ends_what_waits_and_what_runs;
    pausing:
        a_pause_holds_and_a_resume_lets_go,
        a_draining_queue_works_off_what_it_has_and_takes_nothing_new;
    agents:
        agents_are_chosen_by_tier_and_load,
        an_agent_of_capacity_one_takes_one_of_twenty,
        a_session_waits_for_an_agent_or_is_refused,
        an_agent_that_fails_is_left_alone_and_its_sessions_fail_over,
        a_time_limit_that_a_session_chose_is_not_held_against_its_agent,
        a_session_that_its_only_agent_failed_is_not_tried_again,
        an_agent_is_rated_by_what_its_work_was_worth,
        a_paused_session_gives_its_agent_back_and_goes_on;
    eap:
        an_external_agent_edits_a_repository_while_it_is_watched,
        work_goes_on_when_the_worker_dies_and_is_done_once;
    eap_pull:
        an_agents_own_token_is_shown_nowhere,
        an_agent_that_asks_need_not_beat,
        an_agent_without_an_address_does_a_session,
        the_task_of_an_agent_that_dies_is_done_by_another,
        the_task_of_an_agent_that_hangs_is_done_by_another,
        the_task_of_an_agent_that_is_removed_is_done_by_another,
        what_an_agent_works_on_outlives_the_worker,
        a_stop_takes_the_task_from_its_agent;
    eap_external:
        a_session_is_pushed_to_an_agent_that_registered_itself,
        an_agent_that_is_removed_ends_what_it_was_called_for,
        what_a_removed_agent_was_called_for_is_done_by_another_after_a_crash;
    agent_check:
        the_sample_agent_keeps_the_protocol;
    isolation:
        what_is_outside_of_a_session_is_out_of_its_reach,
        a_session_that_forks_without_end_is_held;
    locks:
        exclusive_sessions_of_a_branch_never_overlap,
        waiting_for_a_branch_is_no_time_of_the_run;
    dead_letters:
        dead_letters_are_queued_again_from_the_command_line;
    secrets:
        secrets_are_taken_out_of_logs_and_errors,
        a_command_sees_nothing_of_the_workers_environment;
    opencode:
        a_model_edits_a_repository_while_it_is_watched,
        a_stop_ends_a_model_and_all_that_it_started,
        what_rules_deny_is_not_done_and_is_told;
    opencode_crashes:
        a_killed_server_is_replaced_and_the_conversation_goes_on,
        a_conversation_goes_on_after_a_crash_of_the_worker,
        a_conversation_goes_on_after_a_crash_of_both;
    opencode_many:
        sessions_at_once_leave_nothing_behind;
    cli:
        a_session_is_run_listed_and_read,
        exit_codes_say_how_it_ended,
        sessions_are_steered_from_the_command_line,
        a_session_is_paused_and_goes_back_to_a_checkpoint,
        an_operator_makes_tenants_and_keys,
        doctor_tells_what_is_configured_and_no_secret;
}
embedded {
    crash:
        a_dev_that_was_killed_goes_on_as_soon_as_it_is_back;
    cli:
        the_first_key_needs_no_server,
        the_demo_shows_what_it_promises;
    // What runs commands is the same in both modes, so the first two of these are told in both and the others here.
    isolation:
        a_daemon_does_not_outlive_its_session,
        a_session_that_fills_the_disk_is_ended,
        a_session_that_eats_memory_is_ended,
        a_killed_worker_leaves_nothing_of_an_isolated_session;
    // What gives work to external agents is the same in both modes, so the main stories are told in both and the others here.
    eap:
        an_agent_that_refuses_twice_does_the_work_once,
        an_agent_that_is_away_is_asked_again,
        an_agent_that_stays_away_ends_the_attempt,
        a_stop_ends_the_work_of_an_external_agent,
        an_external_agent_mends_what_its_work_lacks,
        a_paused_external_agent_goes_on_where_it_was,
        an_external_agent_is_chosen_by_what_it_can_do,
        what_is_wrong_with_an_agent_is_said;
    eap_pull:
        files_that_cannot_be_handed_over_are_not_held_against_the_agent,
        an_agent_that_was_chosen_is_handed_a_type_and_data;
    eap_external:
        an_agent_that_does_not_beat_is_asked_how_it_is,
        the_task_of_an_agent_that_falls_silent_is_done_by_another,
        the_task_of_an_agent_that_dies_is_done_by_another,
        an_agent_that_registers_again_is_called_with_its_new_token;
    agent_check:
        agents_that_misbehave_are_told_what_to_do,
        an_agent_that_is_not_there_is_said_at_once;
    // OpenCode is heavy, and what runs it is the same in both modes.
    opencode:
        a_provider_that_refuses_fails_the_session_with_its_words,
        each_tenant_works_by_its_own_providers,
        what_answers_with_nothing_is_not_asked_for_ever,
        a_provider_that_is_down_is_not_asked_for_ever;
    verifying:
        a_model_mends_in_the_same_conversation;
    outputs:
        a_models_last_words_are_its_output;
    resuming:
        a_model_that_loops_is_held_by_its_budget;
    opencode_running:
        a_running_server_is_used_and_outlives_its_sessions;
}
services {
    // In embedded mode the store itself lies on that disk, and says so to whoever submits.
    failing_runs:
        a_full_disk_under_a_worker_fails_the_session_and_not_the_worker;
    // `dev` is one machine.
    opencode_crashes:
        a_leaving_worker_hands_its_conversation_to_another_machine,
        a_crash_of_a_machine_costs_the_conversation_and_not_the_session;
    resuming:
        a_paused_session_goes_on_on_another_machine,
        a_paused_conversation_goes_on_on_another_machine;
}
}
