/* The barrier gate on a real Redis: every transition, each script run twice. */
#include "base/clock.h"
#include "harness/test_redis.h"
#include "saga.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 32, TTL_MS = 1000000 };

static struct test_redis *server;

/* Takes args[1] pieces of what keys[1] counts; an undo gives back what the journal says. */
static const char stock_body[] =
    "return barrier(function(keys, args, undo, tried)\n"
    "  if undo then\n"
    "    redis.call('INCRBY', keys[1], undo)\n"
    "    return ok('back ' .. undo)\n"
    "  end\n"
    "  if tried then return ok('kept ' .. tried) end\n"
    "  local have = tonumber(redis.call('GET', keys[1]))\n"
    "  if have < tonumber(args[1]) then return fail('stock is ' .. have) end\n"
    "  redis.call('DECRBY', keys[1], args[1])\n"
    "  return ok('left ' .. (have - args[1]), args[1])\n"
    "end)\n";

/* A call of a gated script with one business key, {p}:n, and one argument, 1. */
struct call {
    const char *body;
    const char *gid;
    const char *branch;
    const char *op;
    const char *bid;
    int64_t started_ms;
};

static const char *run(struct call call)
{
    char key[512], ttl[24], started[24];
    snprintf(key, sizeof(key), "{p}:br:%s:%s", call.gid, call.branch);
    snprintf(ttl, sizeof(ttl), "%d", TTL_MS);
    snprintf(started, sizeof(started), "%" PRId64, call.started_ms);
    struct saga_script *script = saga_script_new("test", call.body, strlen(call.body));
    const char *argv[] = {"EVAL",   saga_script_text(script),
                          "2",      key,
                          "{p}:n",  "saga",
                          call.gid, call.branch,
                          call.op,  call.bid,
                          ttl,      started,
                          "1"};
    const char *answer = test_redis_askv(server, argv, sizeof(argv) / sizeof(argv[0]));
    saga_script_free(script);
    return answer;
}

static const char *run_op(const char *op)
{
    return run((struct call){stock_body, "g", "01", op, "01", 0});
}

/* The op is run twice, then once more: what the second answers stays. */
static void expect(const char *op, const char *first, const char *again)
{
    assert_string_equal(run_op(op), first);
    assert_string_equal(run_op(op), again);
    assert_string_equal(run_op(op), again);
}

static const char *record(const char *gid, const char *branch)
{
    char key[512];
    snprintf(key, sizeof(key), "{p}:br:%s:%s", gid, branch);
    return test_redis_askv(server, (const char *[]){"HGETALL", key}, 2);
}

/* Whether this is "<reason>|<ms>|saga|" and then anything. */
static bool is_mark(const char *value, const char *reason)
{
    size_t len = strlen(reason);
    return strncmp(value, reason, len) == 0 && value[len] == '|' &&
           strspn(value + len + 1, "0123456789") == 13 &&
           strncmp(value + len + 14, "|saga|", 6) == 0;
}

/* Whether the branch has exactly these rows: "op=reason" texts, ended by NULL. */
static void expect_rows(const char *branch, const char *const *rows)
{
    char key[64];
    size_t count = 0;
    snprintf(key, sizeof(key), "{p}:br:g:%s", branch);
    for (; rows[count]; count++) {
        char op[32], reason[32], field[64];
        assert_int_equal(sscanf(rows[count], "%31[a-z]=%31[a-z]", op, reason), 2);
        snprintf(field, sizeof(field), "%s:01", op);
        const char *value = test_redis_askv(server, (const char *[]){"HGET", key, field}, 3);
        assert_true(is_mark(value, reason));
    }
    size_t found = 0; /* r:<op>:01 is no row */
    const char *text = record("g", branch);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t op = strspn(line, "abcdefghijklmnopqrstuvwxyz");
        found += op > 1 && strncmp(line + op, ":01\n", 4) == 0;
    }
    assert_int_equal(found, count);
}

#define ROWS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int stock(void)
{
    return (int)strtol(test_redis_ask(server, "GET {p}:n"), NULL, 10);
}

static int begin(void **state)
{
    (void)state;
    test_redis_ask(server, "FLUSHALL");
    test_redis_ask(server, "SET {p}:n 5");
    return 0;
}

/* ---- saga ---- */

static void action_then_compensate(void **state)
{
    (void)state;
    expect("action", "OK\nleft 4", "DUP\nleft 4");
    expect_rows("01", ROWS("action=action"));
    expect("compensate", "OK\nback 1", "DUP\nback 1");
    expect_rows("01", ROWS("action=action", "compensate=compensate"));
    assert_int_equal(stock(), 5);
}

/* A coordinator whose store forgot the decision to abort asks again, and must not be told that all
 * is done. */
static void what_was_undone_is_no_success_when_it_comes_again(void **state)
{
    (void)state;
    expect("action", "OK\nleft 4", "DUP\nleft 4");
    expect("compensate", "OK\nback 1", "DUP\nback 1");
    expect("action", "VOID\ncompensate came after action", "VOID\ncompensate came after action");
    expect_rows("01", ROWS("action=action", "compensate=compensate"));
    assert_int_equal(stock(), 5);
    begin(NULL);
    expect("action", "OK\nleft 4", "DUP\nleft 4");
    expect("rollback", "OK\nback 1", "DUP\nback 1");
    expect("action", "VOID\nrollback came after action", "VOID\nrollback came after action");
    begin(NULL);
    expect("try", "OK\nleft 4", "DUP\nleft 4");
    expect("cancel", "OK\nback 1", "DUP\nback 1");
    expect("try", "VOID\ncancel came after try", "VOID\ncancel came after try");
    assert_int_equal(stock(), 5);
}

static void compensate_before_action(void **state)
{
    (void)state;
    expect("compensate", "NULL\n", "DUP\n");
    expect_rows("01", ROWS("action=compensate", "compensate=compensate"));
    expect("action", "VOID\ncompensate came before action", "VOID\ncompensate came before action");
    expect("compensate", "DUP\n", "DUP\n");
    expect_rows("01", ROWS("action=compensate", "compensate=compensate"));
    assert_string_equal(test_redis_ask(server, "HLEN {p}:br:g:01"), "2");
    assert_int_equal(stock(), 5);
}

static void rollback_undoes_an_action_too(void **state)
{
    (void)state;
    expect("action", "OK\nleft 4", "DUP\nleft 4");
    expect("rollback", "OK\nback 1", "DUP\nback 1");
    assert_int_equal(stock(), 5);
    begin(NULL);
    expect("rollback", "NULL\n", "DUP\n");
    expect("action", "VOID\nrollback came before action", "VOID\nrollback came before action");
    /* The action's row is there, but it is not the action's own: still nothing to undo. */
    expect("compensate", "NULL\n", "DUP\n");
    assert_int_equal(stock(), 5);
}

static void a_refusal_writes_nothing(void **state)
{
    (void)state;
    test_redis_ask(server, "SET {p}:n 0");
    expect("action", "FAIL\nstock is 0", "FAIL\nstock is 0");
    assert_string_equal(test_redis_ask(server, "EXISTS {p}:br:g:01"), "0");
    test_redis_ask(server, "SET {p}:n 1"); /* and so it may still succeed */
    expect("action", "OK\nleft 0", "DUP\nleft 0");
}

static void n4_a_repeat_comes_before_the_business_checks(void **state)
{
    (void)state;
    test_redis_ask(server, "SET {p}:n 1");
    expect("action", "OK\nleft 0", "DUP\nleft 0");
    assert_int_equal(stock(), 0);
}

static void rows_are_those_of_the_three_flows(void **state)
{
    (void)state;
    /* A: both actions. */
    run((struct call){stock_body, "g", "01", "action", "01", 0});
    run((struct call){stock_body, "g", "02", "action", "01", 0});
    expect_rows("01", ROWS("action=action"));
    expect_rows("02", ROWS("action=action"));
    /* C: the second failed after its barrier. */
    run((struct call){stock_body, "g", "02", "compensate", "01", 0});
    run((struct call){stock_body, "g", "01", "compensate", "01", 0});
    expect_rows("01", ROWS("action=action", "compensate=compensate"));
    expect_rows("02", ROWS("action=action", "compensate=compensate"));
    assert_int_equal(stock(), 5);
    /* B: the second was refused. */
    begin(NULL);
    test_redis_ask(server, "SET {p}:n 1");
    run((struct call){stock_body, "g", "01", "action", "01", 0});
    run((struct call){stock_body, "g", "02", "action", "01", 0});
    run((struct call){stock_body, "g", "02", "compensate", "01", 0});
    run((struct call){stock_body, "g", "01", "compensate", "01", 0});
    expect_rows("01", ROWS("action=action", "compensate=compensate"));
    expect_rows("02", ROWS("action=compensate", "compensate=compensate"));
    assert_int_equal(stock(), 1);
}

/* ---- try, confirm, cancel ---- */

static void confirm_excludes_cancel(void **state)
{
    (void)state;
    expect("try", "OK\nleft 4", "DUP\nleft 4");
    expect("confirm", "OK\nkept 1", "DUP\nkept 1");
    expect("cancel", "CONFLICT\nconfirm came before cancel",
           "CONFLICT\nconfirm came before cancel");
    expect_rows("01", ROWS("try=try", "confirm=confirm"));
    assert_int_equal(stock(), 4);
}

static void cancel_excludes_confirm(void **state)
{
    (void)state;
    expect("try", "OK\nleft 4", "DUP\nleft 4");
    expect("cancel", "OK\nback 1", "DUP\nback 1");
    expect("confirm", "CONFLICT\ncancel came before confirm",
           "CONFLICT\ncancel came before confirm");
    expect_rows("01", ROWS("try=try", "cancel=cancel"));
    assert_int_equal(stock(), 5);
}

static void cancel_before_try(void **state)
{
    (void)state;
    expect("cancel", "NULL\n", "DUP\n");
    expect("try", "VOID\ncancel came before try", "VOID\ncancel came before try");
    expect("confirm", "CONFLICT\ncancel came before confirm",
           "CONFLICT\ncancel came before confirm");
    expect_rows("01", ROWS("try=cancel", "cancel=cancel"));
    assert_int_equal(stock(), 5);
}

/* ---- how long a record lives ---- */

/* The change of a message: msg_test.c asks for it. */
static void a_change_of_a_message_is_made_once(void **state)
{
    (void)state;
    expect("msg", "OK\nleft 4", "DUP\nleft 4");
    expect_rows("01", ROWS("msg=msg"));
    assert_int_equal(stock(), 4);
}

static void records_live_as_long_as_told(void **state)
{
    (void)state;
    run_op("action");
    test_redis_ask(server, "PEXPIRE {p}:br:g:01 5000");
    run_op("action"); /* changes nothing, so not the end either */
    assert_in_range(strtol(test_redis_ask(server, "PTTL {p}:br:g:01"), NULL, 10), 1, 5000);
    run_op("compensate");
    assert_in_range(strtol(test_redis_ask(server, "PTTL {p}:br:g:01"), NULL, 10), TTL_MS - 60000,
                    TTL_MS);
}

static void an_undo_without_record_may_come_too_late(void **state)
{
    (void)state;
    int64_t now_ms = clock_wall_ms();
    struct call undo = {stock_body, "g", "01", "compensate", "01", now_ms - TTL_MS * 19 / 20};
    for (int i = 0; i < 2; i++) {
        const char *answer = run(undo);
        assert_int_equal(strncmp(answer, "LATE\ncompensate without a record of action", 41), 0);
        assert_string_equal(test_redis_ask(server, "EXISTS {p}:br:g:01"), "0");
    }
    undo.started_ms = now_ms - TTL_MS / 2;
    assert_string_equal(run(undo), "NULL\n");
    undo.branch = "02"; /* with a record lateness does not matter */
    run((struct call){stock_body, "g", "02", "action", "01", 0});
    undo.started_ms = now_ms - 10 * (int64_t)TTL_MS;
    assert_string_equal(run(undo), "OK\nback 1");
    undo.branch = "03"; /* unknown start: as if it were young */
    undo.started_ms = 0;
    assert_string_equal(run(undo), "NULL\n");
}

/* ---- ids ---- */

static void barrier_ids_are_apart(void **state)
{
    (void)state;
    assert_string_equal(run((struct call){stock_body, "g", "01", "action", "01", 0}), "OK\nleft 4");
    assert_string_equal(run((struct call){stock_body, "g", "01", "action", "02", 0}), "OK\nleft 3");
    assert_string_equal(run((struct call){stock_body, "g", "01", "action", "02", 0}),
                        "DUP\nleft 3");
    assert_string_equal(run((struct call){stock_body, "g", "01", "compensate", "02", 0}),
                        "OK\nback 1");
    assert_string_equal(run((struct call){stock_body, "g", "01", "action", "01", 0}),
                        "DUP\nleft 4");
}

static void play_nasty_gids(void)
{
    const char *gids[] = {"{q}", "}{", "a:01", "%d%s[%a+]", "訂單 \"1\" '2' / \\", "}"};
    for (size_t i = 0; i < sizeof(gids) / sizeof(gids[0]); i++) {
        struct call call = {stock_body, gids[i], "01", "action", "01", 0};
        assert_string_equal(run(call), "OK\nleft 4");
        assert_string_equal(run(call), "DUP\nleft 4");
        call.op = "compensate";
        assert_string_equal(run(call), "OK\nback 1");
        assert_string_equal(run(call), "DUP\nback 1");
    }
}

static void any_gid_is_kept_byte_for_byte(void **state)
{
    (void)state;
    play_nasty_gids();
}

/* Braces in a gid must not move the record to another slot (W33). */
static void any_gid_stays_in_the_slot(void **state)
{
    (void)state;
    struct test_redis *single = server;
    server = test_redis_start("cluster-enabled yes\n");
    test_redis_ask(server, "CLUSTER ADDSLOTSRANGE 0 16383");
    int64_t until_ms = clock_mono_ms() + 20000;
    while (!strstr(test_redis_ask(server, "CLUSTER INFO"), "cluster_state:ok")) {
        assert_true(clock_mono_ms() < until_ms);
    }
    test_redis_ask(server, "SET {p}:n 5");
    play_nasty_gids();
    test_redis_stop(server);
    server = single;
}

/* ---- what the body gets and gives ---- */

static const char *run_body(const char *op, const char *body)
{
    return run((struct call){body, "g", "07", op, "01", 0});
}

static void the_body_sees_its_call(void **state)
{
    (void)state;
    const char *body = "return barrier(function(keys, args, undo, tried)\n"
                       "  return ok(table.concat({#keys, keys[1], #args, args[1], gid, branch_id,\n"
                       "    tostring(undo), tostring(tried), type(now_ms)}, ' '), 'J')\n"
                       "end)";
    assert_string_equal(run_body("action", body), "OK\n1 {p}:n 1 1 g 07 nil nil string");
    assert_string_equal(run_body("compensate", body), "OK\n1 {p}:n 1 1 g 07 J nil string");
    assert_string_equal(run_body("try", body), "OK\n1 {p}:n 1 1 g 07 nil nil string");
    assert_string_equal(run_body("confirm", body), "OK\n1 {p}:n 1 1 g 07 nil J string");
}

static void an_undo_without_journal_gets_an_empty_one(void **state)
{
    (void)state;
    const char *body = "return barrier(function(_, _, undo)\n"
                       "  return ok(undo and '[' .. undo .. ']' or nil)\n"
                       "end)";
    assert_string_equal(run_body("action", body), "OK\n");
    assert_string_equal(run_body("compensate", body), "OK\n[]");
}

static void numbers_are_kept_exactly(void **state)
{
    (void)state;
    const char *body = "return barrier(function(_, _, undo)\n"
                       "  if undo then return ok(undo) end\n"
                       "  return ok(9007199254740991, 9007199254740990)\n"
                       "end)";
    assert_string_equal(run_body("action", body), "OK\n9007199254740991");
    assert_string_equal(run_body("action", body), "DUP\n9007199254740991");
    assert_string_equal(run_body("compensate", body), "OK\n9007199254740990");
}

static void what_is_no_text_is_kept_as_one(void **state)
{
    (void)state;
    const char *body = "return barrier(function(_, _, undo)\n"
                       "  if undo then return ok(undo, false) end\n"
                       "  return ok('', true)\n"
                       "end)";
    assert_string_equal(run_body("action", body), "OK\n");
    assert_string_equal(run_body("compensate", body), "OK\ntrue");
    const char *mark = test_redis_ask(server, "HGET {p}:br:g:07 compensate:01");
    assert_true(is_mark(mark, "compensate"));
    assert_string_equal(mark + strlen("compensate|1700000000000|saga|"), "false");
}

static void a_journal_is_any_bytes(void **state)
{
    (void)state;
    static const char *const journals[] = {
        "|",    "||", "compensate|1|saga|", "action|1|saga|x", "a|b\\n|\\0|\\r\\255|", " ",
        "%d()", "7",
    };
    for (size_t i = 0; i < sizeof(journals) / sizeof(journals[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body),
                 "return barrier(function(_, _, undo, tried)\n"
                 "  local journal = '%s'\n"
                 "  local back = undo or tried\n"
                 "  if back then return ok(back == journal and 'same' or 'not ' .. back) end\n"
                 "  return ok('', journal)\n"
                 "end)",
                 journals[i]);
        begin(NULL);
        assert_string_equal(run_body("action", body), "OK\n");
        assert_string_equal(test_redis_ask(server, "HLEN {p}:br:g:07"),
                            "1"); /* one row, one field */
        assert_string_equal(run_body("action", body), "DUP\n");
        assert_string_equal(run_body("compensate", body), "OK\nsame");
        assert_string_equal(run_body("try", body), "OK\n");
        assert_string_equal(run_body("confirm", body), "OK\nsame");
        assert_string_equal(test_redis_ask(server, "HLEN {p}:br:g:07"),
                            "6"); /* 4 rows, 2 replies */
    }
}

/* Taken for nothing, the change of its op would never be undone. */
static void a_damaged_row_is_an_error(void **state)
{
    (void)state;
    static const char *const marks[] = {"action|1700000000000",
                                        "action|1700000000000|saga",
                                        "action||saga|1",
                                        "action",
                                        "",
                                        "|1|saga|1"};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        test_redis_askv(
            server,
            (const char *[]){"HSET", "{p}:br:g:01", "action:01", marks[i], "try:01", marks[i]}, 6);
        static const char *const ops[] = {"compensate", "rollback", "cancel", "confirm"};
        for (size_t j = 0; j < sizeof(ops) / sizeof(ops[0]); j++) {
            assert_non_null(strstr(run_op(ops[j]), "must be op|ms|trans_type|journal"));
        }
        assert_string_equal(test_redis_ask(server, "HLEN {p}:br:g:01"), "2");
        assert_int_equal(stock(), 5);
    }
}

/* ---- the time ---- */

static int64_t redis_now_ms(void)
{
    int64_t seconds = 0, micros = 0;
    assert_int_equal(
        sscanf(test_redis_ask(server, "TIME"), "%" SCNd64 "%" SCNd64, &seconds, &micros), 2);
    return seconds * 1000 + micros / 1000;
}

/* Also in the first tenth of a second, whose microseconds have fewer digits. */
static void now_ms_is_the_time_of_redis(void **state)
{
    (void)state;
    const char *body = "return barrier(function() return fail(now_ms) end)";
    int64_t until_ms = clock_mono_ms() + 20000;
    for (int early = 0; early < 5;) {
        assert_true(clock_mono_ms() < until_ms);
        int64_t before = redis_now_ms();
        int64_t now = 0;
        assert_int_equal(sscanf(run_body("action", body), "FAIL\n%" SCNd64, &now), 1);
        assert_in_range(now, before, redis_now_ms());
        early += now % 1000 < 100;
    }
}

static void a_wrong_body_is_an_error_and_leaves_no_record(void **state)
{
    (void)state;
    static const struct {
        const char *op;
        const char *body;
        const char *part;
    } cases[] = {
        {"action", "return barrier(function() end)", "must return ok(…) or fail(…)"},
        {"action", "return barrier(function() return 'ok' end)", "must return ok(…) or fail(…)"},
        {"action", "return barrier(function() error('my fault') end)", "my fault"},
        {"action", "return barrier(function(keys) return redis.call('LPOP', keys[1]) end)",
         "WRONGTYPE"},
        {"action", "return barrier(function() return redis.error_reply('ERR odd') end)", "ERR odd"},
        {"confirm", "return barrier(function() return fail('no') end)",
         "answers fail(no), but confirm must not fail"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int twice = 0; twice < 2; twice++) {
            assert_non_null(strstr(run_body(cases[i].op, cases[i].body), cases[i].part));
            assert_string_equal(record("g", "07"), "");
        }
    }
    const char *body = "return barrier(function(_, _, undo)\n"
                       "  if undo then return fail('gone') end\n"
                       "  return ok()\n"
                       "end)";
    assert_string_equal(run_body("action", body), "OK\n");
    assert_non_null(
        strstr(run_body("compensate", body), "answers fail(gone), but compensate must not fail"));
    assert_string_equal(test_redis_ask(server, "HEXISTS {p}:br:g:07 compensate:01"), "0");
}

/* ---- wrong KEYS and ARGV ---- */

static void wrong_keys_and_arguments_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *argv[ARGS_MAX]; /* from the number of keys on */
        const char *part;
    } cases[] = {
        {{"0", "saga", "g", "01", "action", "01", "1000", "0"},
         "KEYS[1], the barrier hash, is missing"},
        {{"1", "{p}:br:g:01"}, "ARGV has 0 entries, needs 7"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1000"}, "ARGV has 6 entries"},
        {{"1", "{p}:br:g:01", "", "g", "01", "action", "01", "1000", "0"}, "trans_type, is empty"},
        {{"1", "{p}:br:g:01", "a|b", "g", "01", "action", "01", "1000", "0"},
         "trans_type, is 'a|b', must not have a '|'"},
        {{"1", "{p}:br::01", "saga", "", "01", "action", "01", "1000", "0"}, "gid, is empty"},
        {{"1", "{p}:br:g:", "saga", "g", "", "action", "01", "1000", "0"}, "branch_id, is empty"},
        {{"1", "{p}:br:g:1:2", "saga", "g", "1:2", "action", "01", "1000", "0"},
         "branch_id, is '1:2', must not have a ':'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "Action", "01", "1000", "0"}, "op, is 'Action'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "", "01", "1000", "0"}, "op, is ''"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "actions", "01", "1000", "0"}, "op, is 'actions'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "1", "1000", "0"}, "two digits"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "", "1000", "0"}, "two digits"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "001", "1000", "0"}, "two digits"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "compensate", "0a", "1000", "0"}, "two digits"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "", "0"}, "ttl_ms, is ''"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "0", "0"}, "ttl_ms, is '0'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "-1", "0"}, "ttl_ms, is '-1'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1000 ", "0"},
         "ttl_ms, is '1000 '"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1000000000000000", "0"},
         "ttl_ms, is '1000000000000000'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1e9", "0"}, "ttl_ms, is '1e9'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1000", "-1"},
         "started_ms, is '-1'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "action", "01", "1000", ""}, "started_ms, is ''"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "compensate", "01", "1000", "now"},
         "started_ms, is 'now'"},
        {{"1", "{p}:br:g:01", "saga", "g", "01", "try", "01", "1000", "1000000000000000"},
         "started_ms, is '1000000000000000'"},
        {{"1", "{p}:br:g:02", "saga", "g", "01", "action", "01", "1000", "0"},
         "KEYS[1] is '{p}:br:g:02', must be {tag}:br:g:01"},
        {{"1", "p:br:g:01", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "{}:br:g:01", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "{p}q}:br:g:01", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "x{p}:br:g:01", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "{p}br:g:01", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "{p}:br:g:01:02", "saga", "g", "01", "action", "01", "1000", "0"}, "must be {tag}"},
        {{"1", "", "saga", "g", "01", "action", "01", "1000", "0"}, "KEYS[1] is ''"},
        {{"2", "{p}:br:g:01", "{q}:n", "saga", "g", "01", "action", "01", "1000", "0"},
         "KEYS[2] is '{q}:n', must begin with the tag {p}"},
        {{"3", "{p}:br:g:01", "{p}:n", "x{p}:n", "saga", "g", "01", "action", "01", "1000", "0"},
         "KEYS[3] is 'x{p}:n', must begin with the tag {p}"},
    };
    struct saga_script *script = saga_script_new("stock", stock_body, strlen(stock_body));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *argv[ARGS_MAX + 2] = {"EVAL", saga_script_text(script)};
        size_t argc = 2;
        for (size_t j = 0; cases[i].argv[j]; j++) {
            argv[argc++] = cases[i].argv[j];
        }
        const char *answer = test_redis_askv(server, argv, argc);
        if (strncmp(answer, "ERR gate: ", 10) != 0 || !strstr(answer, cases[i].part)) {
            fail_msg("case %zu: '%s', wanted '%s'", i, answer, cases[i].part);
        }
    }
    assert_string_equal(test_redis_ask(server, "DBSIZE"), "1");
    saga_script_free(script);
}

int main(void)
{
#define GATE_TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        GATE_TEST(action_then_compensate),
        GATE_TEST(what_was_undone_is_no_success_when_it_comes_again),
        GATE_TEST(compensate_before_action),
        GATE_TEST(rollback_undoes_an_action_too),
        GATE_TEST(a_refusal_writes_nothing),
        GATE_TEST(n4_a_repeat_comes_before_the_business_checks),
        GATE_TEST(rows_are_those_of_the_three_flows),
        GATE_TEST(confirm_excludes_cancel),
        GATE_TEST(cancel_excludes_confirm),
        GATE_TEST(cancel_before_try),
        GATE_TEST(a_change_of_a_message_is_made_once),
        GATE_TEST(records_live_as_long_as_told),
        GATE_TEST(an_undo_without_record_may_come_too_late),
        GATE_TEST(barrier_ids_are_apart),
        GATE_TEST(any_gid_is_kept_byte_for_byte),
        GATE_TEST(any_gid_stays_in_the_slot),
        GATE_TEST(the_body_sees_its_call),
        GATE_TEST(an_undo_without_journal_gets_an_empty_one),
        GATE_TEST(numbers_are_kept_exactly),
        GATE_TEST(what_is_no_text_is_kept_as_one),
        GATE_TEST(a_journal_is_any_bytes),
        GATE_TEST(a_damaged_row_is_an_error),
        GATE_TEST(now_ms_is_the_time_of_redis),
        GATE_TEST(a_wrong_body_is_an_error_and_leaves_no_record),
        GATE_TEST(wrong_keys_and_arguments_are_named),
    };
    server = test_redis_start(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_redis_stop(server);
    return failed;
}
