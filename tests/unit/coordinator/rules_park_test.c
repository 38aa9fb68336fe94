/*
 * When an op is parked, when the transaction is, and how they come back. A story is a list of
 * events, each with what comes of it: "! c2 aborting" (stored first, then the undo of branch 2 is
 * called), "! park 2 aborting" (nothing but parked ops is left, the first is of branch 2).
 */
#include "coordinator/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000000, TEXT_SIZE = 96 };
static const char letters[] = {[OP_ACTION] = 'a', [OP_CONFIRM] = 'c', [OP_UNDO] = 'u'};

struct line {
    const char *what; /* "tick", "retry", "abort", "stop", "submit", "u2 ERROR", "resolve u2" */
    const char *want; /* NULL: the end */
};

static struct txn *make(const char *type, size_t branches, struct txn_options options)
{
    struct txn_step steps[TXN_BRANCHES_MAX] = {0};
    for (size_t i = 0; i < branches; i++) {
        steps[i].urls[OP_ACTION] = slice_str("tcp://p/P.S/Do");
        steps[i].urls[OP_CONFIRM] = slice_str(strcmp(type, "tcc") ? "" : "tcp://p/P.S/Keep");
        steps[i].urls[OP_UNDO] = slice_str(strcmp(type, "msg") ? "tcp://p/P.S/Undo" : "");
    }
    struct txn_spec spec = {.gid = slice_str("g"),
                            .trans_type = slice_str(type),
                            .options = options,
                            .query_prepared = slice_str(strcmp(type, "msg") ? "" : "http://c/q"),
                            .steps = steps,
                            .step_count = branches};
    return txn_new(&spec);
}

static size_t branch_at(const struct txn *txn, char letter)
{
    return letter == '?' ? txn->branch_count : (size_t)(letter - '1');
}

static enum txn_op op_at(char letter)
{
    return letter == 'a' ? OP_ACTION : letter == 'c' ? OP_CONFIRM : OP_UNDO;
}

static struct event event_of(const struct txn *txn, const char *what, int64_t now_ms)
{
    static const struct {
        const char *word;
        enum event_kind kind;
    } words[] = {{"tick", EVENT_TICK},
                 {"retry", EVENT_RETRY_NOW},
                 {"abort", EVENT_ABORT},
                 {"stop", EVENT_FORCE_STOP},
                 {"submit", EVENT_SUBMIT}};
    struct event event = {.now_ms = now_ms, .text = slice_str("why")};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(what, words[i].word) == 0) {
            event.kind = words[i].kind;
            return event;
        }
    }
    bool resolve = strncmp(what, "resolve ", 8) == 0;
    const char *op = resolve ? what + 8 : what;
    event.kind = resolve ? EVENT_RESOLVE : EVENT_CALLED;
    event.branch = branch_at(txn, op[1]);
    event.op = op_at(op[0]);
    while (!resolve && strcmp(call_verdict_name(event.verdict), op + 3) != 0) {
        event.verdict++;
    }
    return event;
}

/* Gives the event and performs all that comes of it, as the engine does. */
static const char *perform(struct txn *txn, const struct step_limits *limits, struct event event,
                           char out[TEXT_SIZE])
{
    static const char saves[] = {'-', 'l', '!'};
    struct step step = rules_step(txn, limits, &event);
    int n = snprintf(out, TEXT_SIZE, "%c", saves[step.save]);
    while (step.next == NEXT_CALL) {
        n += snprintf(out + n, (size_t)(TEXT_SIZE - n), " %c%c", letters[step.op],
                      step.branch == txn->branch_count ? '?' : (char)('1' + step.branch));
        rules_call_begins(txn, step.branch, step.op);
        event = (struct event){.kind = EVENT_TICK, .now_ms = event.now_ms};
        step = rules_step(txn, limits, &event);
    }
    if (step.next == NEXT_PARK) {
        assert_true(txn->branches[step.branch].ops[step.op].parked);
        n += snprintf(out + n, (size_t)(TEXT_SIZE - n), " park %d", (int)step.branch + 1);
    } else if (step.next == NEXT_WAIT) {
        n += snprintf(out + n, (size_t)(TEXT_SIZE - n), " wait");
    }
    snprintf(out + n, (size_t)(TEXT_SIZE - n), " %s", txn_status_name(txn->status));
    return out;
}

/* Each line comes long after the one before: what waits for a retry is due by then. */
static void play(struct txn *txn, int64_t park_after, const struct line *lines)
{
    const struct step_limits limits = {
        .retry_interval_ms = 1000, .retry_interval_max_ms = 8000, .park_after = park_after};
    char got[TEXT_SIZE];
    for (int i = 0; lines[i].want; i++) {
        perform(txn, &limits, event_of(txn, lines[i].what, NOW + 100000 * i), got);
        if (strcmp(got, lines[i].want) != 0) {
            fail_msg("line %d (%s): got '%s', want '%s'", i, lines[i].what, got, lines[i].want);
        }
    }
}

static void story(const char *type, size_t branches, struct txn_options options, int64_t park_after,
                  const struct line *lines)
{
    struct txn *txn = make(type, branches, options);
    play(txn, park_after, lines);
    txn_free(txn);
}

#define ALONE ((struct txn_options){0})
#define END                                                                                        \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }

/* ---- when ---- */

static void test_an_undo_is_parked_after_so_many_failures_in_a_row(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 FAILURE", "! u1 aborting"},
        {"u1 ERROR", "! wait aborting"},
        {"tick", "- u1 aborting"},
        {"u1 FAILURE", "! wait aborting"},
        {"tick", "- u1 aborting"},
        {"u1 ERROR", "! park 1 aborting"},
        {"tick", "- park 1 aborting"},
        END,
    };
    story("saga", 1, ALONE, 3, lines);
}

static void test_patience_is_no_failure(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 ONGOING", "! wait submitted"},
        {"tick", "- a1 submitted"},
        {"a1 ONGOING", "! wait submitted"},
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! park 1 submitted"},
        END,
    };
    story("saga", 1, ALONE, 1, lines);
}

static void test_zero_is_never_but_a_conflict_is_parked_at_once(void **state)
{
    (void)state;
    struct txn *txn = make("tcc", 1, (struct txn_options){.declared = true});
    static const struct line lines[] = {
        {"tick", "- a1 prepared"},
        {"a1 SUCCESS", "! c1 submitted"},
        END,
    };
    static const struct line failure[] = {
        {"c1 ERROR", "! wait submitted"}, {"tick", "- c1 submitted"}, END};
    static const struct line conflict[] = {{"c1 CONFLICT", "! park 1 submitted"}, END};
    play(txn, 0, lines);
    for (int i = 0; i < 500; i++) {
        play(txn, 0, failure);
        txn->branches[0].ops[OP_CONFIRM].retry_at_ms = 0;
    }
    play(txn, 0, conflict);
    assert_int_equal(txn->branches[0].ops[OP_CONFIRM].parked, PARK_CONFLICT);
    txn_free(txn);
}

/* Who gave it a timeout or a limit wants it turned round, not kept for a person. */
static void test_an_action_with_an_end_of_its_own_is_not_parked(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! wait submitted"},
        {"tick", "- a1 submitted"},
        {"a1 CONFLICT", "! wait submitted"},
        END,
    };
    story("saga", 1, (struct txn_options){.timeout_to_fail_ms = 35000}, 1, lines);
    story("saga", 1, (struct txn_options){.retry_limit = 9}, 1, lines);
    static const struct line undo[] = {
        {"tick", "- a1 submitted"},
        {"a1 FAILURE", "! u1 aborting"},
        {"u1 ERROR", "! park 1 aborting"},
        END,
    };
    story("saga", 1, (struct txn_options){.timeout_to_fail_ms = 35000, .retry_limit = 9}, 1, undo);
}

static void test_a_delivery_and_a_check_back_are_parked(void **state)
{
    (void)state;
    struct txn *txn = make("msg", 1, ALONE);
    txn->status = TXN_PREPARED;
    static const struct line check_back[] = {
        {"tick", "- a? prepared"},
        {"a? ERROR", "! park 2 prepared"},
        {"retry", "! a? prepared"},
        {"a? CONFLICT", "! park 2 prepared"},
        {"submit", "! a1 submitted"}, /* the client has come after all */
        {"a1 FAILURE", "! park 1 submitted"},
        END,
    };
    play(txn, 1, check_back);
    assert_int_equal(txn->branches[1].ops[OP_ACTION].parked, PARK_NOT);
    txn_free(txn);
}

/* One sick branch does not keep the others from being served. */
static void test_the_others_go_on_first(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 a2 a3 submitted"},     {"a2 ERROR", "! submitted"},
        {"a1 ONGOING", "! submitted"},        {"a3 SUCCESS", "l a1 submitted"},
        {"a1 SUCCESS", "l park 2 submitted"}, END,
    };
    story("msg", 3, (struct txn_options){.concurrent = true}, 1, lines);
}

static void test_what_waits_for_a_retry_is_waited_for(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 a2 submitted"},        {"a1 CONFLICT", "! submitted"},
        {"a2 ERROR", "! wait submitted"},     {"tick", "- a2 submitted"},
        {"a2 SUCCESS", "l park 1 submitted"}, END,
    };
    story("msg", 2, (struct txn_options){.concurrent = true}, 2, lines);
}

/* The store keeps one number for all ops: it must not be held against those that come later. */
static void test_failures_of_one_op_do_not_count_for_the_next(void **state)
{
    (void)state;
    struct txn *txn = make("saga", 2, ALONE);
    txn->status = TXN_ABORTING;
    txn->attempts = 7; /* as record_parse gives it to each */
    for (size_t i = 0; i < 2; i++) {
        txn->branches[i].ops[OP_ACTION].status = OP_SUCCEED;
        txn->branches[i].ops[OP_UNDO].attempts = 7;
    }
    static const struct line lines[] = {
        {"tick", "- u2 aborting"},
        {"u2 SUCCESS", "l u1 aborting"},
        {"u1 ERROR", "! wait aborting"},
        END,
    };
    play(txn, 8, lines);
    assert_int_equal(txn->branches[0].ops[OP_UNDO].attempts, 1);
    txn_free(txn);
}

static void test_failures_of_actions_do_not_count_for_undos(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! wait submitted"},
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! wait submitted"},
        {"abort", "! u1 aborting"},
        {"u1 ERROR", "! wait aborting"},
        {"tick", "- u1 aborting"},
        {"u1 ERROR", "! wait aborting"},
        END,
    };
    story("saga", 1, ALONE, 3, lines);
}

/* ---- and back ---- */

static void test_a_retry_begins_anew(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},        {"a1 FAILURE", "! u1 aborting"},
        {"u1 ERROR", "! wait aborting"},   {"tick", "- u1 aborting"},
        {"u1 ERROR", "! park 1 aborting"}, {"retry", "! u1 aborting"},
        {"u1 ERROR", "! wait aborting"},   {"tick", "- u1 aborting"},
        {"u1 SUCCESS", "! failed"},        END,
    };
    story("saga", 1, ALONE, 2, lines);
}

static void test_a_retry_of_what_only_waits_stores_nothing(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! wait submitted"},
        {"retry", "- a1 submitted"},
        END,
    };
    story("saga", 1, ALONE, 2, lines);
}

static void test_a_resolved_op_counts_as_done(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 SUCCESS", "l a2 submitted"},
        {"a2 FAILURE", "! u2 aborting"},
        {"u2 CONFLICT", "! park 2 aborting"},
        {"resolve u1", "- park 2 aborting"}, /* that one is not parked */
        {"resolve u2", "! u1 aborting"},
        {"u1 SUCCESS", "! failed"},
        END,
    };
    story("saga", 2, ALONE, 3, lines);
}

static void test_a_resolved_one_leaves_the_others_parked(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 a2 submitted"},         {"a1 ERROR", "! submitted"},
        {"a2 CONFLICT", "! park 1 submitted"}, {"resolve a1", "! park 2 submitted"},
        {"resolve a2", "! succeed"},           END,
    };
    story("msg", 2, (struct txn_options){.concurrent = true}, 1, lines);
}

static void test_a_resolved_check_back_sends_the_message(void **state)
{
    (void)state;
    struct txn *txn = make("msg", 1, ALONE);
    txn->status = TXN_PREPARED;
    static const struct line lines[] = {
        {"tick", "- a? prepared"},
        {"a? ERROR", "! park 2 prepared"},
        {"resolve a?", "! a1 submitted"},
        END,
    };
    play(txn, 1, lines);
    txn_free(txn);
}

static void test_a_parked_saga_can_be_turned_round_or_stopped(void **state)
{
    (void)state;
    static const struct line turned[] = {
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! park 1 submitted"},
        {"abort", "! u1 aborting"},
        {"u1 SUCCESS", "! failed"},
        END,
    };
    static const struct line stopped[] = {
        {"tick", "- a1 submitted"}, {"a1 ERROR", "! park 1 submitted"}, {"stop", "! failed"}, END};
    story("saga", 1, ALONE, 1, turned);
    story("saga", 1, ALONE, 1, stopped);
}

static void test_what_cannot_be_done_leaves_it_parked(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"tick", "- a1 submitted"},
        {"a1 ERROR", "! park 1 submitted"},
        {"abort", "- park 1 submitted"}, /* a message that was sent cannot be aborted */
        END,
    };
    story("msg", 1, ALONE, 1, lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_undo_is_parked_after_so_many_failures_in_a_row),
        cmocka_unit_test(test_patience_is_no_failure),
        cmocka_unit_test(test_zero_is_never_but_a_conflict_is_parked_at_once),
        cmocka_unit_test(test_an_action_with_an_end_of_its_own_is_not_parked),
        cmocka_unit_test(test_a_delivery_and_a_check_back_are_parked),
        cmocka_unit_test(test_the_others_go_on_first),
        cmocka_unit_test(test_what_waits_for_a_retry_is_waited_for),
        cmocka_unit_test(test_failures_of_one_op_do_not_count_for_the_next),
        cmocka_unit_test(test_failures_of_actions_do_not_count_for_undos),
        cmocka_unit_test(test_a_retry_begins_anew),
        cmocka_unit_test(test_a_retry_of_what_only_waits_stores_nothing),
        cmocka_unit_test(test_a_resolved_op_counts_as_done),
        cmocka_unit_test(test_a_resolved_one_leaves_the_others_parked),
        cmocka_unit_test(test_a_resolved_check_back_sends_the_message),
        cmocka_unit_test(test_a_parked_saga_can_be_turned_round_or_stopped),
        cmocka_unit_test(test_what_cannot_be_done_leaves_it_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
