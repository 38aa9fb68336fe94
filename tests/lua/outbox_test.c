/* lua/barrier/outbox.lua on a real Redis, behind the gate and without it. */
#include "harness/test_redis.h"
#include "saga.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct test_redis *server;

/* Takes one piece of keys[1], and says so in a message. */
static const char take_body[] =
    "return barrier(function(keys, args)\n"
    "  local have = tonumber(redis.call('GET', keys[1]))\n"
    "  if have < 1 then return fail('sold out') end\n"
    "  outbox(keys[2], gid .. '-sold', 'tcp://mail/m.Mail/Send', args[1],\n"
    "    'http://127.0.0.1:1/x', '')\n"
    "  redis.call('DECR', keys[1])\n"
    "  return ok()\n"
    "end)\n";

static const char *run_take(const char *gid)
{
    char key[64];
    snprintf(key, sizeof(key), "{p}:br:%s:01", gid);
    struct saga_script *script = saga_script_new_outbox("take", take_body, strlen(take_body));
    const char *argv[] = {"EVAL",  saga_script_text(script),
                          "3",     key,
                          "{p}:n", "{p}:outbox",
                          "saga",  gid,
                          "01",    "action",
                          "01",    "100000",
                          "0",     "pay|load"};
    const char *answer = test_redis_askv(server, argv, sizeof(argv) / sizeof(argv[0]));
    saga_script_free(script);
    return answer;
}

static const char *run_plain(const char *body)
{
    struct saga_script *script = saga_script_new_plain_outbox("plain", body, strlen(body));
    const char *argv[] = {"EVAL", saga_script_text(script), "2", "{p}:n", "{p}:outbox"};
    const char *answer = test_redis_askv(server, argv, sizeof(argv) / sizeof(argv[0]));
    saga_script_free(script);
    return answer;
}

static int begin(void **state)
{
    (void)state;
    test_redis_ask(server, "FLUSHALL");
    test_redis_ask(server, "SET {p}:n 1");
    return 0;
}

static void change_and_message_are_one(void **state)
{
    (void)state;
    assert_string_equal(run_take("g"), "OK\n");
    assert_string_equal(test_redis_ask(server, "GET {p}:n"), "0");
    const char *entry = test_redis_ask(server, "XRANGE {p}:outbox - +");
    assert_non_null(strstr(entry, "\ngid\ng-sold\ntrans_type\nmsg\n"
                                  "01.action\ntcp://mail/m.Mail/Send\n01.payload\npay|load\n"
                                  "02.action\nhttp://127.0.0.1:1/x\n02.payload\n"));
}

static void a_repeat_leaves_no_second_message(void **state)
{
    (void)state;
    assert_string_equal(run_take("g"), "OK\n");
    assert_string_equal(run_take("g"), "DUP\n");
    assert_string_equal(test_redis_ask(server, "XLEN {p}:outbox"), "1");
}

static void a_refused_change_leaves_no_message(void **state)
{
    (void)state;
    test_redis_ask(server, "SET {p}:n 0");
    assert_string_equal(run_take("g"), "FAIL\nsold out");
    assert_string_equal(test_redis_ask(server, "EXISTS {p}:outbox"), "0");
}

static void a_plain_script_may_have_an_outbox(void **state)
{
    (void)state;
    const char *id = run_plain("return outbox(KEYS[2], 'm', 'tcp://a/b.C/D', '')");
    assert_non_null(strchr(id, '-'));
    assert_string_equal(test_redis_ask(server, "XLEN {p}:outbox"), "1");
}

static void options_stand_in_the_entry_in_one_order(void **state)
{
    (void)state;
    run_plain("return outbox(KEYS[2], 'm', {retry_interval_ms = 500, concurrent = true,\n"
              "  delay_ms = 31622400000, request_timeout_ms = 0,\n"
              "  branch_headers = {['X-b'] = 'two', ['X-a'] = ''}}, 'tcp://a/b.C/D', 'p')");
    assert_non_null(strstr(test_redis_ask(server, "XRANGE {p}:outbox - +"),
                           "\ngid\nm\ntrans_type\nmsg\ndelay_ms\n31622400000\n"
                           "request_timeout_ms\n0\nretry_interval_ms\n500\nconcurrent\n1\n"
                           "header:X-a\n\nheader:X-b\ntwo\n01.action\ntcp://a/b.C/D\n"
                           "01.payload\np"));
}

static void no_options_leave_the_entry_as_it_was(void **state)
{
    (void)state;
    static const char *const options[] = {"", "{}, ", "{concurrent = false}, "};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        char body[200];
        snprintf(body, sizeof(body), "return outbox(KEYS[2], 'm', %s'topic://paid', 'p')",
                 options[i]);
        test_redis_ask(server, "DEL {p}:outbox");
        run_plain(body);
        assert_non_null(strstr(test_redis_ask(server, "XRANGE {p}:outbox - +"),
                               "\ngid\nm\ntrans_type\nmsg\n01.action\ntopic://paid\n"
                               "01.payload\np"));
    }
}

static void the_largest_entry_can_be_written(void **state)
{
    (void)state;
    const char *id = run_plain(
        "local headers, steps = {}, {}\n"
        "for i = 1, 32 do headers['h' .. i] = 'v' end\n"
        "for i = 1, 200, 2 do steps[i] = 'tcp://a/b.C/D' steps[i + 1] = '' end\n"
        "return outbox(KEYS[2], 'm', {branch_headers = headers, delay_ms = 1, concurrent = true,\n"
        "  retry_interval_ms = 1, request_timeout_ms = 1}, unpack(steps))");
    assert_non_null(strchr(id, '-'));
}

static void wrong_arguments_are_named_and_nothing_is_written(void **state)
{
    (void)state;
    static const struct {
        const char *call, *part;
    } cases[] = {
        {"outbox('{p}:other', 'm', 'tcp://a/b', '')", "stream '{p}:other' is none of the KEYS"},
        {"outbox(nil, 'm', 'tcp://a/b', '')", "stream 'nil' is none of the KEYS"},
        {"outbox(KEYS[2])", "gid must be a text"},
        {"outbox(KEYS[2], '', 'tcp://a/b', '')", "gid must be a text"},
        {"outbox(KEYS[2], 7, 'tcp://a/b', '')", "gid must be a text"},
        {"outbox(KEYS[2], 'a\\nb', 'tcp://a/b', '')", "without control characters"},
        {"outbox(KEYS[2], string.rep('x', 129), 'tcp://a/b', '')", "1 to 128 characters"},
        {"outbox(KEYS[2], 'm')", "1 to 100 pairs"},
        {"outbox(KEYS[2], 'm', 'tcp://a/b')", "1 to 100 pairs"},
        {"outbox(KEYS[2], 'm', '', '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', nil, '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', 'tcp://a/b', '', 'c', '')", "02.action must be a url"},
        {"outbox(KEYS[2], 'm', 'tcp://a/b', nil)", "01.payload must be a text"},
        {"outbox(KEYS[2], 'm', 'tcp://a/b', string.rep('x', 262145))", "at most 256 KB"},
        {"outbox(KEYS[2], 'm', 'topic://', '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', 'topic://a/b', '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', 'topic://a b', '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', {})", "1 to 100 pairs"},
        {"outbox(KEYS[2], 'm', {}, 'tcp://a/b')", "1 to 100 pairs"},
        {"outbox(KEYS[2], 'm', {}, {}, '')", "01.action must be a url"},
        {"outbox(KEYS[2], 'm', {delay = 1}, 'tcp://a/b', '')", "option 'delay' is unknown"},
        {"outbox(KEYS[2], 'm', {'x'}, 'tcp://a/b', '')", "option '1' is unknown"},
        {"outbox(KEYS[2], 'm', {delay_ms = '1'}, 'tcp://a/b', '')", "delay_ms must be a whole"},
        {"outbox(KEYS[2], 'm', {delay_ms = false}, 'tcp://a/b', '')", "delay_ms must be a whole"},
        {"outbox(KEYS[2], 'm', {delay_ms = 1.5}, 'tcp://a/b', '')", "delay_ms must be a whole"},
        {"outbox(KEYS[2], 'm', {delay_ms = 0/0}, 'tcp://a/b', '')", "delay_ms must be a whole"},
        {"outbox(KEYS[2], 'm', {request_timeout_ms = -1}, 'tcp://a/b', '')",
         "request_timeout_ms must be a whole"},
        {"outbox(KEYS[2], 'm', {retry_interval_ms = 31622400001}, 'tcp://a/b', '')",
         "retry_interval_ms must be a whole number from 0 to 31622400000"},
        {"outbox(KEYS[2], 'm', {concurrent = 1}, 'tcp://a/b', '')", "must be true or false"},
        {"outbox(KEYS[2], 'm', {branch_headers = 'a'}, 'tcp://a/b', '')", "a table of texts"},
        {"outbox(KEYS[2], 'm', {branch_headers = {'a'}}, 'tcp://a/b', '')", "name '1' must be"},
        {"outbox(KEYS[2], 'm', {branch_headers = {['a:'] = ''}}, 'tcp://a/b', '')",
         "name 'a:' must be"},
        {"outbox(KEYS[2], 'm', {branch_headers = {a = 1}}, 'tcp://a/b', '')", "value of 'a'"},
        {"outbox(KEYS[2], 'm', {branch_headers = {a = 'x\\ny'}}, 'tcp://a/b', '')", "value of 'a'"},
        {"local h = {} for i = 1, 33 do h['h' .. i] = '' end\n"
         "outbox(KEYS[2], 'm', {branch_headers = h}, 'tcp://a/b', '')",
         "more than 32 entries"},
        {"local a = {} for i = 1, 10, 2 do a[i] = 'tcp://a/b' a[i + 1] = string.rep('x', 262144) "
         "end outbox(KEYS[2], 'm', unpack(a))",
         "must not exceed 1 MB"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *answer = run_plain(cases[i].call);
        if (strncmp(answer, "ERR outbox: ", 12) != 0 || !strstr(answer, cases[i].part)) {
            fail_msg("case %zu: '%s', wanted '%s'", i, answer, cases[i].part);
        }
        assert_string_equal(test_redis_ask(server, "EXISTS {p}:outbox"), "0");
    }
}

static void a_gid_counts_in_characters(void **state)
{
    (void)state;
    assert_non_null(strchr(
        run_plain("return outbox(KEYS[2], string.rep('\\195\\188', 128), 'tcp://a/b', '')"), '-'));
    assert_non_null(
        strstr(run_plain("return outbox(KEYS[2], string.rep('\\195\\188', 129), 'tcp://a/b', '')"),
               "1 to 128 characters"));
}

int main(void)
{
#define OUTBOX_TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(change_and_message_are_one),
        OUTBOX_TEST(a_repeat_leaves_no_second_message),
        OUTBOX_TEST(a_refused_change_leaves_no_message),
        OUTBOX_TEST(a_plain_script_may_have_an_outbox),
        OUTBOX_TEST(options_stand_in_the_entry_in_one_order),
        OUTBOX_TEST(no_options_leave_the_entry_as_it_was),
        OUTBOX_TEST(the_largest_entry_can_be_written),
        OUTBOX_TEST(wrong_arguments_are_named_and_nothing_is_written),
        OUTBOX_TEST(a_gid_counts_in_characters),
    };
    server = test_redis_start(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_redis_stop(server);
    return failed;
}
