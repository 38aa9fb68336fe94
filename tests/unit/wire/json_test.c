/* JSON: what is refused and with which words, typed reading, escaping, round trip. */
#include "wire/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json *parse_ok(const char *text)
{
    struct reason reason = {""};
    struct json *root = NULL;
    enum err err = json_parse(slice_str(text), &root, &reason);
    if (err != ERR_OK) {
        fail_msg("%s: %s", text, reason.text);
    }
    assert_non_null(root);
    return root;
}

static void assert_refused(struct slice text, const char *expected)
{
    struct reason reason = {""};
    struct json *root = (struct json *)(void *)&reason;
    assert_int_equal(json_parse(text, &root, &reason), ERR_INVALID);
    assert_null(root);
    assert_string_equal(reason.text, expected);
}

static void test_good_documents_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        "[]",
        "0",
        "-0",
        "-1.5e+10",
        "1E5",
        "1e-5",
        "\"\"",
        "true",
        "false",
        "null",
        " \t\r\n[ 1 , 2 ] \n",
        "{\"a\":{\"b\":[[],{}]}}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"",
        "\"\\ud83d\\ude00\"",
        "\"\xF0\x9F\x98\x80 \xC3\xA4\"",
        "1e999",
        "123456789012345678901234567890123456789012345678901234567890",
        "{\"\":1}",
        "[null]",
        "{\"a\":1,\"A\":2}",
        "\"\x7F\"",
        "[\"\",[]]",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        json_free(parse_ok(good[i]));
    }
}

static void test_bad_documents_are_refused_with_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *at, *what;
    } bad[] = {
        {"", "1, column 1", "the text ends where a value is expected"},
        {"  \n ", "2, column 2", "the text ends where a value is expected"},
        {"{", "1, column 2", "a field name in double quotes is expected"},
        {"[", "1, column 2", "the text ends where a value is expected"},
        {"[1", "1, column 3", "',' or ']' is expected"},
        {"{\"a\"", "1, column 5", "':' is expected"},
        {"{\"a\":", "1, column 6", "the text ends where a value is expected"},
        {"{\"a\":1", "1, column 7", "',' or '}' is expected"},
        {"[1,]", "1, column 4", "a value is expected"},
        {"[,1]", "1, column 2", "a value is expected"},
        {"{\"a\":1,}", "1, column 8", "a field name in double quotes is expected"},
        {"{a:1}", "1, column 2", "a field name in double quotes is expected"},
        {"{'a':1}", "1, column 2", "a field name in double quotes is expected"},
        {"{\"a\" 1}", "1, column 6", "':' is expected"},
        {"{\n  \"a\": 1\n  \"b\": 2\n}", "3, column 3", "',' or '}' is expected"},
        {"[1}", "1, column 3", "',' or ']' is expected"},
        {"{\"a\":1]", "1, column 7", "',' or '}' is expected"},
        {"]", "1, column 1", "a value is expected"},
        {"{} {}", "1, column 4", "something follows the end of the value"},
        {"1 2", "1, column 3", "something follows the end of the value"},
        {"nullx", "1, column 5", "something follows the end of the value"},
        {"tru", "1, column 1", "a value is expected"},
        {"True", "1, column 1", "a value is expected"},
        {"NaN", "1, column 1", "a value is expected"},
        {"01", "1, column 2", "a number must not begin with 0"},
        {"-", "1, column 2", "a digit is missing in a number"},
        {"1.", "1, column 3", "a digit is missing in a number"},
        {".5", "1, column 1", "a value is expected"},
        {"+1", "1, column 1", "a value is expected"},
        {"1e", "1, column 3", "a digit is missing in a number"},
        {"[1234567890123456789012345678901234567890123456789012345678901]", "1, column 2",
         "a number has more than 60 characters"},
        {"\"abc", "1, column 5", "the text ends within a string"},
        {"\"a\\", "1, column 4", "unknown escape in a string"},
        {"\"a\\x\"", "1, column 4", "unknown escape in a string"},
        {"\"a\nb\"", "1, column 3", "a control character in a string must be escaped"},
        {"\"\\u12g4\"", "1, column 6", "\\u needs four hex digits"},
        {"\"\\u12", "1, column 6", "\\u needs four hex digits"},
        {"\"a\\u0000b\"", "1, column 3", "the NUL character (\\u0000) is not allowed"},
        {"{\"a\\u0000\":1}", "1, column 4", "the NUL character (\\u0000) is not allowed"},
        {"\"\\ud800\"", "1, column 2", "half a surrogate pair"},
        {"\"\\udc00\"", "1, column 2", "half a surrogate pair"},
        {"\"\\ud800\\u0041\"", "1, column 2", "half a surrogate pair"},
        {"\"\xFF\"", "1, column 2", "bytes that are not UTF-8"},
        {"\"\xC3\xA4\xC0\xAF\"", "1, column 3", "bytes that are not UTF-8"},
        {"\"\xED\xA0\x80\"", "1, column 2", "bytes that are not UTF-8"},
        {"\"\xE2\x82\"", "1, column 2", "bytes that are not UTF-8"},
        {"\"\xE2", "1, column 2", "bytes that are not UTF-8"},
        {"\xEF\xBB\xBF{}", "1, column 1", "a value is expected"},
        {"\x01{}", "1, column 1", "a value is expected"},
        {"[1,\v2]", "1, column 4", "a value is expected"},
        {"/* x */ 1", "1, column 1", "a value is expected"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char expected[256];
        snprintf(expected, sizeof(expected), "not valid JSON at line %s: %s", bad[i].at,
                 bad[i].what);
        assert_refused(slice_str(bad[i].text), expected);
    }
}

static void test_a_raw_nul_is_refused(void **state)
{
    (void)state;
    assert_refused(slice_make("\"a\0b\"", 5), "not valid JSON at line 1, column 3: a control "
                                              "character in a string must be escaped");
    assert_refused(slice_make("{}\0", 3), "not valid JSON at line 1, column 3: something follows "
                                          "the end of the value");
}

static void test_every_beginning_of_a_document_is_refused(void **state)
{
    (void)state;
    const char *text = "{\"a\":[1.5e-3,true,null,\"x\\u00e4\\n\xC3\xA4\",{\"b\":[]}]}";
    for (size_t len = 0; len < strlen(text); len++) {
        char *exact = slice_dup(slice_make(text, len)); /* so that asan sees an over-read */
        struct json *root = NULL;
        assert_int_equal(json_parse(slice_make(exact, len), &root, NULL), ERR_INVALID);
        free(exact);
    }
    json_free(parse_ok(text));
}

static void nest(struct buf *text, const char *open, const char *close, size_t depth)
{
    buf_clear(text);
    for (size_t i = 0; i < depth; i++) {
        buf_add_str(text, open);
    }
    buf_add_str(text, "1");
    for (size_t i = 0; i < depth; i++) {
        buf_add_str(text, close);
    }
}

static void test_nesting_is_limited(void **state)
{
    (void)state;
    struct buf text = {0};
    nest(&text, "[", "]", JSON_DEPTH_MAX);
    json_free(parse_ok(text.data));
    nest(&text, "{\"a\":", "}", JSON_DEPTH_MAX);
    json_free(parse_ok(text.data));
    nest(&text, "[", "]", JSON_DEPTH_MAX + 1);
    assert_refused(buf_slice(&text),
                   "not valid JSON at line 1, column 33: nested deeper than 32 levels");
    nest(&text, "{\"a\":[", "]}", 1000000);
    assert_refused(buf_slice(&text),
                   "not valid JSON at line 1, column 97: nested deeper than 32 levels");
    buf_fini(&text);
}

static void test_a_field_given_twice_is_refused(void **state)
{
    (void)state;
    assert_refused(slice_str("{\"a\":1,\"b\":2,\"a\":3}"), "field 'a': given twice");
    assert_refused(slice_str("[{\"x\":{\"g\\u0069d\":1,\"gid\":1}}]"), "field 'gid': given twice");
    assert_refused(slice_str("{\"\\n\":1,\"\\n\":2}"), "field '?': given twice");
}

static void test_members_are_found_by_exact_name(void **state)
{
    (void)state;
    struct json *root =
        parse_ok("{\"Gid\":\"big\",\"gid\":\"x\\u00e4\\ud83d\\ude00\",\"none\":null,\"list\":"
                 "[1,\"two\",null],\"n\":-1.5,\"yes\":true,\"no\":false}");
    assert_true(json_is_object(root));
    assert_true(slice_eq_str(json_string(json_get(root, "gid")), "x\xC3\xA4\xF0\x9F\x98\x80"));
    assert_true(slice_eq_str(json_string(json_get(root, "Gid")), "big"));
    assert_null(json_get(root, "GID"));
    assert_null(json_get(root, "none"));
    assert_null(json_get(NULL, "gid"));
    assert_null(json_get(json_get(root, "gid"), "gid"));
    assert_true(json_bool(json_get(root, "yes")));
    assert_false(json_bool(json_get(root, "no")));
    assert_true(json_is_bool(json_get(root, "no")));
    assert_int_equal(json_string(json_get(root, "yes")).len, 0);
    assert_true(json_double(json_get(root, "n")) == -1.5);
    assert_true(json_double(json_get(root, "gid")) == 0);
    json_free(root);
}

static void test_arrays_and_members_can_be_walked(void **state)
{
    (void)state;
    struct json *root = parse_ok("{\"a\":1,\"b\":[\"x\",\"y\"],\"c\":{}}");
    const char *names[] = {"a", "b", "c"};
    size_t n = 0;
    for (const struct json *m = json_first(root); m; m = json_next(m)) {
        assert_true(slice_eq_str(json_name(m), names[n++]));
    }
    assert_int_equal(n, 3);
    const struct json *list = json_get(root, "b");
    assert_true(json_is_array(list));
    assert_int_equal(json_count(list), 2);
    assert_true(slice_eq_str(json_string(json_at(list, 1)), "y"));
    assert_null(json_at(list, 2));
    assert_int_equal(json_name(json_at(list, 0)).len, 0);
    assert_int_equal(json_count(root), 0);
    assert_null(json_at(root, 0));
    assert_null(json_first(NULL));
    assert_null(json_first(json_get(root, "c")));
    json_free(root);
}

static const char typed[] =
    "{\"s\":\"text\",\"i\":42,\"f\":1.5,\"whole\":4.2e1,\"neg\":-7,\"b\":true,\"null\":null,"
    "\"o\":{},\"l\":[],\"safe\":9007199254740991,\"big\":9007199254740993,\"huge\":1e999}";

static void assert_int_refused(const struct json *root, const char *name, int64_t min, int64_t max,
                               const char *expected)
{
    struct reason reason;
    int64_t value = 99;
    assert_int_equal(json_read_int(root, name, min, max, &value, &reason), ERR_INVALID);
    assert_int_equal(value, 99);
    assert_string_equal(reason.text, expected);
}

static void test_whole_numbers_are_read_within_bounds(void **state)
{
    (void)state;
    struct json *root = parse_ok(typed);
    int64_t value = 5;
    assert_int_equal(json_read_int(root, "absent", 0, 9, &value, NULL), ERR_OK);
    assert_int_equal(json_read_int(root, "null", 0, 9, &value, NULL), ERR_OK);
    assert_int_equal(value, 5);
    assert_int_equal(json_read_int(root, "i", 42, 42, &value, NULL), ERR_OK);
    assert_int_equal(value, 42);
    assert_int_equal(json_read_int(root, "neg", -7, 0, &value, NULL), ERR_OK);
    assert_int_equal(value, -7);
    assert_int_equal(json_read_int(root, "whole", 0, 100, &value, NULL), ERR_OK);
    assert_int_equal(value, 42);
    assert_int_equal(json_read_int(root, "safe", 0, INT64_MAX, &value, NULL), ERR_OK);
    assert_int_equal(value, 9007199254740991);
    assert_int_refused(root, "i", 0, 41, "field 'i': must be a whole number from 0 to 41, not 42");
    assert_int_refused(root, "neg", 0, 9,
                       "field 'neg': must be a whole number from 0 to 9, not -7");
    assert_int_refused(root, "f", 0, 9, "field 'f': must be a whole number from 0 to 9, not 1.5");
    assert_int_refused(root, "s", 0, 9,
                       "field 's': must be a whole number from 0 to 9, not a string");
    assert_int_refused(root, "big", INT64_MIN, INT64_MAX,
                       "field 'big': must be a whole number from -9007199254740991 to "
                       "9007199254740991, not 9007199254740992");
    assert_int_refused(root, "huge", 0, 9,
                       "field 'huge': must be a whole number from 0 to 9, "
                       "not inf");
    json_free(root);
}

static void test_strings_and_bools_are_read_by_type(void **state)
{
    (void)state;
    struct json *root = parse_ok(typed);
    struct reason reason;
    struct slice text = slice_str("default");
    bool flag = true;
    assert_int_equal(json_read_string(root, "null", &text, &reason), ERR_OK);
    assert_true(slice_eq_str(text, "default"));
    assert_int_equal(json_read_string(root, "o", &text, &reason), ERR_INVALID);
    assert_string_equal(reason.text, "field 'o': must be a string, not an object");
    assert_int_equal(json_read_string(root, "l", &text, &reason), ERR_INVALID);
    assert_string_equal(reason.text, "field 'l': must be a string, not an array");
    assert_int_equal(json_read_string(root, "b", &text, &reason), ERR_INVALID);
    assert_string_equal(reason.text, "field 'b': must be a string, not true or false");
    assert_int_equal(json_read_string(root, "s", &text, &reason), ERR_OK);
    assert_true(slice_eq_str(text, "text"));
    assert_int_equal(json_read_bool(root, "absent", &flag, &reason), ERR_OK);
    assert_true(flag);
    assert_int_equal(json_read_bool(root, "i", &flag, &reason), ERR_INVALID);
    assert_string_equal(reason.text, "field 'i': must be true or false, not a number");
    flag = false;
    assert_int_equal(json_read_bool(root, "b", &flag, &reason), ERR_OK);
    assert_true(flag);
    json_free(root);
}

static void test_the_writer_puts_commas_and_escapes(void **state)
{
    (void)state;
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out);
    json_open_object(&w, NULL);
    json_put_text(&w, "te\"xt", "a\"\\\b\f\n\r\t\x01\x1f\x7f/\xC3\xA4");
    json_put_text(&w, "nothing", NULL);
    json_put_string(&w, "nul", slice_make("a\0b", 3));
    json_put_string(&w, "bad", slice_str("x\xFFy\xC3\xED\xA0\x80z\xE2\x82"));
    json_open_array(&w, "list");
    json_put_int(&w, NULL, INT64_MIN);
    json_open_object(&w, NULL);
    json_close_object(&w);
    json_open_array(&w, NULL);
    json_close_array(&w);
    json_put_bool(&w, NULL, true);
    json_put_bool(&w, NULL, false);
    json_put_null(&w, NULL);
    json_close_array(&w);
    json_put_raw(&w, "raw", slice_str("[1, 2]"));
    json_put_raw(&w, "no raw", slice_str(""));
    json_close_object(&w);
    assert_string_equal(out.data,
                        "{\"te\\\"xt\":\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/\xC3\xA4\","
                        "\"nothing\":null,\"nul\":\"a\\u0000b\","
                        "\"bad\":\"x\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz"
                        "\xEF\xBF\xBD\xEF\xBF\xBD\","
                        "\"list\":[-9223372036854775808,{},[],true,false,null],"
                        "\"raw\":[1, 2],\"no raw\":null}");
    buf_fini(&out);
}

static void test_doubles_are_short_and_read_back_the_same(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1.0, "1"},
                 {-2.5, "-2.5"},
                 {1e300, "1e+300"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {(double)INFINITY, "null"},
                 {(double)NAN, "null"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};
        struct json_writer w;
        json_writer_init(&w, &out);
        json_put_double(&w, NULL, cases[i].value);
        assert_string_equal(out.data, cases[i].text);
        json_free(parse_ok(out.data));
        buf_fini(&out);
    }
}

static void test_any_utf8_text_survives_a_round_trip(void **state)
{
    (void)state;
    struct buf text = {0};
    for (unsigned c = 1; c < 0x80; c++) {
        char byte = (char)c;
        buf_add(&text, &byte, 1);
    }
    buf_add_str(&text, "\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF");
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out);
    json_open_array(&w, NULL);
    json_put_string(&w, NULL, buf_slice(&text));
    json_close_array(&w);
    struct json *root = parse_ok(out.data);
    assert_true(slice_eq(json_string(json_at(root, 0)), buf_slice(&text)));
    json_free(root);
    buf_fini(&out);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_documents_are_taken),
        cmocka_unit_test(test_bad_documents_are_refused_with_the_place),
        cmocka_unit_test(test_a_raw_nul_is_refused),
        cmocka_unit_test(test_every_beginning_of_a_document_is_refused),
        cmocka_unit_test(test_nesting_is_limited),
        cmocka_unit_test(test_a_field_given_twice_is_refused),
        cmocka_unit_test(test_members_are_found_by_exact_name),
        cmocka_unit_test(test_arrays_and_members_can_be_walked),
        cmocka_unit_test(test_whole_numbers_are_read_within_bounds),
        cmocka_unit_test(test_strings_and_bools_are_read_by_type),
        cmocka_unit_test(test_the_writer_puts_commas_and_escapes),
        cmocka_unit_test(test_doubles_are_short_and_read_back_the_same),
        cmocka_unit_test(test_any_utf8_text_survives_a_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
