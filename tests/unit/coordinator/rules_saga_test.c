/* The rules as tables: a story is a list of events, each with the step that must come of it. */
#include "coordinator/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS_MAX = 4, NOW = 100000 };

static const struct step_limits limits = {.retry_interval_ms = 1000, .retry_interval_max_ms = 8000};

/* One line of a story. `want` reads: what is saved, what is next, the status afterwards.
 * Saved: '-' nothing, 'l' lazily, '!' first. */
struct line {
    enum event_kind event;
    enum call_verdict verdict;
    int64_t at_ms; /* since the beginning */
    const char *want;
};

static struct txn *saga_make(const char *urls)
{
    static struct txn_step steps[STEPS_MAX];
    size_t count = strlen(urls) / 2;
    for (size_t i = 0; i < count; i++) { /* 'a' and 'c': a url; '-': none */
        steps[i].urls[OP_ACTION] = slice_str(urls[2 * i] == 'a' ? "tcp://p/P.S/Do" : "");
        steps[i].urls[OP_UNDO] = slice_str(urls[2 * i + 1] == 'c' ? "tcp://p/P.S/Undo" : "");
    }
    struct txn_spec spec = {.gid = slice_str("g"),
                            .trans_type = slice_str("saga"),
                            .steps = steps,
                            .step_count = count};
    return txn_new(&spec);
}

static const char *describe(const struct txn *txn, const struct step *step, char out[64])
{
    static const char saves[] = {'-', 'l', '!'};
    char next[32] = "";
    switch (step->next) {
    case NEXT_CALL:
        snprintf(next, sizeof(next), "%c%zu", step->op == OP_ACTION ? 'a' : 'c', step->branch + 1);
        break;
    case NEXT_WAIT: snprintf(next, sizeof(next), "wait %d", (int)(step->until_ms - NOW)); break;
    case NEXT_AWAIT: snprintf(next, sizeof(next), "await"); break;
    case NEXT_PARK: snprintf(next, sizeof(next), "park"); break;
    case NEXT_END: snprintf(next, sizeof(next), "end"); break;
    }
    snprintf(out, 64, "%c %s %s", saves[step->save], next, txn_status_name(txn->status));
    return out;
}

static struct step called; /* a saga in order has one call in flight */

/* Does what the engine does with a step. */
static void perform(struct txn *txn, const struct step *step)
{
    if (step->next == NEXT_CALL) {
        assert_true(txn->branches[step->branch].ops[step->op].url.len > 0);
        rules_call_begins(txn, step->branch, step->op);
        called = *step;
    }
}

static void play(struct txn *txn, const struct line *lines)
{
    char got[64];
    for (int i = 0; lines[i].want; i++) {
        struct event event = {.kind = lines[i].event,
                              .now_ms = NOW + lines[i].at_ms,
                              .branch = called.branch,
                              .op = called.op,
                              .verdict = lines[i].verdict,
                              .text = slice_str("why")};
        struct step step = rules_step(txn, &limits, &event);
        if (strcmp(describe(txn, &step, got), lines[i].want) != 0) {
            fail_msg("line %d: got '%s', want '%s'", i, got, lines[i].want);
        }
        perform(txn, &step);
    }
}

#define TICK(at, want)                                                                             \
    {                                                                                              \
        EVENT_TICK, CALL_ERROR, at, want                                                           \
    }
#define CALLED(verdict, at, want)                                                                  \
    {                                                                                              \
        EVENT_CALLED, CALL_##verdict, at, want                                                     \
    }
#define DONE()                                                                                     \
    {                                                                                              \
        EVENT_TICK, CALL_ERROR, 0, NULL                                                            \
    }

static void test_actions_run_in_order(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(SUCCESS, 1, "l a2 submitted"),
        CALLED(SUCCESS, 2, "l a3 submitted"),
        CALLED(SUCCESS, 3, "! end succeed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("acacac");
    play(txn, lines);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(txn->branches[i].ops[OP_ACTION].status, OP_SUCCEED);
        assert_int_equal(txn->branches[i].ops[OP_UNDO].status, OP_PREPARED);
    }
    txn_free(txn);
}

static void test_failure_undoes_in_reverse_the_failed_one_first(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(SUCCESS, 1, "l a2 submitted"),
        CALLED(FAILURE, 2, "! c2 aborting"), /* never c3: it was not reached */
        CALLED(SUCCESS, 3, "l c1 aborting"),
        CALLED(SUCCESS, 4, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("acacac");
    play(txn, lines);
    assert_true(slice_eq_str(txn->rollback_reason, "url:tcp://p/P.S/Do return failed: why"));
    assert_int_equal(txn->branches[1].ops[OP_ACTION].status, OP_FAILED);
    assert_int_equal(txn->branches[2].ops[OP_UNDO].status, OP_PREPARED);
    txn_free(txn);
}

static void test_empty_urls_succeed_without_a_call(void **state)
{
    static const struct line forward[] = {
        TICK(0, "l a2 submitted"),
        CALLED(SUCCESS, 1, "! end succeed"),
        DONE(),
    };
    static const struct line backward[] = {
        TICK(0, "- a1 submitted"),           CALLED(SUCCESS, 1, "l a2 submitted"),
        CALLED(FAILURE, 2, "! c1 aborting"), /* step 2 has nothing to undo */
        CALLED(SUCCESS, 3, "! end failed"),  DONE(),
    };
    static const struct line nothing[] = {TICK(0, "! end succeed"), DONE()};
    (void)state;
    struct txn *txn = saga_make("-cac-c");
    play(txn, forward);
    txn_free(txn);
    txn = saga_make("aca-");
    play(txn, backward);
    txn_free(txn);
    txn = saga_make("-c--");
    play(txn, nothing);
    txn_free(txn);
}

static void test_errors_back_off_and_ongoing_does_not(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(ERROR, 0, "! wait 1000 submitted"),
        TICK(999, "- wait 1000 submitted"),
        TICK(1000, "- a1 submitted"),
        CALLED(ERROR, 1000, "! wait 3000 submitted"),
        TICK(3000, "- a1 submitted"),
        CALLED(ONGOING, 3000, "! wait 4000 submitted"),
        TICK(4000, "- a1 submitted"),
        CALLED(ONGOING, 4000, "! wait 5000 submitted"),
        TICK(5000, "- a1 submitted"),
        CALLED(ERROR, 5000, "! wait 9000 submitted"),
        TICK(9000, "- a1 submitted"),
        CALLED(ERROR, 9000, "! wait 17000 submitted"),
        TICK(17000, "- a1 submitted"),
        CALLED(ERROR, 17000, "! wait 25000 submitted"), /* the cap */
        TICK(25000, "- a1 submitted"),
        CALLED(SUCCESS, 25000, "l a2 submitted"),
        CALLED(ERROR, 25000, "! wait 26000 submitted"), /* a new op begins anew */
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("acac");
    play(txn, lines);
    assert_int_equal(txn->retry_count, 6); /* no ONGOING among them */
    assert_int_equal(txn->attempts, 1);
    txn_free(txn);
}

static void test_the_limit_counts_retries_as_dtm_does(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(ERROR, 0, "! wait 1000 submitted"),
        TICK(1000, "- a1 submitted"),
        CALLED(ONGOING, 1000, "! wait 2000 submitted"),
        TICK(2000, "- a1 submitted"),
        CALLED(ERROR, 2000, "! wait 4000 submitted"),
        TICK(4000, "- a1 submitted"),
        CALLED(ERROR, 4000, "! c1 aborting"),
        CALLED(SUCCESS, 4001, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    txn->options.retry_limit = 2;
    play(txn, lines);
    assert_true(
        slice_eq_str(txn->rollback_reason, "RetryCount is greater than RetryLimit, RetryLimit: 2"));
    txn_free(txn);
}

static void test_compensations_are_tried_until_they_succeed(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(FAILURE, 0, "! c1 aborting"),
        CALLED(FAILURE, 0, "! wait 1000 aborting"), /* nobody can refuse to be undone */
        TICK(1000, "- c1 aborting"),
        CALLED(ERROR, 1000, "! wait 3000 aborting"),
        TICK(3000, "- c1 aborting"),
        CALLED(ONGOING, 3000, "! wait 4000 aborting"),
        {EVENT_RETRY_NOW, CALL_ERROR, 3001, "- c1 aborting"},
        CALLED(SUCCESS, 3002, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    txn->options.retry_limit = 1;        /* of actions only */
    txn->run.timeout_at_ms = NOW + 2000; /* of submitted ones only */
    play(txn, lines);
    assert_int_equal(txn->retry_count, 0);
    txn_free(txn);
}

static void test_a_timeout_while_waiting_for_a_retry(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(ERROR, 0, "! wait 1000 submitted"),
        TICK(700, "! c1 aborting"),
        CALLED(SUCCESS, 700, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    txn->options.timeout_to_fail_ms = 7000;
    txn->run.timeout_at_ms = NOW + 700;
    play(txn, lines);
    assert_true(slice_eq_str(txn->rollback_reason, "Timeout after 7 seconds"));
    txn_free(txn);
}

static void test_a_timeout_in_mid_call_is_decided_at_once_and_awaits_the_call(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(SUCCESS, 10, "l a2 submitted"),
        TICK(1500, "! await aborting"),
        TICK(1600, "- await aborting"),
        CALLED(SUCCESS, 1700, "l c2 aborting"), /* it was done after all: and is undone */
        CALLED(SUCCESS, 1800, "l c1 aborting"),
        CALLED(SUCCESS, 1900, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("acacac");
    txn->options.timeout_to_fail_ms = 1500;
    txn->run.timeout_at_ms = NOW + 1500;
    play(txn, lines);
    assert_true(slice_eq_str(txn->rollback_reason, "Timeout after 1.500 seconds"));
    txn_free(txn);
}

static void test_what_comes_of_a_call_after_the_decision(void **state)
{
    static const struct {
        enum call_verdict verdict;
        enum op_status status;
    } cases[] = {
        {CALL_SUCCESS, OP_SUCCEED},
        {CALL_FAILURE, OP_FAILED},
        {CALL_ONGOING, OP_STARTED},
        {CALL_ERROR, OP_STARTED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct txn *txn = saga_make("acac");
        struct line lines[] = {
            TICK(0, "- a1 submitted"),
            {EVENT_ABORT, CALL_ERROR, 1, "! await aborting"},
            {EVENT_CALLED, cases[i].verdict, 2,
             cases[i].status == OP_STARTED ? "- c1 aborting" : "l c1 aborting"},
            DONE(),
        };
        play(txn, lines);
        assert_int_equal(txn->branches[0].ops[OP_ACTION].status, cases[i].status);
        assert_int_equal(txn->retry_count, 0);
        assert_true(slice_eq_str(txn->rollback_reason, "why"));
        txn_free(txn);
    }
}

static void test_the_last_success_beats_the_timeout(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        CALLED(SUCCESS, 5000, "! end succeed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    txn->options.timeout_to_fail_ms = 5000;
    txn->run.timeout_at_ms = NOW + 5000;
    play(txn, lines);
    assert_int_equal(txn->rollback_reason.len, 0);
    txn_free(txn);
}

static void test_what_was_never_called_is_never_undone(void **state)
{
    static const struct line at_once[] = {
        {EVENT_ABORT, CALL_ERROR, 0, "! end failed"},
        DONE(),
    };
    static const struct line between[] = {
        TICK(0, "- a1 submitted"),
        CALLED(SUCCESS, 10, "! c1 aborting"), /* a2 would be next, but time is up */
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("acac");
    play(txn, at_once);
    txn_free(txn);
    txn = saga_make("acac");
    txn->options.timeout_to_fail_ms = 10;
    txn->run.timeout_at_ms = NOW + 10;
    play(txn, between);
    txn_free(txn);
}

/* What a store gives back: taken from an owner that had released it (sure), or was ousted. */
static struct txn *saga_taken(const char *urls, enum txn_status status, bool sure)
{
    struct txn *txn = saga_make(urls);
    txn->status = status;
    txn->sure = sure;
    txn->run.inherited = true;
    return txn;
}

static void test_after_a_release_the_first_open_action_may_have_been_called(void **state)
{
    static const struct line lines[] = {
        {EVENT_ABORT, CALL_ERROR, 0, "! c2 aborting"},
        CALLED(SUCCESS, 1, "l c1 aborting"),
        CALLED(SUCCESS, 2, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_taken("acacac", TXN_SUBMITTED, true);
    txn->branches[0].ops[OP_ACTION].status = OP_SUCCEED;
    play(txn, lines);
    txn_free(txn);
}

static void test_after_an_owner_was_ousted_everything_is_undone(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a2 submitted"),
        CALLED(FAILURE, 0, "! c3 aborting"), /* the other one may have got there */
        CALLED(SUCCESS, 1, "l c2 aborting"),
        CALLED(SUCCESS, 2, "l c1 aborting"),
        CALLED(SUCCESS, 3, "! end failed"),
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_taken("acacac", TXN_SUBMITTED, false);
    txn->branches[0].ops[OP_ACTION].status = OP_SUCCEED;
    play(txn, lines);
    txn_free(txn);
}

static void test_a_prepared_one_has_nothing_to_undo(void **state)
{
    static const struct line lines[] = {
        {EVENT_ABORT, CALL_ERROR, 0, "! end failed"},
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_taken("acac", TXN_PREPARED, true);
    play(txn, lines);
    txn_free(txn);
}

static void test_undoing_goes_on_where_it_was(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- c1 aborting"), /* not c3: who turned round found that it was not reached */
        CALLED(SUCCESS, 1, "! end failed"),
        DONE(),
    };
    (void)state;
    for (int sure = 0; sure < 2; sure++) {
        struct txn *txn = saga_taken("acacac", TXN_ABORTING, sure);
        txn->branches[0].ops[OP_ACTION].status = OP_SUCCEED;
        txn->branches[1].ops[OP_ACTION].status = OP_STARTED;
        txn->branches[1].ops[OP_UNDO].status = OP_SUCCEED;
        play(txn, lines);
        txn_free(txn);
    }
}

static void test_an_abort_is_decided_once(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        {EVENT_ABORT, CALL_ERROR, 1, "! await aborting"},
        {EVENT_ABORT, CALL_ERROR, 2, "- await aborting"},
        CALLED(ERROR, 3, "- c1 aborting"),
        {EVENT_ABORT, CALL_ERROR, 4, "- await aborting"},
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    play(txn, lines);
    txn_free(txn);
}

static void test_a_forced_stop_calls_nobody(void **state)
{
    static const struct line lines[] = {
        TICK(0, "- a1 submitted"),
        {EVENT_FORCE_STOP, CALL_ERROR, 1, "! end failed"},
        DONE(),
    };
    (void)state;
    struct txn *txn = saga_make("ac");
    play(txn, lines);
    assert_true(slice_eq_str(txn->rollback_reason, "why"));
    txn_free(txn);
}

static void test_a_long_or_ugly_answer_makes_a_bounded_readable_reason(void **state)
{
    (void)state;
    static char answer[5000];
    memset(answer, 'x', sizeof(answer));
    answer[1] = '\n';
    answer[3] = '\xFF';
    struct txn *txn = saga_make("ac");
    struct event event = {.kind = EVENT_TICK, .now_ms = NOW};
    struct step step = rules_step(txn, &limits, &event);
    perform(txn, &step);
    event = (struct event){.kind = EVENT_CALLED,
                           .now_ms = NOW,
                           .branch = called.branch,
                           .op = called.op,
                           .verdict = CALL_FAILURE,
                           .text = slice_make(answer, sizeof(answer))};
    rules_step(txn, &limits, &event);
    assert_in_range(txn->rollback_reason.len, 500, TXN_REASON_MAX);
    assert_true(utf8_is_valid(txn->rollback_reason));
    assert_false(utf8_has_control(txn->rollback_reason));
    txn_free(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions_run_in_order),
        cmocka_unit_test(test_failure_undoes_in_reverse_the_failed_one_first),
        cmocka_unit_test(test_empty_urls_succeed_without_a_call),
        cmocka_unit_test(test_errors_back_off_and_ongoing_does_not),
        cmocka_unit_test(test_the_limit_counts_retries_as_dtm_does),
        cmocka_unit_test(test_compensations_are_tried_until_they_succeed),
        cmocka_unit_test(test_a_timeout_while_waiting_for_a_retry),
        cmocka_unit_test(test_a_timeout_in_mid_call_is_decided_at_once_and_awaits_the_call),
        cmocka_unit_test(test_what_comes_of_a_call_after_the_decision),
        cmocka_unit_test(test_the_last_success_beats_the_timeout),
        cmocka_unit_test(test_what_was_never_called_is_never_undone),
        cmocka_unit_test(test_after_a_release_the_first_open_action_may_have_been_called),
        cmocka_unit_test(test_after_an_owner_was_ousted_everything_is_undone),
        cmocka_unit_test(test_a_prepared_one_has_nothing_to_undo),
        cmocka_unit_test(test_undoing_goes_on_where_it_was),
        cmocka_unit_test(test_an_abort_is_decided_once),
        cmocka_unit_test(test_a_forced_stop_calls_nobody),
        cmocka_unit_test(test_a_long_or_ugly_answer_makes_a_bounded_readable_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
