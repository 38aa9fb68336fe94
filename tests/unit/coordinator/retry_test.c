#include "coordinator/retry.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_delays_double_up_to_the_cap(void **state)
{
    static const struct {
        int64_t base_ms, max_ms, attempts, exact_ms;
    } cases[] = {
        {1000, 60000, 0, 1000},
        {1000, 60000, 1, 2000},
        {1000, 60000, 5, 32000},
        {1000, 60000, 6, 60000},
        {1000, 60000, 7, 60000},
        {1000, 60000, 1000000, 60000},
        {1000, 60000, INT64_MAX, 60000},
        {3, INT64_MAX, INT64_MAX, INT64_MAX},
        {INT64_MAX, 60000, 3, INT64_MAX},
        {90000, 60000, 0, 90000}, /* the client asked for more than the cap */
        {90000, 60000, 4, 90000},
        {0, 60000, 0, 1},
        {-5, 0, 9, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        /* Random 0 takes nothing off. */
        assert_int_equal(retry_delay_ms(cases[i].base_ms, cases[i].max_ms, cases[i].attempts, 0),
                         cases[i].exact_ms);
    }
}

static void test_jitter_takes_off_at_most_a_quarter(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t ms = retry_delay_ms(1000, 60000, 2, rng_next(&rng));
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_in_range(least, 3000, 3010);
    assert_in_range(most, 3990, 4000);
}

static void test_the_same_random_number_gives_the_same_delay(void **state)
{
    (void)state;
    assert_int_equal(retry_delay_ms(1000, 60000, 3, 12345), retry_delay_ms(1000, 60000, 3, 12345));
    assert_true(retry_delay_ms(1, 1, 0, UINT64_MAX) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays_double_up_to_the_cap),
        cmocka_unit_test(test_jitter_takes_off_at_most_a_quarter),
        cmocka_unit_test(test_the_same_random_number_gives_the_same_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
