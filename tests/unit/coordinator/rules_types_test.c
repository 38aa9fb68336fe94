/*
 * The rules of tcc, msg, xa, workflow and concurrent sagas as tables: a story is a list of events,
 * each with what must come of it. Sagas in order have a test of their own.
 */
#include "coordinator/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS_MAX = 4, NOW = 100000, TEXT_SIZE = 128 };

static const struct step_limits limits = {.retry_interval_ms = 1000, .retry_interval_max_ms = 8000};

/*
 * One line of a story. `what`: "tick", "submit", "abort", "stop", "succeed" and "fail" (what the
 * client of a workflow says), or a call that ends: "a1 SUCCESS". `want` reads: what is saved
 * ('-' nothing, 'l' lazily, '!' first), what is called ('t' for an action or try, 'c' confirm,
 * 'u' undo, '?' the check-back), what is next, the status afterwards.
 */
struct line {
    int64_t at_ms;
    const char *what;
    const char *want;
};

struct shape {
    const char *type;
    size_t steps;
    bool prepare, declared, concurrent;
    const char *after; /* pairs of digits: the second comes before the first */
};

static const char op_letters[] = {[OP_ACTION] = 't', [OP_CONFIRM] = 'c', [OP_UNDO] = 'u'};

static void branch_give(struct txn *txn, enum txn_type type, size_t index)
{
    for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
        if (txn_op_name(type, (enum txn_op)op)) {
            txn->branches[index].ops[op].url = slice_str("tcp://p/P.S/Do");
        }
    }
}

static struct txn *make(const struct shape *shape)
{
    struct txn_step steps[STEPS_MAX] = {{.id = {0}}};
    uint8_t after[STEPS_MAX][STEPS_MAX];
    for (const char *at = shape->after; at && at[0]; at += 2) {
        struct txn_step *step = &steps[at[0] - '1'];
        after[at[0] - '1'][step->after_count++] = (uint8_t)(at[1] - '1');
        step->after = after[at[0] - '1'];
    }
    struct txn_spec spec = {
        .gid = slice_str("g"),
        .trans_type = slice_str(shape->type),
        .prepare = shape->prepare,
        .options = {.declared = shape->declared, .concurrent = shape->concurrent},
        .query_prepared = slice_str("http://c/q"),
        .steps = steps,
        .step_count = shape->steps,
    };
    struct txn *txn = txn_new(&spec);
    for (size_t i = 0; i < shape->steps; i++) {
        branch_give(txn, txn->type, i);
    }
    return txn;
}

static struct event event_of(const struct txn *txn, const struct line *line)
{
    static const struct {
        const char *word;
        enum event_kind kind;
        enum txn_status status;
    } words[] = {
        {"tick", EVENT_TICK, TXN_PREPARED},     {"submit", EVENT_SUBMIT, TXN_PREPARED},
        {"abort", EVENT_ABORT, TXN_PREPARED},   {"stop", EVENT_FORCE_STOP, TXN_PREPARED},
        {"succeed", EVENT_FINISH, TXN_SUCCEED}, {"fail", EVENT_FINISH, TXN_FAILED},
        {"now", EVENT_RETRY_NOW, TXN_PREPARED},
    };
    struct event event = {.now_ms = NOW + line->at_ms, .text = slice_str("why")};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(line->what, words[i].word) == 0) {
            event.kind = words[i].kind;
            event.status = words[i].status;
            return event;
        }
    }
    event.kind = EVENT_CALLED;
    event.branch = line->what[1] == '?' ? txn->branch_count : (size_t)(line->what[1] - '1');
    event.op = line->what[0] == 'c' ? OP_CONFIRM : line->what[0] == 'u' ? OP_UNDO : OP_ACTION;
    while (strcmp(call_verdict_name(event.verdict), line->what + 3) != 0) {
        event.verdict++;
    }
    return event;
}

/* Gives the event and performs all that comes of it, as the engine does. */
static const char *perform(struct txn *txn, struct event event, char out[TEXT_SIZE])
{
    static const char saves[] = {'-', 'l', '!'};
    struct step step = rules_step(txn, &limits, &event);
    int n = snprintf(out, TEXT_SIZE, "%c", saves[step.save]);
    while (step.next == NEXT_CALL) {
        bool check_back = step.branch == txn->branch_count;
        n += snprintf(out + n, (size_t)(TEXT_SIZE - n), " %c%c", op_letters[step.op],
                      check_back ? '?' : (char)('1' + step.branch));
        rules_call_begins(txn, step.branch, step.op);
        event = (struct event){.kind = EVENT_TICK, .now_ms = event.now_ms};
        step = rules_step(txn, &limits, &event);
    }
    if (step.next == NEXT_WAIT && step.until_ms < INT64_MAX) {
        n += snprintf(out + n, (size_t)(TEXT_SIZE - n), " wait %d", (int)(step.until_ms - NOW));
    }
    snprintf(out + n, (size_t)(TEXT_SIZE - n), " %s", txn_status_name(txn->status));
    return out;
}

static void play(struct txn *txn, const struct line *lines)
{
    char got[TEXT_SIZE];
    for (int i = 0; lines[i].want; i++) {
        perform(txn, event_of(txn, &lines[i]), got);
        if (strcmp(got, lines[i].want) != 0) {
            fail_msg("line %d (%s): got '%s', want '%s'", i, lines[i].what, got, lines[i].want);
        }
    }
}

static void story(struct shape shape, const struct line *lines)
{
    struct txn *txn = make(&shape);
    play(txn, lines);
    txn_free(txn);
}

/* ---- tcc ---- */

static const struct shape tcc = {.type = "tcc", .prepare = true};
static const struct shape declared = {.type = "tcc", .steps = 3, .declared = true};

/* A prepared tcc with three branches that the client has registered. */
static struct txn *tcc_registered(void)
{
    struct txn *txn = txn_new_blank(slice_str("g"), 3);
    txn->type = TXN_TCC;
    txn->status = TXN_PREPARED;
    txn->sure = true;
    for (size_t i = 0; i < 3; i++) {
        branch_give(txn, TXN_TCC, i);
        txn->branches[i].ops[OP_ACTION].url = slice_str("");
    }
    return txn;
}

static void test_tcc_confirms_in_reverse(void **state)
{
    static const struct line lines[] = {
        {0, "tick", "- prepared"},
        {1, "submit", "! c3 submitted"},
        {2, "c3 SUCCESS", "l c2 submitted"},
        {3, "c2 FAILURE", "! wait 1003 submitted"}, /* nobody can refuse to confirm */
        {4, "submit", "- wait 1003 submitted"},     /* a second one loses nothing */
        {5, "abort", "- wait 1003 submitted"},      /* and nothing turns it round */
        {1003, "tick", "- c2 submitted"},
        {1004, "c2 SUCCESS", "l c1 submitted"},
        {1005, "c1 SUCCESS", "! succeed"},
        {0, NULL, NULL},
    };
    (void)state;
    struct txn *txn = tcc_registered();
    play(txn, lines);
    txn_free(txn);
}

static void test_tcc_cancels_every_branch_in_reverse(void **state)
{
    static const struct line lines[] = {
        {0, "abort", "! u3 aborting"},      {1, "submit", "- aborting"},
        {2, "u3 SUCCESS", "l u2 aborting"}, {3, "u2 ONGOING", "! wait 1003 aborting"},
        {4, "now", "- u2 aborting"},        {5, "u2 SUCCESS", "l u1 aborting"},
        {6, "u1 SUCCESS", "! failed"},      {0, NULL, NULL},
    };
    (void)state;
    struct txn *txn = tcc_registered();
    play(txn, lines);
    assert_true(slice_eq_str(txn->rollback_reason, "why"));
    txn_free(txn);
}

static void test_tcc_times_out_only_while_it_is_prepared(void **state)
{
    static const struct line out[] = {
        {10, "tick", "! u3 aborting"}, {20, "u3 SUCCESS", "l u2 aborting"}, {0, NULL, NULL}};
    static const struct line in_time[] = {
        {9, "submit", "! c3 submitted"}, {20, "c3 SUCCESS", "l c2 submitted"}, {0, NULL, NULL}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct txn *txn = tcc_registered();
        txn->options.timeout_to_fail_ms = 10;
        txn->run.timeout_at_ms = NOW + 10;
        play(txn, i == 0 ? out : in_time);
        txn_free(txn);
    }
}

static void test_tcc_without_branches_ends_at_once(void **state)
{
    static const struct line lines[] = {{0, "submit", "! succeed"}, {0, NULL, NULL}};
    (void)state;
    story(tcc, lines);
}

static void test_declared_tcc_tries_all_and_decides(void **state)
{
    static const struct line lines[] = {
        {0, "tick", "- t1 t2 t3 prepared"},
        {1, "t2 SUCCESS", "l prepared"},
        {2, "t1 ERROR", "! prepared"},
        {3, "t3 SUCCESS", "l wait 1002 prepared"},
        {4, "submit", "- wait 1002 prepared"},
        {1002, "tick", "- t1 prepared"},
        {1003, "t1 SUCCESS", "! c3 submitted"},
        {1004, "c3 SUCCESS", "l c2 submitted"},
        {1005, "c2 SUCCESS", "l c1 submitted"},
        {1006, "c1 SUCCESS", "! succeed"},
        {0, NULL, NULL},
    };
    (void)state;
    story(declared, lines);
}

static void test_declared_tcc_awaits_its_tries_before_it_cancels(void **state)
{
    static const struct line lines[] = {
        {0, "tick", "- t1 t2 t3 prepared"}, {1, "t2 FAILURE", "! aborting"},
        {2, "t1 SUCCESS", "l aborting"},    {3, "t3 ERROR", "- u3 aborting"},
        {4, "u3 SUCCESS", "l u2 aborting"}, {5, "u2 SUCCESS", "l u1 aborting"},
        {6, "u1 SUCCESS", "! failed"},      {0, NULL, NULL},
    };
    (void)state;
    story(declared, lines);
}

static void test_declared_tcc_that_was_never_tried_cancels_nobody(void **state)
{
    static const struct line lines[] = {{0, "abort", "! failed"}, {0, NULL, NULL}};
    (void)state;
    story(declared, lines);
}

/* ---- xa ---- */

static void test_xa_goes_forward_both_ways(void **state)
{
    static const struct line commit[] = {{0, "submit", "! c1 submitted"},
                                         {1, "c1 SUCCESS", "l c2 submitted"},
                                         {2, "c2 SUCCESS", "! succeed"},
                                         {0, NULL, NULL}};
    static const struct line rollback[] = {{0, "abort", "! u1 aborting"},
                                           {1, "u1 SUCCESS", "l u2 aborting"},
                                           {2, "u2 SUCCESS", "! failed"},
                                           {0, NULL, NULL}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct txn *txn = txn_new_blank(slice_str("g"), 2);
        txn->type = TXN_XA;
        txn->status = TXN_PREPARED;
        branch_give(txn, TXN_XA, 0);
        branch_give(txn, TXN_XA, 1);
        play(txn, i == 0 ? commit : rollback);
        txn_free(txn);
    }
}

/* ---- msg ---- */

static struct txn *msg_prepared(void)
{
    struct shape shape = {.type = "msg", .steps = 2, .prepare = true};
    struct txn *txn = make(&shape);
    txn_check_branch(txn)->ops[OP_ACTION].retry_at_ms = NOW + 500; /* as the engine sets it */
    return txn;
}

static void test_msg_is_delivered_in_order_whatever_is_answered(void **state)
{
    static const struct shape shape = {.type = "msg", .steps = 2};
    static const struct line lines[] = {
        {0, "tick", "- t1 submitted"},
        {1, "t1 FAILURE", "! wait 1001 submitted"}, /* it was submitted: it cannot fail any more */
        {2, "abort", "- wait 1001 submitted"},
        {1001, "tick", "- t1 submitted"},
        {1002, "t1 SUCCESS", "l t2 submitted"},
        {1003, "t2 SUCCESS", "! succeed"},
        {0, NULL, NULL},
    };
    (void)state;
    story(shape, lines);
}

static void test_concurrent_msg_is_delivered_to_all_at_once(void **state)
{
    static const struct shape shape = {.type = "msg", .steps = 3, .concurrent = true};
    static const struct line lines[] = {
        {0, "tick", "- t1 t2 t3 submitted"},
        {1, "t3 SUCCESS", "l submitted"},
        {2, "t1 SUCCESS", "l submitted"},
        {3, "t2 SUCCESS", "! succeed"},
        {0, NULL, NULL},
    };
    (void)state;
    story(shape, lines);
}

static void test_msg_asks_its_client_in_time(void **state)
{
    static const struct {
        const char *answer, *want;
    } cases[] = {
        {"t? SUCCESS", "! t1 submitted"},
        {"t? FAILURE", "! failed"},
        {"t? ONGOING", "! wait 1600 prepared"},
        {"t? ERROR", "! wait 1600 prepared"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line lines[] = {
            {0, "tick", "- wait 500 prepared"},
            {500, "tick", "- t? prepared"},
            {600, cases[i].answer, cases[i].want},
            {0, NULL, NULL},
        };
        struct txn *txn = msg_prepared();
        play(txn, lines);
        txn_free(txn);
    }
}

static void test_msg_needs_no_answer_once_the_client_has_decided(void **state)
{
    static const struct line submitted[] = {
        {500, "tick", "- t? prepared"},
        {501, "submit", "! submitted"}, /* the question is awaited */
        {502, "t? FAILURE", "- t1 submitted"},
        {0, NULL, NULL},
    };
    static const struct line aborted[] = {{0, "abort", "! failed"}, {0, NULL, NULL}};
    (void)state;
    struct txn *txn = msg_prepared();
    play(txn, submitted);
    txn_free(txn);
    txn = msg_prepared();
    play(txn, aborted);
    txn_free(txn);
}

static void delayed_msg(const struct line *lines)
{
    struct txn *txn = msg_prepared();
    txn->options.delay_ms = 2000;
    play(txn, lines);
    txn_free(txn);
}

static void test_msg_waits_for_its_delay(void **state)
{
    static const struct line submitted[] = {
        {0, "submit", "! wait 2000 submitted"},
        {1999, "tick", "- wait 2000 submitted"},
        {2000, "tick", "- t1 submitted"},
        {0, NULL, NULL},
    };
    static const struct line client_is_gone[] = {
        {500, "tick", "- t? prepared"},
        {600, "t? SUCCESS", "! wait 2600 submitted"},
        {2600, "tick", "- t1 submitted"},
        {0, NULL, NULL},
    };
    (void)state;
    delayed_msg(submitted);
    delayed_msg(client_is_gone);
}

/* ---- workflow ---- */

static void test_workflow_is_resumed_until_its_client_says_how_it_ended(void **state)
{
    static const struct shape shape = {.type = "workflow", .prepare = true};
    static const struct line lines[] = {
        {0, "tick", "- t? prepared"},          {1, "t? SUCCESS", "! wait 1001 prepared"},
        {2, "submit", "- wait 1001 prepared"}, {3, "abort", "- wait 1001 prepared"},
        {1001, "tick", "- t? prepared"},       {1002, "t? ERROR", "! wait 3002 prepared"},
        {1003, "succeed", "! succeed"},        {0, NULL, NULL},
    };
    static const struct line failed[] = {{0, "fail", "! failed"}, {0, NULL, NULL}};
    (void)state;
    story(shape, lines);
    story(shape, failed);
}

/* ---- concurrent sagas ---- */

static void test_concurrent_saga_keeps_its_orders(void **state)
{
    static const struct shape shape = {
        .type = "saga", .steps = 4, .concurrent = true, .after = "313243"};
    static const struct line lines[] = {
        {0, "tick", "- t1 t2 submitted"},    {1, "t2 SUCCESS", "l submitted"},
        {2, "t1 SUCCESS", "l t3 submitted"}, {3, "t3 SUCCESS", "l t4 submitted"},
        {4, "t4 SUCCESS", "! succeed"},      {0, NULL, NULL},
    };
    (void)state;
    story(shape, lines);
}

static void test_concurrent_saga_ends_its_calls_and_undoes_against_the_orders(void **state)
{
    static const struct shape shape = {
        .type = "saga", .steps = 4, .concurrent = true, .after = "3142"};
    static const struct line lines[] = {
        {0, "tick", "- t1 t2 submitted"},
        {1, "t1 SUCCESS", "l t3 submitted"},
        {2, "t3 FAILURE", "! aborting"},
        {3, "t2 SUCCESS", "l u3 aborting"}, /* 4: never begun; 2 has no order, but succeeded */
        {4, "u3 ERROR", "! wait 1004 aborting"},
        {1004, "tick", "- u3 aborting"},
        {1005, "u3 SUCCESS", "l u1 u2 aborting"},
        {1006, "u1 SUCCESS", "l aborting"},
        {1007, "u2 SUCCESS", "! failed"},
        {0, NULL, NULL},
    };
    (void)state;
    story(shape, lines);
}

static void test_what_could_have_begun_is_undone_after_a_release(void **state)
{
    static const struct shape shape = {
        .type = "saga", .steps = 3, .concurrent = true, .after = "31"};
    static const struct line lines[] = {
        {0, "abort", "! u1 u2 aborting"},
        {1, "u2 SUCCESS", "l aborting"},
        {2, "u1 SUCCESS", "! failed"},
        {0, NULL, NULL},
    };
    (void)state;
    struct txn *txn = make(&shape);
    txn->run.inherited = true;
    play(txn, lines);
    txn_free(txn);
}

static void test_a_forced_stop_ends_any_type_at_once(void **state)
{
    static const struct line lines[] = {{0, "stop", "! failed"}, {0, NULL, NULL}};
    static const struct shape shapes[] = {
        {.type = "saga", .steps = 1},          {.type = "msg", .steps = 1, .prepare = true},
        {.type = "tcc", .prepare = true},      {.type = "xa", .prepare = true},
        {.type = "workflow", .prepare = true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        story(shapes[i], lines);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcc_confirms_in_reverse),
        cmocka_unit_test(test_tcc_cancels_every_branch_in_reverse),
        cmocka_unit_test(test_tcc_times_out_only_while_it_is_prepared),
        cmocka_unit_test(test_tcc_without_branches_ends_at_once),
        cmocka_unit_test(test_declared_tcc_tries_all_and_decides),
        cmocka_unit_test(test_declared_tcc_awaits_its_tries_before_it_cancels),
        cmocka_unit_test(test_declared_tcc_that_was_never_tried_cancels_nobody),
        cmocka_unit_test(test_xa_goes_forward_both_ways),
        cmocka_unit_test(test_msg_is_delivered_in_order_whatever_is_answered),
        cmocka_unit_test(test_concurrent_msg_is_delivered_to_all_at_once),
        cmocka_unit_test(test_msg_asks_its_client_in_time),
        cmocka_unit_test(test_msg_needs_no_answer_once_the_client_has_decided),
        cmocka_unit_test(test_msg_waits_for_its_delay),
        cmocka_unit_test(test_workflow_is_resumed_until_its_client_says_how_it_ended),
        cmocka_unit_test(test_concurrent_saga_keeps_its_orders),
        cmocka_unit_test(test_concurrent_saga_ends_its_calls_and_undoes_against_the_orders),
        cmocka_unit_test(test_what_could_have_begun_is_undone_after_a_release),
        cmocka_unit_test(test_a_forced_stop_ends_any_type_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
