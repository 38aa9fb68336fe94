#include "base/mem.h"
#include "coordinator/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    struct slice gid = SLICE_LIT("a {x} / \xc3\xbc");
    struct buf out = {0};
    keys_add_tx(&out, 7, gid);
    assert_string_equal(out.data, "saga:{7}:tx:a {x} / \xc3\xbc");
    buf_clear(&out);
    keys_add_log(&out, 0, gid);
    assert_string_equal(out.data, "saga:{0}:log:a {x} / \xc3\xbc");
    buf_clear(&out);
    keys_add_due(&out, 1023);
    keys_add_recent(&out, 10);
    assert_string_equal(out.data, "saga:{1023}:duesaga:{10}:recent");
    assert_true(slice_eq_str(keys_meta(), "saga:meta"));
    buf_fini(&out);
}

/* The check value of CRC-16/XMODEM, which Redis Cluster uses: other programs may compute it too. */
static void test_partition_is_crc16_mod(void **state)
{
    (void)state;
    assert_int_equal(keys_partition(slice_str("123456789"), 1024), 0x31C3 % 1024);
    assert_int_equal(keys_partition(slice_str("123456789"), 16), 0x31C3 % 16);
    assert_int_equal(keys_partition(slice_str("anything"), 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_partition_is_crc16_mod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
