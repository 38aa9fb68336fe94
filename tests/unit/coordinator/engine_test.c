/* The engine: order of effects, answers to those who wait. See engine_life_test.c for leases,
 * losses and limits. */
#include "engine_fixture.h"

static const struct slice gid = SLICE_LIT("g");

/* I1 */
static void test_nothing_is_called_before_it_is_stored(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_STORED, 0);
    fake_tick(fake, 10);
    assert_log(fake, "create g submitted rev 0 due 5000");
    assert_int_equal(fake->answer_count, 0);
    assert_int_equal(fake->submitted, 0);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->submitted, 1);
    assert_log(fake, "call 01.action");
    assert_int_equal(fake_answered(fake, 1)->err, ERR_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
}

/* I4 */
static void test_a_short_saga_takes_two_writes(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_SUCCESS);
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | call 02.action | "
                     "update g succeed rev 1 notes 3");
    assert_int_equal(fake->answer_count, 0); /* the end must be stored first */
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUCCEED);
    assert_int_equal(fake->submitted, 1);
    assert_int_equal(fake->finished, 1);
    assert_int_equal(engine_live_count(fake->engine), 0);
    assert_int_equal(engine_next_ms(fake->engine), INT64_MAX);
}

/* I2 */
static void test_nothing_is_undone_before_the_decision_is_stored(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_SUCCESS);
    fake_called(fake, CALL_FAILURE);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | call 02.action | "
                     "update g aborting rev 1 due 5000 notes 3");
    fake_store(fake, STORE_UNKNOWN);
    assert_log(fake, "");
    fake_tick(fake, 20); /* the same once more */
    assert_log(fake, "update g aborting rev 1 due 5000 notes 3");
    fake_store(fake, STORE_REFUSED);
    fake_tick(fake, 40);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 3");
    fake_store(fake, STORE_OK);
    assert_log(fake, "call 02.compensate");
    fake_called(fake, CALL_SUCCESS);
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "call 01.compensate | update g failed rev 2 notes 3");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_FAILED);
    assert_string_equal(fake_answered(fake, 1)->reason,
                        "url:tcp://p/P.S/Do return failed: said so");
}

/* I4 */
static void test_progress_is_stored_when_the_next_call_takes_long(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | call 02.action");
    assert_int_equal(engine_next_ms(fake->engine), fake->now_ms + 20);
    fake_tick(fake, 19);
    assert_log(fake, "");
    fake_tick(fake, 1);
    assert_log(fake, "update g submitted rev 1 due 5000 notes 1");
    assert_int_equal(fake->dirty, 1);
    fake_called(fake, CALL_SUCCESS); /* held until the store has answered */
    assert_log(fake, "");
    fake_store(fake, STORE_OK);
    assert_log(fake, "update g succeed rev 2 notes 2");
    assert_int_equal(fake->dirty, 1);
}

static void test_a_retry_is_stored_with_its_time_and_kept_when_it_is_near(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ONGOING);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | "
                     "update g submitted rev 1 due 6000 notes 1");
    assert_int_equal(fake->answer_count, 0);
    fake_store(fake, STORE_OK); /* something must be tried again: who waits to settle is told */
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
    fake_tick(fake, 999);
    assert_log(fake, "");
    fake_tick(fake, 1);
    assert_log(fake, "call 01.action");
    assert_int_equal(engine_live_count(fake->engine), 1);
}

static void test_who_waits_for_the_end_waits_through_retries(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_END, 60000);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ERROR);
    fake_store(fake, STORE_OK);
    fake_tick(fake, 1000);
    assert_int_equal(fake->answer_count, 0);
    fake_called(fake, CALL_SUCCESS);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUCCEED);
}

static void test_the_wait_has_an_end(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_END, 300);
    fake_store(fake, STORE_OK);
    fake_tick(fake, 299);
    assert_int_equal(fake->answer_count, 0);
    fake_tick(fake, 1);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_OK);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
    assert_int_equal(engine_live_count(fake->engine), 1); /* goes on without us */
}

static void test_a_second_submit_restarts_nothing(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_submit(fake, 1, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action");
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_tick(fake, 0);
    fake_called(fake, CALL_SUCCESS);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 4)->status, TXN_SUCCEED);
    assert_log(fake, "update g succeed rev 1 notes 2");
}

static void test_a_gid_of_the_store_answers_with_its_state(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
    fake_submit(fake, 1, ENGINE_WAIT_END, 1000);
    fake_store_state(fake, STORE_EXISTS, TXN_FAILED, "because");
    assert_int_equal(fake_answered(fake, 2)->status, TXN_FAILED);
    assert_string_equal(fake_answered(fake, 2)->reason, "because");
    assert_int_equal(fake->call_count, 0);
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_one_that_another_coordinator_has_is_looked_at(void **state)
{
    struct fake *fake = *state;
    static const int64_t pauses[] = {25, 50, 100, 200, 250, 250};
    fake_submit(fake, 1, ENGINE_WAIT_END, 100000);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    assert_log(fake, "create g submitted rev 0 due 5000");
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        fake_tick(fake, pauses[i] - 1);
        assert_log(fake, "");
        fake_tick(fake, 1);
        assert_log(fake, "load g");
        fake_store_txn(fake, STORE_OK, fake_txn(fake, TXN_SUBMITTED, 3));
    }
    fake_tick(fake, 250);
    fake_store(fake, STORE_UNKNOWN); /* is no answer: once more */
    fake_tick(fake, 250);
    struct txn *txn = fake_txn(fake, TXN_FAILED, 3);
    txn_set_reason(txn, slice_str("because"));
    fake_store_txn(fake, STORE_FINISHED, txn);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_FAILED);
    assert_string_equal(fake_answered(fake, 1)->reason, "because");
}

static void test_looking_ends_with_the_wait_or_when_a_retry_is_seen(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_END, 40);
    fake_store_state(fake, STORE_EXISTS, TXN_ABORTING, "");
    fake_tick(fake, 25); /* a load that takes long does not hold the answer up */
    fake_tick(fake, 15);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_ABORTING);
    fake_store(fake, STORE_NOT_FOUND);
    fake_submit(fake, 1, ENGINE_WAIT_SETTLE, 0);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    fake_tick(fake, 25);
    struct txn *txn = fake_txn(fake, TXN_SUBMITTED, 3);
    txn->released = true;
    fake_store_txn(fake, STORE_OK, txn);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_SUBMITTED);
    fake_submit(fake, 1, ENGINE_WAIT_SETTLE, 0);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    fake_tick(fake, 25);
    fake_store(fake, STORE_NOT_FOUND); /* lost by a failover: submitting again helps */
    assert_int_equal(fake_answered(fake, 3)->err, ERR_UNAVAILABLE);
}

static void test_when_the_store_is_away_a_submit_is_refused_and_forgotten(void **state)
{
    struct fake *fake = *state;
    static const enum store_status statuses[] = {STORE_UNKNOWN, STORE_REFUSED};
    for (size_t i = 0; i < 2; i++) {
        fake_submit(fake, 1, ENGINE_WAIT_END, 1000);
        fake_store(fake, statuses[i]);
        assert_int_equal(fake_answered(fake, i + 1)->err, ERR_UNAVAILABLE);
        assert_string_equal(fake_answered(fake, i + 1)->message, "the store is away");
        assert_int_equal(engine_live_count(fake->engine), 0);
    }
    assert_int_equal(fake->call_count, 0);
}

static void test_an_abort_in_mid_call_is_stored_then_awaits_the_call(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_tick(fake, 0);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | "
                     "update g aborting rev 1 due 5000 notes 1");
    assert_int_equal(fake->answer_count, 1);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_ABORTING);
    assert_string_equal(fake_answered(fake, 2)->reason, "no");
    assert_log(fake, "");
    fake_called(fake, CALL_SUCCESS);
    assert_log(fake, "call 01.compensate");
    engine_abort(fake->engine, gid, slice_str("again"), fake_answer, fake);
    fake_tick(fake, 0);
    assert_int_equal(fake_answered(fake, 3)->err, ERR_OK);
    fake_called(fake, CALL_SUCCESS);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->finished, 1);
}

static void test_requests_wait_for_the_store_operation_in_flight(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_tick(fake, 5);
    assert_log(fake, "create g submitted rev 0 due 5000");
    fake_store(fake, STORE_OK); /* nothing was called yet, so nothing is undone */
    assert_log(fake, "update g failed rev 1 notes 1");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_FAILED);
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_SUCCESS); /* it is about to succeed */
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    engine_force_stop(fake->engine, gid, fake_answer, fake);
    fake_tick(fake, 0);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->answers[3].err, ERR_CONFLICT);
    assert_int_equal(fake_answered(fake, 5)->err, ERR_CONFLICT);
    assert_int_equal(fake_answered(fake, 5)->status, TXN_SUCCEED);
}

static void test_a_forced_stop_ends_it_in_mid_call(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 2, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    engine_force_stop(fake->engine, gid, fake_answer, fake);
    fake_tick(fake, 0);
    assert_log(fake, "create g submitted rev 0 due 5000 | call 01.action | "
                     "update g failed rev 1 notes 1");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->answers[0].status, TXN_FAILED);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_OK);
    assert_int_equal(engine_live_count(fake->engine), 0);
    fake_called(fake, CALL_SUCCESS); /* finds nobody */
    assert_log(fake, "");
}

static void test_a_retry_can_be_asked_for(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ERROR);
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    engine_retry_now(fake->engine, gid, fake_answer, fake);
    fake_tick(fake, 0);
    assert_log(fake, "call 01.action");
    assert_int_equal(fake_answered(fake, 2)->err, ERR_OK);
}

/* More lines of history than an update has room for. */
static void test_many_results_may_come_while_the_store_is_busy(void **state)
{
    struct fake *fake = *state;
    fake_submit_with(fake, "g", 40, (struct txn_options){.concurrent = true},
                     (struct engine_wait){ENGINE_WAIT_STORED, 0});
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ONGOING);
    buf_clear(&fake->log);
    for (int i = 1; i < 40; i++) {
        fake_called(fake, CALL_SUCCESS);
    }
    fake_store(fake, STORE_OK);
    assert_log(fake, "update g submitted rev 2 due 5000 notes 16");
    fake_store(fake, STORE_OK);
    assert_log(fake, "update g submitted rev 3 due 5000 notes 16");
    fake_store(fake, STORE_OK);
    fake_tick(fake, 20);
    assert_log(fake, "update g submitted rev 4 due 5980 notes 7");
    fake_store(fake, STORE_OK);
    fake_tick(fake, 1000);
    assert_log(fake, "call 01.action");
}

static void test_one_that_is_elsewhere_is_taken_first(void **state)
{
    struct fake *fake = *state;
    engine_abort(fake->engine, gid, (struct slice){0}, fake_answer, fake);
    assert_log(fake, "take g force");
    fake_store_txn(fake, STORE_OK, fake_txn(fake, TXN_SUBMITTED, 4));
    fake_tick(fake, 0);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 1");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_OK);
    assert_string_equal(fake_answered(fake, 1)->reason, "aborted by a client");
    assert_log(fake, "call 01.compensate");
}

static void test_what_a_take_can_answer(void **state)
{
    struct fake *fake = *state;
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_store(fake, STORE_NOT_FOUND);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_NOT_FOUND);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_store(fake, STORE_UNKNOWN);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_UNAVAILABLE);
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_SUCCEED, 1));
    assert_int_equal(fake_answered(fake, 3)->err, ERR_CONFLICT);
    assert_string_equal(fake_answered(fake, 3)->message, "it has succeeded already");
    engine_abort(fake->engine, gid, slice_str("no"), fake_answer, fake);
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_FAILED, 1));
    assert_int_equal(fake_answered(fake, 4)->err, ERR_OK);
    engine_force_stop(fake->engine, gid, fake_answer, fake);
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_FAILED, 1));
    assert_int_equal(fake_answered(fake, 5)->err, ERR_CONFLICT);
    engine_retry_now(fake->engine, gid, fake_answer, fake);
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_SUCCEED, 1));
    assert_int_equal(fake_answered(fake, 6)->err, ERR_CONFLICT);
}

static void submit_tcc(struct fake *fake, enum engine_wait_mode mode)
{
    struct txn_spec spec = {.gid = gid, .trans_type = slice_str("tcc")};
    engine_submit(fake->engine, &spec, (struct engine_wait){.mode = mode}, fake_answer, fake);
    assert_log(fake, "take g prepared");
}

static void test_a_second_submit_of_a_tcc_takes_nothing_from_its_owner(void **state)
{
    struct fake *fake = *state;
    submit_tcc(fake, ENGINE_WAIT_STORED);
    fake_store_state(fake, STORE_EXISTS, TXN_ABORTING, "no");
    assert_int_equal(fake_answered(fake, 1)->status, TXN_ABORTING);
    submit_tcc(fake, ENGINE_WAIT_SETTLE);
    fake_store_state(fake, STORE_EXISTS, TXN_SUBMITTED, "");
    fake_tick(fake, 25);
    assert_log(fake, "load g");
    struct txn *txn = fake_txn(fake, TXN_SUBMITTED, 1);
    txn->released = true;
    fake_store_txn(fake, STORE_OK, txn);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_SUBMITTED);
}

static void test_a_submit_of_another_type_is_a_conflict(void **state)
{
    struct fake *fake = *state;
    submit_tcc(fake, ENGINE_WAIT_STORED);
    fake_store(fake, STORE_CONFLICT);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_CONFLICT);
    submit_tcc(fake, ENGINE_WAIT_STORED);
    fake_store_txn(fake, STORE_FINISHED, fake_txn(fake, TXN_SUCCEED, 1)); /* a saga */
    assert_int_equal(fake_answered(fake, 2)->err, ERR_CONFLICT);
    assert_string_equal(fake_answered(fake, 2)->message, "trans_type is 'saga'");
}

static struct txn_spec msg_spec(const char *check)
{
    static const struct txn_step step = {.urls[OP_ACTION] = {"tcp://p/P.S/Do", 14}};
    return (struct txn_spec){.gid = gid,
                             .trans_type = slice_str("msg"),
                             .query_prepared = slice_str(check),
                             .steps = &step,
                             .step_count = 1};
}

static void submit_msg(struct fake *fake, const char *check)
{
    struct txn_spec spec = msg_spec(check);
    engine_submit(fake->engine, &spec, (struct engine_wait){0}, fake_answer, fake);
}

/* Its client repeats the submit before the first one is answered. */
static void test_a_msg_that_was_not_prepared_may_be_submitted_twice_at_once(void **state)
{
    struct fake *fake = *state;
    submit_msg(fake, "http://h/check");
    submit_msg(fake, "http://h/check");
    assert_log(fake, "take g prepared | take g prepared");
    fake_store(fake, STORE_NOT_FOUND);
    fake_store(fake, STORE_NOT_FOUND);
    assert_log(fake, "create g submitted rev 0 due 5000");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_OK);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_SUBMITTED);
    assert_int_equal(fake->submitted, 1);
    assert_log(fake, "call 01.action");
}

/* To be told that there is none would mean that it never will be stored. */
static void test_a_msg_without_room_is_told_so(void **state)
{
    struct fake *fake = *state;
    fake_restart(fake, 1);
    submit_msg(fake, "http://h/check");
    fake_submit_with(fake, "other", 1, (struct txn_options){0}, (struct engine_wait){0});
    fake_store(fake, STORE_NOT_FOUND);
    fake_tick(fake, 0);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_BUSY);
}

/* Otherwise the client would take its message for stored. */
static void test_what_the_store_has_of_another_type_is_a_conflict(void **state)
{
    struct fake *fake = *state;
    submit_msg(fake, "");
    fake_store_state(fake, STORE_EXISTS, TXN_SUCCEED, ""); /* a saga */
    assert_int_equal(fake_answered(fake, 1)->err, ERR_CONFLICT);
    struct txn_spec spec = msg_spec("http://h/check");
    spec.prepare = true;
    engine_prepare(fake->engine, &spec, fake_answer, fake);
    fake_store_state(fake, STORE_EXISTS, TXN_PREPARED, "");
    assert_int_equal(fake_answered(fake, 2)->err, ERR_CONFLICT);
    assert_int_equal(fake_answered(fake, 2)->status, TXN_PREPARED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_called_before_it_is_stored),
        TEST(test_a_short_saga_takes_two_writes),
        TEST(test_nothing_is_undone_before_the_decision_is_stored),
        TEST(test_progress_is_stored_when_the_next_call_takes_long),
        TEST(test_a_retry_is_stored_with_its_time_and_kept_when_it_is_near),
        TEST(test_who_waits_for_the_end_waits_through_retries),
        TEST(test_the_wait_has_an_end),
        TEST(test_a_second_submit_restarts_nothing),
        TEST(test_a_gid_of_the_store_answers_with_its_state),
        TEST(test_one_that_another_coordinator_has_is_looked_at),
        TEST(test_looking_ends_with_the_wait_or_when_a_retry_is_seen),
        TEST(test_when_the_store_is_away_a_submit_is_refused_and_forgotten),
        TEST(test_an_abort_in_mid_call_is_stored_then_awaits_the_call),
        TEST(test_requests_wait_for_the_store_operation_in_flight),
        TEST(test_a_forced_stop_ends_it_in_mid_call),
        TEST(test_a_retry_can_be_asked_for),
        TEST(test_many_results_may_come_while_the_store_is_busy),
        TEST(test_one_that_is_elsewhere_is_taken_first),
        TEST(test_what_a_take_can_answer),
        TEST(test_a_second_submit_of_a_tcc_takes_nothing_from_its_owner),
        TEST(test_a_submit_of_another_type_is_a_conflict),
        TEST(test_what_the_store_has_of_another_type_is_a_conflict),
        TEST(test_a_msg_that_was_not_prepared_may_be_submitted_twice_at_once),
        TEST(test_a_msg_without_room_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
