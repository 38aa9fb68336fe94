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
static void test_news(void **state)
{
    static const struct {
        const char *what;
        struct breaker before;
        enum breaker_news news;
        bool probe, begins;
        int64_t rest_ms;
        bool probing;
        int doubts;
    } cases[] = {
        {"good", {.doubts = 3}, BREAKER_GOOD, false, false, 0, false, 0},
        {"good ends a rest", {0, 400, NOW + 9, false}, BREAKER_GOOD, false, false, 0, false, 0},
        {"good probe", {0, 400, NOW, true}, BREAKER_GOOD, true, false, 0, false, 0},
        {"neutral", {.doubts = 3}, BREAKER_NEUTRAL, false, false, 0, false, 3},
        {"neutral probe", {0, 400, NOW, true}, BREAKER_NEUTRAL, true, false, 400, false, 0},
        {"neutral beside the probe",
         {0, 400, NOW, true},
         BREAKER_NEUTRAL,
         false,
         false,
         400,
         true,
         0},
        {"first doubt", {0}, BREAKER_DOUBTFUL, false, false, 0, false, 1},
        {"last doubt", {.doubts = 4}, BREAKER_DOUBTFUL, false, true, 100, false, 5},
        {"doubtful probe", {0, 400, NOW, true}, BREAKER_DOUBTFUL, true, true, 800, false, 0},
        {"old doubt", {0, 400, NOW, true}, BREAKER_DOUBTFUL, false, false, 400, true, 0},
        {"dead", {0}, BREAKER_DEAD, false, true, 100, false, 0},
        {"dead while resting", {0, 400, NOW + 9, false}, BREAKER_DEAD, false, false, 400, false, 0},
        {"dead probe", {0, 400, NOW, true}, BREAKER_DEAD, true, true, 800, false, 0},
        {"rests are bounded", {0, 4000, NOW, true}, BREAKER_DEAD, true, true, 5000, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct breaker breaker = cases[i].before;
        bool begins = breaker_report(&breaker, cases[i].news, cases[i].probe, NOW);
        if (begins != cases[i].begins || breaker.rest_ms != cases[i].rest_ms ||
            breaker.probing != cases[i].probing || breaker.doubts != cases[i].doubts) {
            fail_msg("%s: %d %d %d %d", cases[i].what, begins, (int)breaker.rest_ms,
                     breaker.probing, breaker.doubts);
        }
        if (begins) {
            assert_int_equal(breaker.rests_until_ms, NOW + breaker.rest_ms);
        }
    }
}

static void test_one_probe_at_a_time(void **state)
{
    struct breaker breaker = {0};
    (void)state;
    assert_false(breaker_call_begins(&breaker, NOW)); /* healthy: a call like any other */
    assert_true(breaker_report(&breaker, BREAKER_DEAD, false, NOW));
    assert_true(breaker_is_resting(&breaker, NOW + 99));
    assert_false(breaker_call_begins(&breaker, NOW + 99)); /* sent for want of another */
    assert_false(breaker_is_resting(&breaker, NOW + 100));
    assert_true(breaker_call_begins(&breaker, NOW + 100));
    assert_true(breaker_is_resting(&breaker, NOW + 101));
    assert_false(breaker_call_begins(&breaker, NOW + 101));
    assert_true(breaker_report(&breaker, BREAKER_DEAD, true, NOW + 110));
    assert_true(breaker_is_resting(&breaker, NOW + 309));
    assert_true(breaker_call_begins(&breaker, NOW + 310));
    assert_false(breaker_report(&breaker, BREAKER_GOOD, true, NOW + 311));
    assert_false(breaker_is_resting(&breaker, NOW + 311));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_equal_ones_take_turns),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_one_probe_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
