/* The engine: leases, takeovers, what a store may lose, limits, draining. */
#include "engine_fixture.h"

#include <stdio.h>

static const struct slice gid = SLICE_LIT("g");

/* A saga whose first call is in flight; the log is empty. */
static void start(struct fake *fake, size_t steps, struct txn_options options,
                  enum engine_wait_mode mode, int64_t wait_ms)
{
    fake_submit_with(fake, "g", steps, options, (struct engine_wait){mode, wait_ms});
    fake_store(fake, STORE_OK);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action");
}

static void start_simple(struct fake *fake)
{
    start(fake, 2, (struct txn_options){0}, ENGINE_WAIT_END, 100000);
}

static void test_a_long_call_renews_the_lease_about_half_time(void **state)
{
    struct fake *fake = *state;
    start(fake, 2, (struct txn_options){.request_timeout_ms = 9000}, ENGINE_WAIT_STORED, 0);
    assert_int_equal(fake->calls[0].timeout_ms, 9000);
    int64_t renew_ms = engine_next_ms(fake->engine) - fake->now_ms;
    assert_in_range(renew_ms, FAKE_LEASE_MS * 3 / 8, FAKE_LEASE_MS * 5 / 8);
    fake_tick(fake, renew_ms - 1);
    assert_log(fake, "");
    fake_tick(fake, 1);
    assert_log(fake, "update g submitted rev 1 due 5000 notes 0");
    assert_int_equal(fake->dirty, 0);
    fake_store(fake, STORE_OK);
    fake_tick(fake, renew_ms);
    assert_log(fake, "update g submitted rev 2 due 5000 notes 0");
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "call 02.action");
}

/* I3 */
/* I12: all that wait for one sick participant came at once, and would be stored at once. */
static void test_leases_of_a_crowd_are_not_renewed_together(void **state)
{
    enum { CROWD = 50, TURN_MS = 50 };
    struct fake *fake = *state;
    for (int i = 0; i < CROWD; i++) {
        char name[16];
        snprintf(name, sizeof(name), "crowd-%d", i);
        fake_submit_with(fake, name, 1, (struct txn_options){.request_timeout_ms = 9000},
                         (struct engine_wait){0});
        fake_store(fake, STORE_OK);
        fake->answer_count = 0;
    }
    size_t before = fake->op_count, most = 0;
    for (int64_t ms = 0; ms < FAKE_LEASE_MS * 5 / 8; ms += TURN_MS) {
        fake_tick(fake, TURN_MS);
        size_t renewed = fake->op_count - before;
        before = fake->op_count;
        most = renewed > most ? renewed : most;
    }
    assert_int_equal(fake->op_count, CROWD);
    assert_true(most < CROWD / 5);
}

static void test_a_fenced_one_is_let_go(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_tick(fake, 0);
    fake_store_state(fake, STORE_FENCED, TXN_ABORTING, "");
    assert_int_equal(fake_answered(fake, 1)->err, ERR_UNAVAILABLE);
    assert_int_equal(engine_live_count(fake->engine), 0);
    buf_clear(&fake->log);
    fake_called(fake, CALL_SUCCESS); /* leads to nothing */
    fake_tick(fake, 25);             /* who waits for the end looks into the store */
    assert_log(fake, "load g");
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_FAILED, 2));
    assert_int_equal(fake_answered(fake, 2)->status, TXN_FAILED);
}

static void test_after_the_lease_nothing_is_done_any_more(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    fake->now_ms += 5000; /* it was paused */
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "");
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_a_store_that_stays_away_costs_the_lease(void **state)
{
    struct fake *fake = *state;
    int64_t sent_ms = fake->now_ms;
    start_simple(fake);
    fake_called(fake, CALL_FAILURE);
    while (engine_live_count(fake->engine) > 0) {
        assert_log(fake, "update g aborting rev 1 due 5000 notes 2");
        fake_store(fake, STORE_UNKNOWN);
        fake_tick(fake, engine_next_ms(fake->engine) - fake->now_ms);
        assert_true(fake->now_ms < sent_ms + 60000);
    }
    assert_true(fake->now_ms <= sent_ms + FAKE_LEASE_MS);
}

static void test_a_far_retry_is_left_to_the_store(void **state)
{
    struct fake *fake = *state;
    start(fake, 1, (struct txn_options){.retry_interval_ms = 30000}, ENGINE_WAIT_SETTLE, 0);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "update g submitted rev 1 due 30000 released notes 1");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->released, 1);
    assert_int_equal(fake->released_in_ms, 30000);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_a_released_one_is_due_at_its_timeout(void **state)
{
    struct fake *fake = *state;
    start(fake, 1, (struct txn_options){.retry_interval_ms = 30000, .timeout_to_fail_ms = 12000},
          ENGINE_WAIT_STORED, 0);
    fake_tick(fake, 100);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "update g submitted rev 1 due 11900 released notes 1");
}

static void test_a_far_retry_stays_for_who_waits_then_goes(void **state)
{
    struct fake *fake = *state;
    start(fake, 1, (struct txn_options){.retry_interval_ms = 30000}, ENGINE_WAIT_END, 2000);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "update g submitted rev 1 due 35000 notes 1");
    fake_store(fake, STORE_OK);
    fake_tick(fake, 2000);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
    assert_log(fake, "update g submitted rev 2 due 28000 released notes 0");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->released, 1);
}

static void test_a_timeout_fires_at_its_time(void **state)
{
    struct fake *fake = *state;
    start(fake, 1, (struct txn_options){.timeout_to_fail_ms = 1500}, ENGINE_WAIT_STORED, 0);
    assert_int_equal(engine_next_ms(fake->engine), fake->now_ms + 1500);
    fake_tick(fake, 1499);
    assert_log(fake, "");
    fake_tick(fake, 1);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 1");
}

static void test_a_taken_one_keeps_its_timeout(void **state)
{
    struct fake *fake = *state;
    struct txn *txn = fake_txn(fake, TXN_SUBMITTED, 2); /* 100 ms old */
    txn->options.timeout_to_fail_ms = 1000;
    engine_adopt(fake->engine, txn, fake->now_ms);
    fake_tick(fake, 0);
    assert_log(fake, "call 01.action");
    assert_int_equal(engine_next_ms(fake->engine), fake->now_ms + 900);
    assert_true(engine_is_live(fake->engine, gid));
}

/* The store counted the lease from before its answer: else others would take over what is alive. */
static void test_a_take_that_was_answered_late_leaves_less_of_the_lease(void **state)
{
    struct fake *fake = *state;
    engine_adopt(fake->engine, fake_txn(fake, TXN_SUBMITTED, 2), fake->now_ms - 4000);
    fake_tick(fake, 0);
    assert_log(fake, "call 01.action | update g submitted rev 1 due 5000 notes 0");
    fake_restart(fake, 100);
    engine_adopt(fake->engine, fake_txn(fake, TXN_SUBMITTED, 2), fake->now_ms - FAKE_LEASE_MS);
    fake_tick(fake, 0);
    assert_log(fake, "");
    assert_int_equal(engine_live_count(fake->engine), 0);
}

/* Its owner died between the answer of the store and storing when the delay is over. */
static void test_a_taken_one_keeps_its_delay(void **state)
{
    struct fake *fake = *state;
    struct txn *txn = fake_txn(fake, TXN_SUBMITTED, 2); /* 100 ms old */
    txn->updated_ms = txn->created_ms;
    txn->options.delay_ms = 1000;
    engine_adopt(fake->engine, txn, fake->now_ms);
    fake_tick(fake, 899);
    assert_log(fake, "");
    fake_tick(fake, 1);
    assert_log(fake, "call 01.action");
}

static void test_what_the_store_lost_is_stored_anew(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    fake_called(fake, CALL_FAILURE);
    fake_store(fake, STORE_NOT_FOUND);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 2 | "
                     "create g aborting rev 1 due 5000");
    fake_store(fake, STORE_UNKNOWN); /* perhaps it has it now: the same update tells */
    fake_tick(fake, 20);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 2");
    fake_store(fake, STORE_OK);
    assert_log(fake, "call 01.compensate");
}

static void test_what_somebody_else_stored_meanwhile_is_theirs(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    fake_called(fake, CALL_FAILURE);
    fake_store(fake, STORE_NOT_FOUND);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_what_was_lost_long_ago_is_not_brought_back(void **state)
{
    struct fake *fake = *state;
    start(fake, 1, (struct txn_options){.retry_interval_ms = 30000}, ENGINE_WAIT_END, 90000);
    fake_called(fake, CALL_ONGOING);
    fake_store(fake, STORE_OK);
    fake_tick(fake, 30000);
    fake_called(fake, CALL_SUCCESS);
    buf_clear(&fake->log);
    fake_store(fake, STORE_NOT_FOUND);
    assert_log(fake, "");
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_of_two_records_the_higher_epoch_stays(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    engine_adopt(fake->engine, fake_txn(fake, TXN_SUBMITTED, 2), fake->now_ms);
    fake_tick(fake, 0);
    assert_log(fake, "call 01.action");
    engine_adopt(fake->engine, fake_txn(fake, TXN_SUBMITTED, 1), fake->now_ms);
    fake_tick(fake, 0);
    assert_log(fake, "");
    assert_int_equal(engine_live_count(fake->engine), 1);
    fake_called(fake, CALL_FAILURE); /* of the one that went */
    assert_log(fake, "");
    fake_called(fake, CALL_SUCCESS);
    fake_called(fake, CALL_SUCCESS);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUCCEED); /* the waiter went along */
}

static void test_beyond_the_limit_the_answer_is_busy(void **state)
{
    struct fake *fake = *state;
    fake_restart(fake, 1);
    start_simple(fake);
    assert_false(engine_has_room(fake->engine));
    fake_submit_with(fake, "h", 1, (struct txn_options){0}, (struct engine_wait){0});
    assert_int_equal(engine_next_ms(fake->engine), fake->now_ms);
    engine_abort(fake->engine, slice_str("i"), slice_str("no"), fake_answer, fake);
    fake_tick(fake, 0);
    assert_int_equal(fake->answers[0].err, ERR_BUSY);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_BUSY);
    assert_log(fake, "");
}

static void test_beyond_the_limit_of_memory_the_answer_is_busy(void **state)
{
    struct fake *fake = *state;
    fake->live_bytes_max = 1;
    fake_restart(fake, 100);
    assert_true(engine_has_room(fake->engine));
    start_simple(fake);
    assert_false(engine_has_room(fake->engine));
    fake_submit_with(fake, "h", 1, (struct txn_options){0}, (struct engine_wait){0});
    fake_tick(fake, 0);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_BUSY);
    fake_called(fake, CALL_SUCCESS);
    fake_called(fake, CALL_SUCCESS);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_SUCCEED);
    assert_true(engine_has_room(fake->engine)); /* it has ended and takes none any more */
}

/* I12: those who wait for one sick participant do not keep others out. */
static void test_when_it_gets_crowded_waiting_ones_are_left_to_the_store(void **state)
{
    struct fake *fake = *state;
    fake_restart(fake, 4);
    static const char *const gids[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        fake_submit_with(fake, gids[i], 1, (struct txn_options){0}, (struct engine_wait){0});
        fake_store(fake, STORE_OK);
    }
    buf_clear(&fake->log);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "update a submitted rev 1 due 1000 released notes 1");
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "update b submitted rev 1 due 6000 notes 1");
}

static void test_history_is_stored_before_there_is_much_of_it(void **state)
{
    struct fake *fake = *state;
    start(fake, 40, (struct txn_options){0}, ENGINE_WAIT_STORED, 0);
    for (int i = 0; i < 16; i++) { /* faster than lazy_ms */
        fake_called(fake, CALL_SUCCESS);
    }
    assert_non_null(strstr(fake->log.data, "call 17.action | update g submitted rev 1"));
    assert_non_null(strstr(fake->log.data, "notes 16"));
}

static void count_drained(void *arg)
{
    struct fake *fake = arg;
    fake->drained++;
}

static void test_draining_gives_all_back_after_the_calls_in_flight(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    fake_submit_with(fake, "w", 1, (struct txn_options){0}, (struct engine_wait){0});
    fake_store(fake, STORE_OK);
    struct fake_call first = fake->calls[0];
    fake->calls[0] = fake->calls[1];
    fake->calls[1] = first;
    fake_called(fake, CALL_ERROR); /* w waits for a retry */
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    engine_drain(fake->engine, count_drained, fake);
    assert_false(engine_has_room(fake->engine));
    fake_tick(fake, 0);
    assert_non_null(strstr(fake->log.data, "update w submitted rev 2 due "));
    assert_non_null(strstr(fake->log.data, " released notes 0"));
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    fake_submit_with(fake, "x", 1, (struct txn_options){0}, (struct engine_wait){0});
    fake_tick(fake, 0);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_BUSY);
    assert_int_equal(fake->drained, 0);
    fake_called(fake, CALL_SUCCESS); /* g: the next step is somebody else's */
    assert_log(fake, "update g submitted rev 1 due 0 released notes 1");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 3)->status, TXN_SUBMITTED);
    fake_tick(fake, 0);
    assert_int_equal(fake->drained, 1);
    fake_tick(fake, 0);
    assert_int_equal(fake->drained, 1);
}

static void test_abandoning_gives_all_back_at_once(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    buf_clear(&fake->log);
    engine_drain(fake->engine, count_drained, fake);
    fake_tick(fake, 0);
    assert_log(fake, ""); /* its call is in flight */
    engine_abandon(fake->engine);
    fake_tick(fake, 0);
    assert_log(fake, "update g submitted rev 1 due 0 released notes 0");
    fake_store(fake, STORE_OK);
    fake_tick(fake, 0);
    assert_int_equal(fake->drained, 1);
    fake_called(fake, CALL_SUCCESS); /* nobody asks any more */
    fake_tick(fake, 0);
    assert_int_equal(fake->drained, 1);
}

static void test_new_values_hold_for_what_comes(void **state)
{
    struct fake *fake = *state;
    struct engine_conf conf = {.retry_interval_ms = 5,
                               .retry_interval_max_ms = 5,
                               .request_timeout_ms = 1000,
                               .timeout_to_fail_ms = 1000,
                               .live_max = 1};
    start_simple(fake);
    assert_true(engine_has_room(fake->engine));
    engine_tune(fake->engine, &conf);
    assert_false(engine_has_room(fake->engine));
    conf.live_max = 10;
    engine_tune(fake->engine, &conf);
    fake_called(fake, CALL_ERROR);
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    fake_tick(fake, 6);
    assert_log(fake, "call 01.action");
}

static void test_freeing_answers_everybody(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    engine_abort(fake->engine, slice_str("elsewhere"), slice_str("no"), fake_answer, fake);
    fake_submit_with(fake, "h", 1, (struct txn_options){0},
                     (struct engine_wait){ENGINE_WAIT_END, 1000});
    engine_free(fake->engine);
    fake->engine = NULL;
    assert_int_equal(fake_answered(fake, 3)->err, ERR_CANCELLED);
    assert_int_equal(fake->answers[0].err, ERR_CANCELLED);
    assert_int_equal(fake->answers[1].err, ERR_CANCELLED);
}

static void test_the_owner_is_woken_when_the_next_tick_comes_earlier(void **state)
{
    struct fake *fake = *state;
    start_simple(fake);
    int wakes = fake->wakes;
    assert_true(wakes > 0);
    fake_tick(fake, 1);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    assert_int_equal(fake->wakes, wakes + 1);
    assert_int_equal(engine_next_ms(fake->engine), fake->now_ms);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_long_call_renews_the_lease_about_half_time),
        TEST(test_leases_of_a_crowd_are_not_renewed_together),
        TEST(test_a_fenced_one_is_let_go),
        TEST(test_after_the_lease_nothing_is_done_any_more),
        TEST(test_a_store_that_stays_away_costs_the_lease),
        TEST(test_a_far_retry_is_left_to_the_store),
        TEST(test_a_released_one_is_due_at_its_timeout),
        TEST(test_a_far_retry_stays_for_who_waits_then_goes),
        TEST(test_a_timeout_fires_at_its_time),
        TEST(test_a_taken_one_keeps_its_timeout),
        TEST(test_a_take_that_was_answered_late_leaves_less_of_the_lease),
        TEST(test_a_taken_one_keeps_its_delay),
        TEST(test_what_the_store_lost_is_stored_anew),
        TEST(test_what_somebody_else_stored_meanwhile_is_theirs),
        TEST(test_what_was_lost_long_ago_is_not_brought_back),
        TEST(test_of_two_records_the_higher_epoch_stays),
        TEST(test_beyond_the_limit_the_answer_is_busy),
        TEST(test_beyond_the_limit_of_memory_the_answer_is_busy),
        TEST(test_when_it_gets_crowded_waiting_ones_are_left_to_the_store),
        TEST(test_history_is_stored_before_there_is_much_of_it),
        TEST(test_draining_gives_all_back_after_the_calls_in_flight),
        TEST(test_abandoning_gives_all_back_at_once),
        TEST(test_new_values_hold_for_what_comes),
        TEST(test_freeing_answers_everybody),
        TEST(test_the_owner_is_woken_when_the_next_tick_comes_earlier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
