/* Picking an instance and resting failing ones, as tables. */
#include "coordinator/balancer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 10000 };

static const struct breaker healthy = {0};
static const struct breaker resting = {.rest_ms = 100, .rests_until_ms = NOW + 50};
static const struct breaker rests_longer = {.rest_ms = 400, .rests_until_ms = NOW + 300};
static const struct breaker probe_due = {.rest_ms = 100, .rests_until_ms = NOW};
static const struct breaker quiet = {.open = 1, .quiet_since_ms = NOW - BREAKER_QUIET_MS - 1};
static const struct breaker not_yet_quiet = {.open = 1, .quiet_since_ms = NOW - BREAKER_QUIET_MS};
static const struct breaker probing = {.rest_ms = 100, .rests_until_ms = NOW - 5, .probing = true};

static void test_pick(void **state)
{
    static const struct {
        const char *what;
        struct balancer_peer peers[3];
        size_t count;
        unsigned turn;
        int picked;
    } cases[] = {
        {"nobody", {{0}}, 0, 0, -1},
        {"the only one", {{NULL, 7, false}}, 1, 0, 0},
        {"least load", {{NULL, 3, false}, {NULL, 1, false}, {NULL, 2, false}}, 3, 0, 1},
        {"never called counts as idle", {{&healthy, 1, false}, {NULL, 0, false}}, 2, 0, 1},
        {"ties: turn 0", {{NULL, 1, false}, {NULL, 1, false}, {NULL, 1, false}}, 3, 0, 0},
        {"ties: turn 1", {{NULL, 1, false}, {NULL, 1, false}, {NULL, 1, false}}, 3, 1, 1},
        {"ties: turn wraps", {{NULL, 1, false}, {NULL, 1, false}, {NULL, 1, false}}, 3, 5, 2},
        {"a resting one is passed over", {{&resting, 0, false}, {NULL, 99, false}}, 2, 0, 1},
        {"a probe on its way is enough", {{&probing, 0, false}, {NULL, 99, false}}, 2, 0, 1},
        {"a probe that is due goes first", {{NULL, 0, false}, {&probe_due, 5, false}}, 2, 0, 1},
        {"a quiet one is passed over", {{&quiet, 1, false}, {NULL, 99, false}}, 2, 0, 1},
        {"the same, in the other order", {{NULL, 99, false}, {&quiet, 1, false}}, 2, 0, 0},
        {"it may be quiet for a while", {{&not_yet_quiet, 1, false}, {NULL, 99, false}}, 2, 0, 0},
        {"all are quiet: least load", {{&quiet, 3, false}, {&quiet, 2, false}}, 2, 0, 1},
        {"a quiet one before a resting one", {{&quiet, 3, false}, {&resting, 0, false}}, 2, 0, 0},
        {"a tried one is passed over", {{NULL, 0, true}, {NULL, 9, false}}, 2, 0, 1},
        {"a tried one is not probed", {{&probe_due, 0, true}, {NULL, 9, false}}, 2, 0, 1},
        {"all rest: who wakes first", {{&rests_longer, 0, false}, {&resting, 9, false}}, 2, 0, 1},
        {"the only one rests", {{&resting, 0, false}}, 1, 0, 0},
        {"all others rest, one was tried", {{NULL, 0, true}, {&resting, 0, false}}, 2, 0, -1},
        {"all tried", {{NULL, 0, true}, {NULL, 0, true}}, 2, 0, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned turn = cases[i].turn;
        int picked = balancer_pick(cases[i].peers, cases[i].count, NOW, &turn);
        if (picked != cases[i].picked) {
            fail_msg("%s: picked %d", cases[i].what, picked);
        }
        assert_int_equal(turn, picked < 0 ? cases[i].turn : (unsigned)picked + 1);
    }
}

static void test_equal_ones_take_turns(void **state)
{
    const struct balancer_peer peers[3] = {{0}};
    int count[3] = {0};
    unsigned turn = 0;
    (void)state;
    for (int i = 0; i < 300; i++) {
        count[balancer_pick(peers, 3, NOW, &turn)]++;
    }
    assert_int_equal(count[0], 100);
    assert_int_equal(count[1], 100);
    assert_int_equal(count[2], 100);
}

/* Each piece of news on each state: whether a rest begins, and the state afterwards. */
static const struct {
    const char *what;
    struct breaker before;
    enum breaker_news news;
    bool probe, begins;
    int64_t rest_ms;
    bool probing;
    int doubts;
} news_cases[] = {
    {"good", {.doubts = 3}, BREAKER_GOOD, false, false, 0, false, 0},
    {"good ends a rest",
     {.rest_ms = 400, .rests_until_ms = NOW + 9},
     BREAKER_GOOD,
     false,
     false,
     0,
     false,
     0},
    {"good probe",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_GOOD,
     true,
     false,
     0,
     false,
     0},
    {"neutral", {.doubts = 3}, BREAKER_NEUTRAL, false, false, 0, false, 3},
    {"neutral probe",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_NEUTRAL,
     true,
     false,
     400,
     false,
     0},
    {"neutral beside the probe",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_NEUTRAL,
     false,
     false,
     400,
     true,
     0},
    {"first doubt", {0}, BREAKER_DOUBTFUL, false, false, 0, false, 1},
    {"last doubt", {.doubts = 4}, BREAKER_DOUBTFUL, false, true, 100, false, 5},
    {"doubtful probe",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_DOUBTFUL,
     true,
     true,
     800,
     false,
     0},
    {"old doubt",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_DOUBTFUL,
     false,
     false,
     400,
     true,
     0},
    {"dead", {0}, BREAKER_DEAD, false, true, 100, false, 0},
    {"dead while resting",
     {.rest_ms = 400, .rests_until_ms = NOW + 9},
     BREAKER_DEAD,
     false,
     false,
     400,
     false,
     0},
    {"dead probe",
     {.rest_ms = 400, .rests_until_ms = NOW, .probing = true},
     BREAKER_DEAD,
     true,
     true,
     800,
     false,
     0},
    {"rests are bounded",
     {.rest_ms = 4000, .rests_until_ms = NOW, .probing = true},
     BREAKER_DEAD,
     true,
     true,
     5000,
     false,
     0},
};

static void test_news(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(news_cases) / sizeof(news_cases[0]); i++) {
        struct breaker breaker = news_cases[i].before;
        struct breaker_call call = {.probe = news_cases[i].probe, .began_ms = NOW - 1};
        breaker.open = 1;
        bool begins = breaker_report(&breaker, news_cases[i].news, call, NOW, 0);
        if (begins != news_cases[i].begins || breaker.rest_ms != news_cases[i].rest_ms ||
            breaker.probing != news_cases[i].probing || breaker.doubts != news_cases[i].doubts) {
            fail_msg("%s: %d %d %d %d", news_cases[i].what, begins, (int)breaker.rest_ms,
                     breaker.probing, breaker.doubts);
        }
        if (begins) {
            assert_int_equal(breaker.rests_until_ms, NOW + breaker.rest_ms);
        }
    }
}

/* Sends a call and ends it at once. */
static bool one_call(struct breaker *breaker, enum breaker_news news, int64_t now_ms)
{
    return breaker_report(breaker, news, breaker_call_begins(breaker, now_ms), now_ms, 0);
}

static void test_one_probe_at_a_time(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    struct breaker_call call = breaker_call_begins(&breaker, NOW);
    assert_false(call.probe); /* healthy: a call like any other */
    assert_true(breaker_report(&breaker, BREAKER_DEAD, call, NOW, 0));
    assert_true(breaker_is_resting(&breaker, NOW + 99));
    assert_false(breaker_call_begins(&breaker, NOW + 99).probe); /* sent for want of another */
    assert_false(breaker_is_resting(&breaker, NOW + 100));
    call = breaker_call_begins(&breaker, NOW + 100);
    assert_true(call.probe);
    assert_true(breaker_is_resting(&breaker, NOW + 101));
    assert_false(breaker_call_begins(&breaker, NOW + 101).probe);
    assert_true(breaker_report(&breaker, BREAKER_DEAD, call, NOW + 110, 0));
    assert_true(breaker_is_resting(&breaker, NOW + 309));
    assert_false(one_call(&breaker, BREAKER_GOOD, NOW + 310));
    assert_false(breaker_is_resting(&breaker, NOW + 311));
}

static void test_rests_have_jitter(void **state)
{
    (void)state;
    for (uint64_t random = 0; random < 1000; random += 7) {
        struct breaker breaker = {.rest_ms = 400};
        struct breaker_call probe = {.probe = true};
        assert_true(breaker_report(&breaker, BREAKER_DEAD, probe, NOW, random));
        assert_int_equal(breaker.rest_ms, 800);
        assert_in_range(breaker.rests_until_ms, NOW + 600, NOW + 800);
    }
    struct breaker breaker = {.rest_ms = 400};
    breaker_report(&breaker, BREAKER_DEAD, (struct breaker_call){.probe = true}, NOW, 50);
    assert_int_equal(breaker.rests_until_ms, NOW + 750);
}

static void test_an_instance_that_answers_nothing_rests_after_one_deadline(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    struct breaker_call first = breaker_call_begins(&breaker, NOW);
    struct breaker_call second = breaker_call_begins(&breaker, NOW + 10);
    assert_false(breaker_is_quiet(&breaker, NOW + BREAKER_QUIET_MS));
    assert_true(breaker_is_quiet(&breaker, NOW + BREAKER_QUIET_MS + 1));
    assert_true(breaker_report(&breaker, BREAKER_SILENT, first, NOW + 3000, 0));
    assert_false(breaker_report(&breaker, BREAKER_SILENT, second, NOW + 3010, 0)); /* an old one */
    assert_true(breaker_is_quiet(&breaker, NOW + 3011)); /* although no call is open */
    assert_int_equal(breaker.rest_ms, BREAKER_REST_FIRST_MS);
    one_call(&breaker, BREAKER_GOOD, NOW + 3100);
    assert_false(breaker_is_quiet(&breaker, NOW + 9000));
    assert_int_equal(breaker.rest_ms, 0);
}

static void test_one_long_call_among_others_is_no_silence(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    struct breaker_call longest = breaker_call_begins(&breaker, NOW);
    one_call(&breaker, BREAKER_GOOD, NOW + 400);
    assert_false(breaker_is_quiet(&breaker, NOW + 400 + BREAKER_QUIET_MS));
    assert_false(breaker_report(&breaker, BREAKER_SILENT, longest, NOW + 3000, 0));
    assert_int_equal(breaker.doubts, 1);
    one_call(&breaker, BREAKER_GOOD, NOW + 3001);
    assert_int_equal(breaker.doubts, 0);
}

static void test_what_was_not_sent_is_no_silence(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    one_call(&breaker, BREAKER_NEUTRAL, NOW);
    assert_false(breaker_is_quiet(&breaker, NOW + 9000));
    one_call(&breaker, BREAKER_DEAD, NOW);
    assert_false(breaker_is_quiet(&breaker, NOW + 9000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_equal_ones_take_turns),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_one_probe_at_a_time),
        cmocka_unit_test(test_rests_have_jitter),
        cmocka_unit_test(test_an_instance_that_answers_nothing_rests_after_one_deadline),
        cmocka_unit_test(test_one_long_call_among_others_is_no_silence),
        cmocka_unit_test(test_what_was_not_sent_is_no_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
