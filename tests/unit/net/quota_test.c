#include "net/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void small_holders_do_not_count(void **state)
{
    (void)state;
    struct quota quota = {.max = 1000, .used = 5000}; /* others have more than there may be */
    struct quota_share share = {.quota = &quota};
    assert_true(quota_set(&share, 0));
    assert_true(quota_set(&share, QUOTA_FREE));
    assert_int_equal(quota.used, 5000);
    assert_false(quota_set(&share, QUOTA_FREE + 1));
    assert_int_equal(quota.used, 5001);
    assert_true(quota_set(&share, QUOTA_FREE));
    assert_int_equal(quota.used, 5000);
}

static void all_together_have_no_more_than_there_may_be(void **state)
{
    (void)state;
    struct quota quota = {.max = 1000};
    struct quota_share one = {.quota = &quota}, two = {.quota = &quota};
    assert_true(quota_set(&one, QUOTA_FREE + 600));
    assert_true(quota_set(&two, QUOTA_FREE + 400));
    assert_false(quota_set(&two, QUOTA_FREE + 401));
    assert_true(quota_set(&one, 0));
    assert_true(quota_set(&two, QUOTA_FREE + 401));
    assert_true(quota_set(&two, 0));
    assert_int_equal(quota.used, 0);
}

static void without_a_quota_there_is_no_limit(void **state)
{
    (void)state;
    struct quota_share share = {.quota = NULL};
    assert_true(quota_set(&share, SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_holders_do_not_count),
        cmocka_unit_test(all_together_have_no_more_than_there_may_be),
        cmocka_unit_test(without_a_quota_there_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
