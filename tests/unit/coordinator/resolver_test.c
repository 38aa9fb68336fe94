#include "coordinator/resolver.h"

#include "coordinator/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct good {
    const char *url;
    enum branch_scheme scheme;
    const char *host, *port, *rest;
};

static void test_urls_are_taken_apart(void **state)
{
    static const struct good cases[] = {
        {"tcp://order/mall.Order/Create", BRANCH_TCP, "order", "", "mall.Order/Create"},
        {"tcp://order:1/a.B/C", BRANCH_TCP, "order", "1", "a.B/C"},
        {"tcp://[::1]:9/a.B/C", BRANCH_TCP, "[::1]", "9", "a.B/C"},
        {"http://order/x?y=1", BRANCH_HTTP, "order", "", "/x?y=1"},
        {"http://order:8080/x", BRANCH_HTTP, "order", "8080", "/x"},
        {"http://shop.example/", BRANCH_HTTP, "shop.example", "", "/"},
        {"http://shop.example", BRANCH_HTTP, "shop.example", "", ""},
        {"http://shop.example?a=b#c", BRANCH_HTTP, "shop.example", "", "?a=b"},
        {"http://[::1]/x#part", BRANCH_HTTP, "[::1]", "", "/x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct branch_address out;
        struct reason reason;
        assert_int_equal(resolver_parse(slice_str(cases[i].url), &out, &reason), ERR_OK);
        assert_int_equal(out.scheme, cases[i].scheme);
        assert_true(slice_eq_str(out.host, cases[i].host));
        assert_true(slice_eq_str(out.port, cases[i].port));
        assert_true(slice_eq_str(out.rest, cases[i].rest));
    }
}

static void test_numbers_need_no_dns(void **state)
{
    static const char *const numbers[] = {"10.0.0.7", "[::1]", "[fd00::7]", "127.0.0.1"};
    static const char *const names[] = {"order", "10.0.0.7.example", "7", "[order]", "::1", "[]"};
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_true(resolver_is_number(slice_str(numbers[i])));
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_false(resolver_is_number(slice_str(names[i])));
    }
}

static void test_what_cannot_be_called_is_refused_with_the_url(void **state)
{
    static const char *const cases[] = {
        "",
        "tcp://",
        "tcp://order",
        "tcp://order/",
        "tcp://order:0/a.B/C",
        "tcp://order:65536/a.B/C",
        "tcp://order:12x/a.B/C",
        "tcp://[::1/a.B/C",
        "tcp://[::1]x/a.B/C",
        "tcp://user:pass@host:1/a.B/C",
        "http://",
        "http:///x",
        "https://host/x",
        "ftp://host/x",
        "host:80/x",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct branch_address out;
        struct reason reason = {.text = ""};
        assert_int_equal(resolver_parse(slice_str(cases[i]), &out, &reason), ERR_INVALID);
        assert_non_null(strstr(reason.text, cases[i]));
    }
}

static void test_a_very_long_host_is_refused(void **state)
{
    (void)state;
    char url[2000] = "tcp://";
    memset(url + 6, 'a', 1900);
    memcpy(url + 1906, ":1/a.B/C", sizeof(":1/a.B/C"));
    struct branch_address out;
    struct reason reason;
    assert_int_equal(resolver_parse(slice_str(url), &out, &reason), ERR_INVALID);
}

static void test_entries_of_the_map_are_checked(void **state)
{
    struct reason reason;
    (void)state;
    assert_int_equal(resolver_check_entry("a", "host:1", &reason), ERR_OK);
    assert_int_equal(resolver_check_entry("a", "[::1]:1", &reason), ERR_OK);
    assert_int_equal(resolver_check_entry("a", "unix:/x", &reason), ERR_OK);
    assert_int_equal(resolver_check_entry("a", "host", &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "resolver.a"));
    assert_int_equal(resolver_check_entry("a", "", &reason), ERR_INVALID);
    assert_int_equal(resolver_check_entry("a", "host:x", &reason), ERR_INVALID);
    assert_int_equal(resolver_check_entry("a", "http://host:1", &reason), ERR_INVALID);
    assert_int_equal(resolver_check_entry("a", "h:1, [::1]:2 ,unix:/x", &reason), ERR_OK);
    assert_int_equal(resolver_check_entry("a", "h:1,", &reason), ERR_INVALID);
    assert_int_equal(resolver_check_entry("a", "h:1,,h:2", &reason), ERR_INVALID);
    assert_int_equal(resolver_check_entry("a", "h:1 h:2", &reason), ERR_INVALID);
}

static void test_number_of_addresses_is_bounded(void **state)
{
    char value[BRANCH_INSTANCES_MAX * 4 + 8] = "h:1";
    struct reason reason;
    (void)state;
    for (int i = 1; i < BRANCH_INSTANCES_MAX; i++) {
        memcpy(value + i * 4 - 1, ",h:1", 5);
    }
    assert_int_equal(resolver_check_entry("a", value, &reason), ERR_OK);
    memcpy(value + strlen(value), ",h:1", 5);
    assert_int_equal(resolver_check_entry("a", value, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "64"));
}

static void test_trace_id_depends_on_the_gid_alone(void **state)
{
    char first[TRACEPARENT_SIZE], second[TRACEPARENT_SIZE], other[TRACEPARENT_SIZE];
    struct rng rng;
    (void)state;
    rng_seed(&rng, 1);
    trace_parent_make(slice_str("g1"), &rng, first);
    trace_parent_make(slice_str("g1"), &rng, second);
    trace_parent_make(slice_str("g2"), &rng, other);
    assert_true(trace_parent_is_valid(slice_str(first)));
    assert_memory_equal(first, second, 35);
    assert_memory_not_equal(first, other, 35);
    assert_string_not_equal(first, second); /* a span of its own for each call */
}

/* Published vectors of FNV-1a 128: the empty text and "a". */
static void test_trace_id_is_fnv1a(void **state)
{
    char text[TRACEPARENT_SIZE];
    struct rng rng;
    (void)state;
    rng_seed(&rng, 1);
    trace_parent_make(slice_str(""), &rng, text);
    assert_memory_equal(text, "00-6c62272e07bb014262b821756295c58d-", 36);
    trace_parent_make(slice_str("a"), &rng, text);
    assert_memory_equal(text, "00-d228cb696f1a8caf78912b704e4a8964-", 36);
}

static void test_malformed_traceparents(void **state)
{
    static const char *const cases[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_false(trace_parent_is_valid(slice_str(cases[i])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_taken_apart),
        cmocka_unit_test(test_numbers_need_no_dns),
        cmocka_unit_test(test_what_cannot_be_called_is_refused_with_the_url),
        cmocka_unit_test(test_a_very_long_host_is_refused),
        cmocka_unit_test(test_entries_of_the_map_are_checked),
        cmocka_unit_test(test_number_of_addresses_is_bounded),
        cmocka_unit_test(test_trace_id_depends_on_the_gid_alone),
        cmocka_unit_test(test_trace_id_is_fnv1a),
        cmocka_unit_test(test_malformed_traceparents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
