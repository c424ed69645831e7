//! The suite of the store: plain functions over the trait, run over every store there is. A store joins with a
//! `Fixture` and one line at the end of this file.

mod analytics;
mod batches;
mod by_hand;
mod carrying;
mod configuration;
mod damage;
mod divided;
mod erasing;
mod group;
mod holds;
mod hostile;
mod lists;
mod moving;
mod nodes;
mod numbers;
mod order;
mod ownership;
mod partitions;
mod postgres;
mod random;
mod recording;
mod repeats;
mod replays;
mod retention;
mod scene;
mod settling;
mod sharing;
mod silencing;
mod sqlite;
pub mod troubled;
mod upgrading;
mod upkeep;

/// Makes each function a test over the store of a fixture.
macro_rules! tests {
    ($fixture:ty: $($file:ident { $($test:ident)+ })+) => {
        $(mod $file {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::super::$file::$test(Scene::<$fixture>::new().await).await;
            })+
        })+
    };
}

/// Every function of the suite.
macro_rules! suite {
    ($store:ident, $fixture:ty) => {
        mod $store {
            use super::scene::Scene;

            #[test]
            fn whatever_happens_in_whatever_order() {
                super::random::whatever_happens_in_whatever_order::<$fixture>();
            }

            #[test]
            fn a_batch_whatever_happens() {
                super::batches::a_batch_whatever_happens::<$fixture>();
            }

            #[test]
            fn numbers_agree_with_a_recount_in_any_order() {
                super::analytics::numbers_agree_with_a_recount_in_any_order::<$fixture>();
            }

            #[test]
            fn no_call_ends_twice_while_it_is_remembered() {
                super::repeats::no_call_ends_twice_while_it_is_remembered::<$fixture>();
            }

            tests! { $fixture:
                repeats {
                    a_repeat_of_what_was_removed_is_a_duplicate_for_thirty_days
                    a_step_that_was_not_received_is_recorded_and_the_others_stay_repeats
                    the_real_end_of_a_lost_call_may_come_after_its_removal
                    a_removed_call_that_comes_late_can_be_given_up
                    each_source_and_account_remembers_its_own
                    a_test_is_recorded_each_time
                    a_repeat_counts_for_no_batch_and_uses_no_minutes
                    the_end_of_a_removed_batch_is_a_repeat
                    an_account_says_how_long_it_remembers
                    many_are_forgotten_in_steps
                    an_erasure_is_no_older_than_its_request
                }
                batches {
                    a_crash_breaks_no_intake
                }
                analytics {
                    a_call_counts_once_and_as_it_stands
                    what_is_booked_is_said_and_only_that
                    what_is_gone_by_its_age_goes_on_counting
                    numbers_are_read_by_time_and_by_id
                    campaigns_and_agents_are_made_on_first_mention
                    what_was_set_by_hand_stays
                    accounts_count_their_own
                }
                recording {
                    a_call_becomes_event_record_and_deliveries
                    a_repeat_is_a_duplicate
                    something_new_is_an_update
                    a_real_end_replaces_a_lost_one
                    a_batch_ends_once
                    a_test_is_shown_and_nothing_else
                    what_cannot_be_read_is_kept_up_to_a_quota
                    one_body_may_tell_of_several_calls
                    values_survive_as_they_came
                    sources_do_not_share_calls
                    a_group_is_written_whole_or_not_at_all
                    positions_have_no_gap
                }
                ownership {
                    a_reserved_delivery_is_never_claimable
                    without_a_place_it_is_claimable_at_once
                    some_places_are_not_places_for_all
                    concurrent_claims_share_nothing
                    only_what_is_due_is_claimed_earliest_first
                    a_crash_makes_everything_claimable_again
                    release_gives_back
                    accounts_and_endpoints_claim_their_own
                    what_is_owned_is_settled_whatever_came_between
                }
                order {
                    a_later_event_waits_for_the_earlier_one
                    a_retry_lets_nothing_pass_and_a_death_does
                    a_promoted_one_needs_a_place_too
                    unordered_endpoints_wait_for_nothing
                    calls_do_not_wait_for_each_other
                    one_endpoint_does_not_wait_for_another
                    a_group_may_hear_and_settle_at_once
                    the_order_outlives_a_crash
                    turning_order_off_and_on_leaves_nothing_behind
                }
                settling {
                    a_delivered_one_is_done
                    a_retry_sends_the_bytes_of_the_first_attempt
                    a_dead_one_is_given_up
                    gone_disables_the_endpoint_and_tells
                    an_attempt_under_way_outlives_a_cancel
                    settling_twice_is_settling_once
                    a_delivery_keeps_the_shape_it_was_planned_with
                }
                by_hand {
                    a_retry_does_not_wait_for_its_time
                    a_retry_out_of_line_lets_the_next_one_go
                    a_waiting_one_can_be_sent_before_its_turn
                    one_that_is_under_way_is_left_alone
                    a_dead_one_rises_again
                    what_is_over_cannot_be_retried
                    a_dead_one_of_a_deleted_endpoint_stays_dead
                    any_pending_one_can_be_called_off
                    a_cancelled_one_makes_way
                }
                lists {
                    deliveries_by_every_filter
                    calls_by_every_filter
                    made_up_numbers_find_nothing
                    accounts_see_only_their_own
                }
                configuration {
                    accounts_are_found_by_key_and_tag
                    keys_open_until_they_are_revoked
                    the_last_use_of_a_key_is_kept
                    sources_are_kept_whole
                    endpoints_are_kept_whole
                    an_account_has_no_more_than_it_may
                    a_disabled_endpoint_is_owed_and_waits
                    changes_count_from_the_next_event_on
                }
                group {
                    the_queues_are_told_after_the_commit
                    a_culprit_goes_to_quarantine_and_its_neighbours_commit
                    a_settlement_is_kept_without_what_cannot_be
                    a_group_that_loses_a_deadlock_is_tried_again
                    where_bodies_have_no_room_settlements_are_written
                    who_meets_damage_stops_no_neighbour
                    while_the_store_is_away_doors_say_so_and_settlements_wait
                    a_commit_that_nobody_heard_of_counts_once
                    what_was_submitted_is_written_before_the_end
                    only_so_much_may_wait a_body_of_tiny_fields_counts_as_what_it_takes_parsed
                    a_busy_account_lets_anothers_body_into_the_next_group
                    a_busy_account_leaves_room_for_another
                    a_busy_account_lets_anothers_settlement_into_the_next_group
                    a_store_that_does_not_answer_keeps_no_door_waiting
                    what_a_lapsed_tenure_attempted_is_given_up
                }
                nodes {
                    no_attempt_starts_that_the_lease_may_not_outlast
                    a_short_wait_counts_beside_a_long_one
                    a_lapse_empties_the_queues_and_gives_back_what_was_in_them
                    notifications_of_other_nodes_wake
                    what_another_node_called_off_is_not_sent
                }
                retention {
                    everything_is_kept_unless_said_otherwise
                    what_is_past_its_age_goes_and_what_is_not_stays
                    age_counts_from_the_recording
                    a_call_goes_with_its_last_event
                    what_is_owed_too_long_expires_and_the_next_one_goes
                    what_is_under_way_is_left_until_it_is_settled
                    what_is_under_way_outlives_a_crash
                    old_quarantine_makes_room
                    a_feed_says_when_it_has_a_gap
                    accounts_keep_as_long_as_each_says
                    a_purge_in_steps_loses_nothing_younger
                    an_event_for_very_many_goes_in_steps
                    what_is_gone_is_gone_for_everybody_who_asks
                }
                erasing {
                    a_person_is_erased_everywhere
                    what_is_erased_does_not_come_back
                    an_event_left_for_its_attempt_is_erased_too
                    an_id_that_is_the_number_goes_too
                    a_contact_goes_and_its_batch_can_end
                    a_contact_on_its_way_in_goes_with_its_request
                    an_erasure_goes_on_after_a_crash
                    two_erasures_end_over_many_free_pages
                    only_the_accounts_own
                    nothing_of_an_erased_person_is_left
                }
                damage {
                    a_damaged_row_harms_nobody_else
                    a_job_that_fails_stops_nothing_else
                    accounts_take_turns_in_every_job
                    an_account_behind_very_many_rows_has_its_turn
                }
                silencing {
                    transcripts_may_go_earlier
                    what_is_sent_afterwards_says_no_more
                    no_kept_body_says_what_is_gone
                    what_an_attempt_keeps_there_says_no_more
                    what_is_gone_stays_gone_when_all_is_kept_again
                }
                carrying {
                    a_round_trip_changes_nothing
                    without_secrets_nothing_is_open_and_nothing_is_sent
                    an_account_beside_the_first_keeps_its_numbers
                    wrong_lines_are_named_and_left_out
                }
                moving {
                    what_stands_beside_the_calls_moves_too
                    a_batch_goes_on_in_the_new_house
                    a_call_that_a_failed_batch_never_placed_moves_as_it_is
                    a_batch_goes_on_under_its_old_ids
                    a_batch_keeps_its_time_in_the_new_house
                    a_replay_stops_with_the_move
                    what_is_held_goes_on_waiting
                    wrong_lines_about_batches_are_named
                    secrets_of_batches_go_as_the_others
                    what_came_ages_from_the_import_on
                }
                hostile {
                    whatever_is_changed_in_an_import
                    an_event_has_no_more_deliveries_than_can_be
                    positions_leave_room_for_what_comes
                    what_waits_is_what_can_be_taken_in
                    sums_are_what_an_account_can_have
                    settings_are_held_to_what_the_api_takes
                    an_event_that_says_it_has_a_billion_deliveries
                    a_chain_that_leads_in_a_circle_ends
                    numbers_that_are_used_up_collide_with_nothing
                    attempts_are_what_can_have_been_made
                }
                replays {
                    a_replay_is_a_new_delivery_of_the_same_event
                    every_filter_selects_what_a_look_at_all_finds
                    fresh_traffic_goes_first
                    a_replay_goes_on_after_a_crash_and_plans_nothing_twice
                    only_so_many_are_open_at_a_time
                    a_cancelled_replay_plans_nothing_more
                    a_dead_one_that_is_retried_is_its_replays_again
                    a_replay_keeps_to_its_rate
                    another_endpoint_takes_what_it_would_be_owed
                    what_replays_planned_goes_with_its_event
                    accounts_replay_only_their_own
                }
                holds {
                    an_attempt_under_way_keeps_what_it_says
                    the_end_of_a_call_waits_for_all_that_is_named
                    one_that_is_let_go_as_the_one_before_is_settled_goes_too
                    at_the_deadline_it_goes_with_what_there_is
                    where_nothing_is_missing_nothing_waits
                    a_held_delivery_keeps_its_place_in_the_order
                    a_late_step_may_bring_what_is_waited_for
                    by_hand_it_goes_at_once_or_never
                    what_is_held_outlives_a_crash_and_a_death
                    an_endpoint_that_is_deleted_or_old_holds_nothing
                }
                upkeep {
                    a_deleted_endpoint_is_owed_nothing_in_steps
                    a_request_is_answered_once
                    nothing_that_was_answered_is_lost
                    a_closed_store_answers_that_it_is_closed
                }
            }
        }
    };
}

suite!(over_sqlite, crate::store::sqlite::Sqlite);
suite!(over_postgres, crate::store::postgres::Postgres);
