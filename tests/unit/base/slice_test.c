#include "base/err.h"
#include "base/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) slice_make(text, sizeof(text) - 1)

static void slices_compare_by_bytes(void **state)
{
    (void)state;
    assert_true(slice_eq(slice_str(NULL), slice_str("")));
    assert_true(slice_eq(BYTES("a\0b"), BYTES("a\0b")));
    assert_false(slice_eq(BYTES("a\0b"), BYTES("a\0c")));
    assert_false(slice_eq_str(BYTES("abc"), "ab"));
    assert_true(slice_has_prefix(BYTES("tcp://x"), "tcp://"));
    assert_false(slice_has_prefix(BYTES("tcp"), "tcp://"));
    assert_true(slice_eq_secret(BYTES("token"), BYTES("token")));
    assert_false(slice_eq_secret(BYTES("token"), BYTES("tokex")));
    assert_false(slice_eq_secret(BYTES("token"), BYTES("toke")));
}

static void a_name_has_letters_digits_and_two_signs(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "01", "Az-09_", "-", "_"};
    static const char *const bad[] = {"",  " ", "a b", "a.b", "\xc3\xa4", "a\n",
                                      "@", "[", "`",   "{",   "/",        ":"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(slice_is_name(slice_str(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(slice_is_name(slice_str(bad[i])));
    }
    assert_false(slice_is_name(BYTES("a\0b")));
    assert_false(slice_is_name(slice_str(NULL)));
}

static void a_copy_is_terminated(void **state)
{
    (void)state;
    char *copy = slice_dup(slice_make("abcdef", 3));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = slice_dup(slice_str(NULL));
    assert_string_equal(copy, "");
    free(copy);
}

static void whole_numbers_within_int64_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"-1", -1},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t value = 42;
        assert_true(slice_to_int64(slice_str(good[i].text), &value));
        assert_int_equal(value, good[i].value);
    }
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1x",
                                      "0x10",
                                      "1.0",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t value;
        assert_false(slice_to_int64(slice_str(bad[i]), &value));
    }
    int64_t value;
    assert_false(slice_to_int64(BYTES("1\0"), &value));
}

static void valid_utf8_is_told_from_invalid(void **state)
{
    (void)state;
    const struct slice good[] = {BYTES(""),
                                 BYTES("abc"),
                                 BYTES("\x7F"),
                                 BYTES("\xC2\x80"),
                                 BYTES("\xDF\xBF"),
                                 BYTES("\xE0\xA0\x80"),
                                 BYTES("\xED\x9F\xBF"),
                                 BYTES("\xEE\x80\x80"),
                                 BYTES("\xF0\x90\x80\x80"),
                                 BYTES("\xF4\x8F\xBF\xBF"),
                                 BYTES("订单-α-🚀")};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(utf8_is_valid(good[i]));
    }
    const struct slice bad[] = {
        BYTES("\x80"),             /* continuation alone */
        BYTES("\xBF"),             /* the same */
        BYTES("\xC0\x80"),         /* overlong NUL */
        BYTES("\xC1\xBF"),         /* overlong */
        BYTES("\xE0\x9F\xBF"),     /* overlong */
        BYTES("\xF0\x8F\xBF\xBF"), /* overlong */
        BYTES("\xED\xA0\x80"),     /* surrogate */
        BYTES("\xED\xBF\xBF"),     /* surrogate */
        BYTES("\xF4\x90\x80\x80"), /* above U+10FFFF */
        BYTES("\xF5\x80\x80\x80"),
        BYTES("\xFE"),
        BYTES("\xFF"),
        BYTES("\xC2"),
        BYTES("\xE2\x82"),
        BYTES("\xF0\x90\x80"),
        BYTES("\xC2"
              "a"),
        BYTES("\xE2\x82"
              "a"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(utf8_is_valid(bad[i]));
        assert_true(utf8_has_control(bad[i]));
    }
}

static void the_length_of_a_text_counts_code_points(void **state)
{
    (void)state;
    assert_int_equal(utf8_length(BYTES("")), 0);
    assert_int_equal(utf8_length(BYTES("abc")), 3);
    assert_int_equal(utf8_length(BYTES("订单🚀")), 3);
}

static void control_characters_are_found(void **state)
{
    (void)state;
    assert_false(utf8_has_control(BYTES("plain / {text} 订单")));
    assert_true(utf8_has_control(BYTES("a\nb")));
    assert_true(utf8_has_control(BYTES("a\0b")));
    assert_true(utf8_has_control(BYTES("\x7F")));
    assert_true(utf8_has_control(BYTES("\xC2\x85"))); /* C1: next line */
    assert_false(utf8_has_control(BYTES("\xC2\xA0")));
}

static void what_is_printed_is_printable_and_never_cut_within_a_character(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(slice_printable(BYTES("a\nb\x80"), out, sizeof(out)), "a?b?");
    assert_string_equal(slice_printable(BYTES("0123456789"), out, sizeof(out)), "0123456");
    assert_string_equal(slice_printable(BYTES("012345订"), out, sizeof(out)), "012345");
    assert_string_equal(slice_printable(BYTES("0123订"), out, sizeof(out)), "0123订");
    assert_string_equal(slice_printable(slice_str(NULL), out, 1), "");
}

static void a_reason_is_utf8_wherever_it_was_cut(void **state)
{
    (void)state;
    struct reason reason;
    char text[sizeof(reason.text) + 2];
    for (size_t shift = 0; shift < 2; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 2 < sizeof(text); i += 2) {
            memcpy(text + i, "é", 3);
        }
        assert_int_equal(reason_set(&reason, ERR_INVALID, "%s", text), ERR_INVALID);
        assert_true(utf8_is_valid(slice_str(reason.text)));
        assert_int_equal(strlen(reason.text), sizeof(reason.text) - 1);
    }
    (void)reason_set(&reason, ERR_INVALID, "'%.2s…' is '%.3s…'", "订单", "订单");
    assert_string_equal(reason.text, "'??…' is '订…'");
    (void)reason_set(&reason, ERR_INVALID, "订单\n");
    assert_string_equal(reason.text, "订单\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_bytes),
        cmocka_unit_test(a_name_has_letters_digits_and_two_signs),
        cmocka_unit_test(a_copy_is_terminated),
        cmocka_unit_test(whole_numbers_within_int64_are_read),
        cmocka_unit_test(valid_utf8_is_told_from_invalid),
        cmocka_unit_test(the_length_of_a_text_counts_code_points),
        cmocka_unit_test(control_characters_are_found),
        cmocka_unit_test(what_is_printed_is_printable_and_never_cut_within_a_character),
        cmocka_unit_test(a_reason_is_utf8_wherever_it_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
