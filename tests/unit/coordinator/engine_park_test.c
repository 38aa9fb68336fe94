/* Parking as the engine does it: what is stored when, who is told, and how it comes back. */
#include "engine_fixture.h"

#include "coordinator/rules.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fake_teardown)

static const struct slice gid = SLICE_LIT("g");

static int setup(void **state)
{
    int code = fake_setup(state);
    struct fake *fake = *state;
    fake->park_after = 2;
    fake_restart(fake, 100);
    return code;
}

/* One of two steps whose second undo was parked, as a store reads it. */
static struct txn *parked_txn(struct fake *fake)
{
    struct txn *txn = fake_txn(fake, TXN_ABORTING, 4);
    txn->branches[0].ops[OP_ACTION].status = OP_SUCCEED;
    txn->branches[1].ops[OP_ACTION].status = OP_FAILED;
    txn->attempts = txn->branches[1].ops[OP_UNDO].attempts = 2;
    txn->branches[1].ops[OP_UNDO].parked = PARK_ATTEMPTS;
    txn->parked_ms = fake->store_now_ms - 50;
    return txn;
}

static void resolve(struct fake *fake, const char *branch, const char *op)
{
    struct engine_resolve what = {slice_str(branch), slice_str(op), slice_str("by hand")};
    engine_resolve(fake->engine, gid, &what, fake_answer, fake);
}

static void test_it_is_stored_as_parked_and_leaves_the_memory(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_SETTLE, 0);
    fake_store(fake, STORE_OK);
    fake_called(fake, CALL_ERROR);
    fake_store(fake, STORE_OK);
    fake_tick(fake, 1000);
    buf_clear(&fake->log);
    fake_called(fake, CALL_ERROR);
    assert_log(fake, "update g submitted rev 2 due 0 parked notes 2");
    assert_int_equal(fake->troubles, 1); /* the first failure; this one when it is stored */
    fake_store(fake, STORE_UNKNOWN);
    fake_tick(fake, 20);
    assert_log(fake, "update g submitted rev 2 due 0 parked notes 2");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->troubles, 2);
    assert_int_equal(fake->trouble_park, PARK_ATTEMPTS);
    assert_string_equal(fake->trouble, "g 01.action 2 said so");
    assert_int_equal(engine_live_count(fake->engine), 0);
    assert_int_equal(fake->released, 0); /* recovery need not look for it */
    assert_int_equal(engine_next_ms(fake->engine), INT64_MAX);
}

static void test_a_conflict_parks_at_once_even_when_somebody_waits_for_the_end(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_END, 60000);
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    fake_called(fake, CALL_CONFLICT);
    assert_log(fake, "update g submitted rev 1 due 0 parked notes 2");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->trouble_park, PARK_CONFLICT);
    assert_int_equal(engine_live_count(fake->engine), 0);
    assert_int_equal(fake->answer_count, 0); /* an operator may come in time */
    fake_tick(fake, 60000);
    assert_int_equal(fake_answered(fake, 1)->status, TXN_SUBMITTED);
}

static void test_a_retry_takes_it_and_is_stored_before_anything_is_called(void **state)
{
    struct fake *fake = *state;
    engine_unpark(fake->engine, gid, fake_answer, fake);
    assert_log(fake, "take g parked");
    fake_store_txn(fake, STORE_OK, parked_txn(fake));
    fake_tick(fake, 0);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 1");
    assert_int_equal(fake->answer_count, 0);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_OK);
    assert_log(fake, "call 02.compensate");
    fake_called(fake, CALL_ERROR); /* counts from one again */
    assert_log(fake, "update g aborting rev 2 due 5755 notes 1");
}

static void test_who_takes_it_and_does_nothing_parks_it_again_in_silence(void **state)
{
    struct fake *fake = *state;
    engine_adopt(fake->engine, parked_txn(fake), fake->now_ms); /* its taker has died */
    fake_tick(fake, 0);
    assert_log(fake, "update g aborting rev 1 due 0 parked notes 0");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->troubles, 0);
    assert_int_equal(engine_live_count(fake->engine), 0);
}

static void test_what_is_not_parked_is_not_brought_back(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    engine_unpark(fake->engine, gid, fake_answer, fake);
    fake_tick(fake, 0);
    assert_int_equal(fake_answered(fake, 2)->err, ERR_CONFLICT);
    assert_string_equal(fake_answered(fake, 2)->message, "it is not parked");
    fake_restart(fake, 100);
    engine_unpark(fake->engine, gid, fake_answer, fake);
    fake_store(fake, STORE_CONFLICT);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_CONFLICT);
}

static void test_a_resolved_op_is_stored_and_not_called(void **state)
{
    struct fake *fake = *state;
    resolve(fake, "02", "compensate");
    assert_log(fake, "take g parked");
    fake_store_txn(fake, STORE_OK, parked_txn(fake));
    fake_tick(fake, 0);
    assert_log(fake, "update g aborting rev 1 due 5000 notes 1");
    assert_int_equal(fake->dirty, 1);
    fake_store(fake, STORE_OK);
    assert_int_equal(fake_answered(fake, 1)->err, ERR_OK);
    assert_log(fake, "call 01.compensate");
}

static void test_what_cannot_be_resolved_says_why_and_stays_parked(void **state)
{
    static const struct {
        const char *branch, *op, *message;
        enum err err;
    } cases[] = {
        {"03", "compensate", "it has no branch 03", ERR_INVALID},
        {"00", "msg", "it has no branch 00", ERR_INVALID},
        {"02", "confirm", "branch 02 has no op confirm", ERR_INVALID},
        {"01", "action", "01.action is done already", ERR_CONFLICT},
        {"02", "action", "02.action is done already", ERR_CONFLICT},
        {"01", "compensate", "01.compensate is not parked", ERR_CONFLICT},
    };
    struct fake *fake = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_restart(fake, 100);
        buf_clear(&fake->log);
        resolve(fake, cases[i].branch, cases[i].op);
        fake_store_txn(fake, STORE_OK, parked_txn(fake));
        fake_tick(fake, 0);
        assert_int_equal(fake_answered(fake, 1)->err, cases[i].err);
        assert_string_equal(fake_answered(fake, 1)->message, cases[i].message);
        assert_log(fake, "take g parked | update g aborting rev 1 due 0 parked notes 0");
    }
}

static void test_failures_are_told_with_their_number(void **state)
{
    struct fake *fake = *state;
    fake->park_after = 0;
    fake_restart(fake, 100);
    fake_submit(fake, 1, ENGINE_WAIT_END, 600000);
    fake_store(fake, STORE_OK);
    for (int i = 1; i <= 4; i++) {
        fake_called(fake, CALL_ERROR);
        fake_store(fake, STORE_OK);
        assert_int_equal(fake->troubles, i);
        while (fake->call_count == 0) {
            fake_tick(fake, 1000);
            while (fake->op_count > 0) { /* the lease */
                fake_store(fake, STORE_OK);
            }
        }
    }
    assert_string_equal(fake->trouble, "g 01.action 4 said so");
    fake_called(fake, CALL_FAILURE); /* that turns it round */
    assert_int_equal(fake->troubles, 4);
}

static void test_what_the_store_has_lost_while_it_was_parked_is_tried_again(void **state)
{
    struct fake *fake = *state;
    fake_submit(fake, 1, ENGINE_WAIT_STORED, 0);
    fake_store(fake, STORE_OK);
    buf_clear(&fake->log);
    fake_called(fake, CALL_CONFLICT);
    fake_store(fake, STORE_NOT_FOUND);
    assert_log(fake, "update g submitted rev 1 due 0 parked notes 2 | "
                     "create g submitted rev 1 due 0 released");
    fake_store(fake, STORE_OK);
    assert_int_equal(fake->released, 1);
    assert_int_equal(fake->troubles, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_stored_as_parked_and_leaves_the_memory),
        TEST(test_a_conflict_parks_at_once_even_when_somebody_waits_for_the_end),
        TEST(test_a_retry_takes_it_and_is_stored_before_anything_is_called),
        TEST(test_who_takes_it_and_does_nothing_parks_it_again_in_silence),
        TEST(test_what_is_not_parked_is_not_brought_back),
        TEST(test_a_resolved_op_is_stored_and_not_called),
        TEST(test_what_cannot_be_resolved_says_why_and_stays_parked),
        TEST(test_failures_are_told_with_their_number),
        TEST(test_what_the_store_has_lost_while_it_was_parked_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
