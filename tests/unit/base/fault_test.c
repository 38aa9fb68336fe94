/* Named fault points: each action, at the right pass, once; nothing without the option. */
#include "base/fault.h"

#include "base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef SAGAD_FAULTS

static bool pass(void)
{
    return FAULT("test.here");
}

static bool pass_another(void)
{
    return FAULT("test.there");
}

static void plan(const char *text)
{
    struct reason reason;
    setenv("SAGAD_FAULT", text, 1);
    assert_int_equal(fault_check(&reason), ERR_OK);
    unsetenv("SAGAD_FAULT");
}

static void an_error_comes_at_its_pass_and_once(void **state)
{
    (void)state;
    plan("test.here:error:3");
    for (int i = 1; i <= 6; i++) {
        assert_int_equal(pass(), i == 3);
        assert_false(pass_another());
    }
}

static void a_delay_holds_it_up(void **state)
{
    (void)state;
    plan("test.there:delay");
    int64_t began_ms = clock_mono_ms();
    assert_false(pass());
    assert_true(clock_mono_ms() - began_ms < FAULT_DELAY_MS);
    assert_false(pass_another());
    assert_true(clock_mono_ms() - began_ms >= FAULT_DELAY_MS);
}

static void a_kill_is_a_kill(void **state)
{
    int status = 0;
    (void)state;
    plan("test.here:kill:2");
    pid_t pid = fork();
    if (pid == 0) {
        (void)pass();
        (void)pass();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_wrong_plan_is_refused(void **state)
{
    static const char *const wrong[] = {"test.here",         "test.nowhere:kill", "test.here:maim",
                                        "test.here:kill:0",  "test.here:kill:x",  ":kill",
                                        "test.here:error:-1"};
    struct reason reason;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        setenv("SAGAD_FAULT", wrong[i], 1);
        assert_int_equal(fault_check(&reason), ERR_INVALID);
        assert_non_null(strstr(reason.text, wrong[i]));
        assert_false(pass());
    }
    unsetenv("SAGAD_FAULT");
    assert_int_equal(fault_check(&reason), ERR_OK);
}

static void all_are_listed(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    (void)state;
    fault_list(out);
    fclose(out);
    assert_non_null(strstr(text, "test.here\n"));
    assert_non_null(strstr(text, "test.there\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_comes_at_its_pass_and_once),
        cmocka_unit_test(a_delay_holds_it_up),
        cmocka_unit_test(a_kill_is_a_kill),
        cmocka_unit_test(a_wrong_plan_is_refused),
        cmocka_unit_test(all_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

_Static_assert(!FAULT("test.here"), "a constant, so that the compiler drops what depends on it");

int main(void)
{
    return 0;
}

#endif
