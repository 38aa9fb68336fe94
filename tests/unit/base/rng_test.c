#include "base/rng.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_gid_is_22_letters_and_digits(void **state)
{
    (void)state;
    int seen[128] = {0};
    for (int i = 0; i < 5000; i++) {
        char gid[GID_TEXT_SIZE];
        assert_ptr_equal(rng_gid(gid), gid);
        assert_int_equal(strlen(gid), 22);
        for (int k = 0; k < 22; k++) {
            assert_true(isalnum((unsigned char)gid[k]));
            seen[(unsigned char)gid[k]]++;
        }
    }
    /* 110 000 draws, 62 digits: 1774 each; one that is off by a quarter is no accident. */
    for (int c = 0; c < 128; c++) {
        if (isalnum(c)) {
            assert_in_range(seen[c], 1774 * 3 / 4, 1774 * 5 / 4);
        }
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void gids_are_unique(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    char(*gids)[GID_TEXT_SIZE] = malloc((size_t)COUNT * GID_TEXT_SIZE);
    assert_non_null(gids);
    for (int i = 0; i < COUNT; i++) {
        rng_gid(gids[i]);
    }
    qsort(gids, COUNT, GID_TEXT_SIZE, compare);
    for (int i = 1; i < COUNT; i++) {
        assert_string_not_equal(gids[i - 1], gids[i]);
    }
    free(gids);
}

static void a_seed_gives_its_sequence_again(void **state)
{
    (void)state;
    struct rng a;
    struct rng b;
    struct rng c;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = rng_next(&a);
        assert_true(value == rng_next(&b));
        same += value == rng_next(&c);
    }
    assert_int_equal(same, 0);
}

static void numbers_stay_below_the_bound_and_reach_all_of_it(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    assert_int_equal(rng_below(&rng, 1), 0);
    int seen[7] = {0};
    for (int i = 0; i < 7000; i++) {
        uint64_t value = rng_below(&rng, 7);
        assert_true(value < 7);
        seen[value]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(seen[i], 800, 1200);
    }
    assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

static void secrets_and_system_seeds_differ_each_time(void **state)
{
    (void)state;
    unsigned char a[32] = {0};
    unsigned char b[32] = {0};
    rng_secret(a, sizeof(a));
    rng_secret(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    struct rng x;
    struct rng y;
    rng_seed_system(&x);
    rng_seed_system(&y);
    assert_true(rng_next(&x) != rng_next(&y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gid_is_22_letters_and_digits),
        cmocka_unit_test(gids_are_unique),
        cmocka_unit_test(a_seed_gives_its_sequence_again),
        cmocka_unit_test(numbers_stay_below_the_bound_and_reach_all_of_it),
        cmocka_unit_test(secrets_and_system_seeds_differ_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
