#include "base/clock.h"
#include "net/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct loop *loop;
static char trace[64]; /* one letter for everything that ran, in order */

static void note(char letter)
{
    size_t n = strlen(trace);
    assert_true(n + 1 < sizeof(trace));
    trace[n] = letter;
    trace[n + 1] = '\0';
}

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    trace[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void turn_until_traced(size_t count)
{
    int64_t deadline = clock_mono_ms() + 10000;
    while (strlen(trace) < count) {
        assert_true(clock_mono_ms() < deadline);
        loop_turn(loop, 100);
    }
}

struct probe {
    char letter;
    struct loop_task task;
    struct loop_timer timer;
    int64_t due_ms;
    struct probe *then; /* deferred by the run of this one */
};

static void probe_run(void *arg)
{
    struct probe *probe = arg;
    note(probe->letter);
    if (probe->then) {
        loop_defer(loop, &probe->then->task, probe_run, probe->then);
    }
}

static void probe_fire(void *arg)
{
    struct probe *probe = arg;
    assert_true(loop_now_ms(loop) >= probe->due_ms);
    assert_false(loop_timer_is_armed(&probe->timer));
    note(probe->letter);
}

static void timer_start(struct probe *probe, char letter, int64_t in_ms)
{
    probe->letter = letter;
    probe->due_ms = loop_now_ms(loop) + in_ms;
    loop_timer_init(&probe->timer, loop, probe_fire, probe);
    loop_timer_set(&probe->timer, probe->due_ms);
}

static void timers_fire_in_order_and_never_early(void **state)
{
    (void)state;
    struct probe probes[3] = {{0}};
    timer_start(&probes[0], 'c', 45);
    timer_start(&probes[1], 'a', 5);
    timer_start(&probes[2], 'b', 25);
    turn_until_traced(3);
    assert_string_equal(trace, "abc");
}

static void a_timer_of_the_past_fires_in_the_next_turn(void **state)
{
    (void)state;
    struct probe probe = {0};
    timer_start(&probe, 'a', -1000);
    assert_string_equal(trace, "");
    turn_until_traced(1);
    assert_false(loop_timer_is_armed(&probe.timer));
}

static void a_timer_can_be_moved_and_cleared(void **state)
{
    (void)state;
    struct probe probes[3] = {{0}};
    timer_start(&probes[0], 'x', 1);
    timer_start(&probes[1], 'b', 1);
    timer_start(&probes[2], 'a', 10);
    probes[1].due_ms += 40;
    loop_timer_set(&probes[1].timer, probes[1].due_ms);
    assert_true(loop_timer_is_armed(&probes[0].timer));
    loop_timer_clear(&probes[0].timer);
    assert_false(loop_timer_is_armed(&probes[0].timer));
    turn_until_traced(2);
    assert_string_equal(trace, "ab");
}

static void what_is_deferred_twice_runs_once(void **state)
{
    (void)state;
    struct probe a = {.letter = 'a'};
    loop_defer(loop, &a.task, probe_run, &a);
    loop_defer(loop, &a.task, probe_run, &a);
    assert_true(loop_is_deferred(&a.task));
    assert_string_equal(trace, "");
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_string_equal(trace, "a");
    assert_false(loop_is_deferred(&a.task));
}

static void work_deferred_by_work_runs_in_the_same_turn(void **state)
{
    (void)state;
    struct probe c = {.letter = 'c'};
    struct probe b = {.letter = 'b', .then = &c};
    struct probe a = {.letter = 'a', .then = &b};
    loop_defer(loop, &a.task, probe_run, &a);
    loop_turn(loop, 0);
    assert_string_equal(trace, "abc");
}

static void last_work_runs_after_all_other_work(void **state)
{
    (void)state;
    struct probe late = {.letter = 'z'};
    struct probe b = {.letter = 'b'};
    struct probe a = {.letter = 'a', .then = &b};
    loop_defer_last(loop, &late.task, probe_run, &late);
    loop_defer(loop, &a.task, probe_run, &a);
    loop_turn(loop, 0);
    assert_string_equal(trace, "abz");
}

static void forgotten_work_does_not_run(void **state)
{
    (void)state;
    struct probe a = {.letter = 'a'};
    struct probe b = {.letter = 'b'};
    struct probe c = {.letter = 'c'};
    loop_defer(loop, &a.task, probe_run, &a);
    loop_defer(loop, &b.task, probe_run, &b);
    loop_defer_last(loop, &c.task, probe_run, &c);
    loop_undefer(loop, &a.task);
    loop_undefer(loop, &c.task);
    loop_undefer(loop, &c.task);
    loop_turn(loop, 0);
    assert_string_equal(trace, "b");
}

static void defer_again(void *arg)
{
    loop_defer(loop, arg, defer_again, arg);
}

static void work_that_never_ends_does_not_starve_timers(void **state)
{
    (void)state;
    struct loop_task again = {0};
    struct probe timer = {0};
    timer_start(&timer, 't', 3);
    loop_defer(loop, &again, defer_again, &again);
    turn_until_traced(1);
    loop_undefer(loop, &again);
}

static void free_and_note(void *ptr)
{
    free(ptr);
    note('f');
}

static void memory_goes_after_the_deferred_work(void **state)
{
    (void)state;
    struct probe b = {.letter = 'b'};
    struct probe a = {.letter = 'a', .then = &b};
    loop_defer_free(loop, malloc(1), free_and_note);
    loop_defer(loop, &a.task, probe_run, &a);
    loop_turn(loop, 0);
    assert_string_equal(trace, "abf");
}

static void settling_runs_what_is_deferred_and_no_timer(void **state)
{
    (void)state;
    struct probe timer = {0};
    struct probe b = {.letter = 'b'};
    struct probe a = {.letter = 'a', .then = &b};
    timer_start(&timer, 't', 0);
    loop_defer_free(loop, malloc(1), free_and_note);
    loop_defer(loop, &a.task, probe_run, &a);
    loop_settle(loop);
    assert_string_equal(trace, "abf");
    turn_until_traced(4);
    assert_string_equal(trace, "abft");
}

static void stop_in_work(void *arg)
{
    struct probe *after = arg;
    loop_stop(loop);
    loop_defer(loop, &after->task, probe_run, after);
    note('s');
}

static void stop_lets_the_turn_end(void **state)
{
    (void)state;
    struct probe after = {.letter = 'a'};
    struct loop_task task = {0};
    loop_defer(loop, &task, stop_in_work, &after);
    loop_run(loop);
    assert_string_equal(trace, "sa");
}

static void spin_and_compare(void *arg)
{
    (void)arg;
    int64_t before = loop_now_us(loop);
    int64_t real = clock_mono_us();
    while (clock_mono_us() < real + 3000) {
    }
    assert_int_equal(loop_now_us(loop), before);
    assert_int_equal(loop_now_ms(loop), before / 1000);
    note('t');
}

static void time_stands_still_within_a_turn(void **state)
{
    (void)state;
    struct loop_task task = {0};
    loop_defer(loop, &task, spin_and_compare, NULL);
    int64_t start = loop_now_us(loop);
    loop_turn(loop, 0);
    assert_string_equal(trace, "t");
    assert_true(loop_now_us(loop) >= start + 3000);
}

static void on_usr1(void *arg)
{
    note(*(char *)arg);
}

static void a_signal_runs_its_callback_in_the_loop(void **state)
{
    (void)state;
    char letter = 's';
    loop_on_signal(loop, SIGUSR1, on_usr1, &letter);
    raise(SIGUSR1);
    assert_string_equal(trace, "");
    turn_until_traced(1);
    raise(SIGUSR1);
    turn_until_traced(2);
    assert_string_equal(trace, "ss");
}

static void sigpipe_is_ignored(void **state)
{
    (void)state;
    raise(SIGPIPE); /* would end the test */
    struct sigaction action;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_IGN);
}

static void an_empty_turn_waits_as_long_as_it_may_and_no_longer(void **state)
{
    (void)state;
    int64_t start = clock_mono_ms();
    loop_turn(loop, 30);
    int64_t waited = clock_mono_ms() - start;
    assert_true(waited >= 20 && waited < 5000); /* libevent's clock is coarse */
    start = clock_mono_ms();
    loop_turn(loop, 0);
    assert_true(clock_mono_ms() - start < 5000);
}

static void freeing_a_loop_does_what_is_left(void **state)
{
    (void)state;
    struct loop *other = loop_new();
    struct probe a = {.letter = 'a'};
    struct probe z = {.letter = 'z'};
    loop_at_free(other, &z.task, probe_run, &z);
    loop_defer(other, &a.task, probe_run, &a);
    loop_defer_free(other, malloc(1), free_and_note);
    loop_free(other);
    assert_string_equal(trace, "afz");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timers_fire_in_order_and_never_early),
        TEST(a_timer_of_the_past_fires_in_the_next_turn),
        TEST(a_timer_can_be_moved_and_cleared),
        TEST(what_is_deferred_twice_runs_once),
        TEST(work_deferred_by_work_runs_in_the_same_turn),
        TEST(last_work_runs_after_all_other_work),
        TEST(forgotten_work_does_not_run),
        TEST(work_that_never_ends_does_not_starve_timers),
        TEST(memory_goes_after_the_deferred_work),
        TEST(settling_runs_what_is_deferred_and_no_timer),
        TEST(stop_lets_the_turn_end),
        TEST(time_stands_still_within_a_turn),
        TEST(a_signal_runs_its_callback_in_the_loop),
        TEST(sigpipe_is_ignored),
        TEST(an_empty_turn_waits_as_long_as_it_may_and_no_longer),
        TEST(freeing_a_loop_does_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
