#include "coordinator/txn.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct txn_step one_step[] = {
    {.urls = {[OP_ACTION] = SLICE_LIT("tcp://a/P.S/Do"), [OP_UNDO] = SLICE_LIT("tcp://a/P.S/Undo")},
     .payload = SLICE_LIT("{}")}};

static struct txn_spec good_spec(void)
{
    return (struct txn_spec){
        .gid = slice_str("g1"),
        .trans_type = slice_str("saga"),
        .steps = one_step,
        .step_count = 1,
    };
}

static void assert_refused(const struct txn_spec *spec, const char *text)
{
    struct reason reason = {""};
    assert_int_equal(txn_spec_check(spec, &reason), ERR_INVALID);
    if (!strstr(reason.text, text)) {
        fail_msg("'%s' does not tell '%s'", reason.text, text);
    }
}

/* n times the same character, on the heap. */
static struct slice repeat(const char *character, size_t n)
{
    size_t len = strlen(character);
    char *text = mem_alloc(n * len + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + i * len, character, len);
    }
    text[n * len] = '\0';
    return slice_make(text, n * len);
}

static void test_names_are_those_of_dtm(void **state)
{
    (void)state;
    enum txn_status status = TXN_FAILED;
    enum txn_op op = OP_ACTION;
    enum op_status op_status = OP_PREPARED;
    enum txn_type type = TXN_SAGA;
    assert_string_equal(txn_status_name(TXN_ABORTING), "aborting");
    assert_int_equal(txn_status_parse(slice_str("succeed"), &status), ERR_OK);
    assert_int_equal(status, TXN_SUCCEED);
    assert_int_equal(txn_status_parse(slice_str("success"), &status), ERR_INVALID);
    assert_int_equal(txn_op_parse(TXN_SAGA, slice_str("compensate"), &op), ERR_OK);
    assert_int_equal(op, OP_UNDO);
    assert_string_equal(txn_op_name(TXN_SAGA, OP_ACTION), "action");
    assert_int_equal(op_status_parse(slice_str("failed"), &op_status), ERR_OK);
    assert_int_equal(op_status, OP_FAILED);
    assert_string_equal(op_status_name(OP_PREPARED), "prepared");
    assert_int_equal(txn_type_parse(slice_str("saga"), &type), ERR_OK);
    assert_int_equal(txn_type_parse(slice_str("dance"), &type), ERR_INVALID);
    assert_string_equal(txn_op_name(TXN_TCC, OP_ACTION), "try");
    assert_int_equal(txn_op_parse(TXN_XA, slice_str("rollback"), &op), ERR_OK);
    assert_int_equal(op, OP_UNDO);
    assert_int_equal(txn_op_parse(TXN_MSG, slice_str("compensate"), &op), ERR_INVALID);
    assert_null(txn_op_name(TXN_MSG, OP_UNDO));
    assert_string_equal(txn_type_name(TXN_SAGA), "saga");
}

static void test_any_script_spaces_and_braces_are_fine_in_a_gid(void **state)
{
    static const char *const gids[] = {
        "a", "order 1/2", "{x}", "\xE8\xAE\xA2\xE5\x8D\x95", "a:b;c\"'", "\xF0\x9F\x9A\x80", "%00"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(gids); i++) {
        assert_int_equal(txn_gid_check(slice_str(gids[i]), NULL), ERR_OK);
    }
}

static void test_a_gid_counts_characters_not_bytes(void **state)
{
    (void)state;
    struct slice longest = repeat("\xE8\xAE\xA2", TXN_GID_CHARS_MAX);
    struct slice longer = repeat("\xE8\xAE\xA2", TXN_GID_CHARS_MAX + 1);
    struct reason reason;
    assert_int_equal(txn_gid_check(longest, &reason), ERR_OK);
    assert_int_equal(txn_gid_check(longer, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "129 characters; at most 128"));
    free((void *)(uintptr_t)longest.ptr);
    free((void *)(uintptr_t)longer.ptr);
}

static void test_a_bad_gid_is_refused_by_name(void **state)
{
    static const struct {
        struct slice gid;
        const char *text;
    } cases[] = {
        {SLICE_LIT(""), "gid: is empty"},
        {SLICE_LIT("a\nb"), "control characters"},
        {SLICE_LIT("a\0b"), "control characters"},
        {SLICE_LIT("a\x7F"), "control characters"},
        {SLICE_LIT("\xC2\x85"), "control characters"},
        {SLICE_LIT("a\xFF"), "not valid UTF-8"},
        {SLICE_LIT("\xC0\x80"), "not valid UTF-8"},
        {SLICE_LIT("\xED\xA0\x80"), "not valid UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct txn_spec spec = good_spec();
        spec.gid = cases[i].gid;
        assert_refused(&spec, cases[i].text);
    }
}

static void test_urls_that_can_be_called(void **state)
{
    static const char *const urls[] = {
        "",
        "tcp://order/mall.Order/Create",
        "tcp://order:9002/mall.Order/Create",
        "tcp://10.0.0.1:9002/Order/Create",
        "tcp://[::1]:9002/a.b.C/D_e1",
        "tcp://my-host.example/_p.S/M",
        "http://shop/api?x=1&y=%20",
        "http://shop:8080",
        "http://[fe80::1%25eth0]:80/x",
        "http://shop?x",
        "http://shop/\xC3\xA4",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        struct reason reason = {""};
        if (txn_url_check(slice_str(urls[i]), "steps[0].action", &reason) != ERR_OK) {
            fail_msg("%s", reason.text);
        }
    }
}

static void test_urls_that_cannot_be_called(void **state)
{
    static const char *const urls[] = {
        "order",
        "ftp://x/y",
        "grpc://x/y",
        "tcp://",
        "tcp://order",
        "tcp://order/",
        "tcp://order/Create",
        "tcp://order/S/",
        "tcp://order/S/M/x",
        "tcp://order/S/M?x=1",
        "tcp://order/.S/M",
        "tcp://order/a..S/M",
        "tcp://order/1S/M",
        "tcp:///S/M",
        "tcp://order:/S/M",
        "tcp://order:0/S/M",
        "tcp://order:65536/S/M",
        "tcp://order:-1/S/M",
        "http://",
        "http:///x",
        "http://user:secret@host/x",
        "http://ho st/x",
        "http://host/a b",
        "http://host/a\r\nX: y",
        "http://host/\xFF",
        "HTTP://host/",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        struct reason reason = {""};
        if (txn_url_check(slice_str(urls[i]), "steps[7].compensate", &reason) != ERR_INVALID) {
            fail_msg("'%s' was taken", urls[i]);
        }
        assert_non_null(strstr(reason.text, "steps[7].compensate: '"));
    }
}

static void test_https_is_refused_in_clear_words(void **state)
{
    (void)state;
    struct reason reason;
    assert_int_equal(txn_url_check(slice_str("https://a/b"), "f", &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "https is not supported yet"));
}

static void test_a_url_has_a_limit(void **state)
{
    (void)state;
    struct slice tail = repeat("x", TXN_URL_MAX);
    static char url[TXN_URL_MAX + 2];
    snprintf(url, sizeof(url), "http://host/%s", tail.ptr);
    struct reason reason;
    assert_int_equal(txn_url_check(slice_make(url, TXN_URL_MAX), "f", &reason), ERR_OK);
    assert_int_equal(txn_url_check(slice_make(url, TXN_URL_MAX + 1), "f", &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "2049 bytes; at most 2048"));
    free((void *)(uintptr_t)tail.ptr);
}

static void test_steps_are_counted_and_weighed(void **state)
{
    (void)state;
    struct slice big = repeat("x", TXN_PAYLOAD_MAX + 1);
    static struct txn_step steps[TXN_BRANCHES_MAX + 1];
    struct txn_spec spec = good_spec();
    spec.steps = steps;
    spec.step_count = 0;
    assert_refused(&spec, "steps: has 0 entries; must have 1 to 100");
    spec.trans_type = slice_str("msg"); /* those of its prepare, when it has been prepared */
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
    spec.prepare = true;
    spec.query_prepared = slice_str("http://host/check");
    assert_refused(&spec, "steps: has 0 entries; must have 1 to 100");
    spec = good_spec();
    spec.steps = steps;
    spec.step_count = TXN_BRANCHES_MAX + 1;
    assert_refused(&spec, "steps: has 101 entries");
    spec.step_count = TXN_BRANCHES_MAX;
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
    steps[3].payload = big;
    assert_refused(&spec, "payloads[3]: has 262145 bytes; at most 262144");
    for (size_t i = 0; i < 4; i++) {
        steps[i].payload = slice_make(big.ptr, TXN_PAYLOAD_MAX);
    }
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
    steps[4].payload = slice_make(big.ptr, 1);
    assert_refused(&spec, "1048577 bytes together");
    steps[5].urls[OP_ACTION] = slice_str("nonsense");
    assert_refused(&spec, "steps[5].action: 'nonsense'");
    free((void *)(uintptr_t)big.ptr);
}

static void test_options_have_bounds(void **state)
{
    static const struct {
        struct txn_options options;
        const char *text;
    } cases[] = {
        {{.timeout_to_fail_ms = -1}, "timeout_to_fail (ms): is -1; must be 0 to"},
        {{.retry_interval_ms = TXN_TIME_MAX_MS + 1}, "retry_interval (ms): is"},
        {{.request_timeout_ms = INT64_MIN}, "request_timeout (ms): is"},
        {{.retry_limit = INT64_MAX}, "retry_limit: is"},
        {{.header_count = TXN_HEADERS_MAX + 1}, "branch_headers: has 33 entries; at most 32"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct txn_spec spec = good_spec();
        spec.options = cases[i].options;
        assert_refused(&spec, cases[i].text);
    }
}

static void test_headers_cannot_forge_others(void **state)
{
    static struct txn_header cases[] = {
        {SLICE_LIT(""), SLICE_LIT("v")},      {SLICE_LIT("a b"), SLICE_LIT("v")},
        {SLICE_LIT("a:"), SLICE_LIT("v")},    {SLICE_LIT("a\r\nb"), SLICE_LIT("v")},
        {SLICE_LIT("a\0"), SLICE_LIT("v")},   {SLICE_LIT("a"), SLICE_LIT("v\r\nb: c")},
        {SLICE_LIT("a"), SLICE_LIT("v\xFF")},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct txn_spec spec = good_spec();
        spec.options.headers = &cases[i];
        spec.options.header_count = 1;
        assert_refused(&spec, "branch_headers: ");
    }
    struct txn_header fine = {slice_str("X-Request_Id"), slice_str("a, b; \xC3\xA4")};
    struct txn_spec spec = good_spec();
    spec.options.headers = &fine;
    spec.options.header_count = 1;
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
}

static void test_only_known_types_and_text_are_taken(void **state)
{
    (void)state;
    struct txn_spec spec = good_spec();
    spec.trans_type = slice_str("sagA\n");
    assert_refused(&spec, "trans_type: 'sagA?' is not known; must be saga");
    spec = good_spec();
    spec.custom_data = slice_str("\xFF");
    assert_refused(&spec, "custom_data: ");
}

static void test_a_new_transaction_owns_all_of_its_spec(void **state)
{
    (void)state;
    char gid[] = "mine", url[] = "tcp://a/P.S/Do", payload[] = "abc", name[] = "n", value[] = "v";
    struct txn_step step = {.urls = {[OP_ACTION] = slice_str(url)}, .payload = slice_str(payload)};
    struct txn_header header = {slice_str(name), slice_str(value)};
    struct txn_spec spec = good_spec();
    spec.gid = slice_str(gid);
    spec.steps = &step;
    spec.options.headers = &header;
    spec.options.header_count = 1;
    spec.options.retry_limit = 3;
    struct txn *txn = txn_new(&spec);
    memset(gid, 'x', 4);
    memset(url, 'x', 4);
    memset(payload, 'x', 3);
    name[0] = value[0] = 'x';
    assert_true(slice_eq_str(txn->gid, "mine"));
    assert_true(slice_eq_str(txn->branches[0].id, "01"));
    assert_true(slice_eq_str(txn->branches[0].payload, "abc"));
    assert_true(slice_eq_str(txn->branches[0].ops[OP_ACTION].url, "tcp://a/P.S/Do"));
    assert_true(slice_eq_str(txn->options.headers[0].name, "n"));
    assert_true(slice_eq_str(txn->options.headers[0].value, "v"));
    assert_int_equal(txn->options.retry_limit, 3);
    assert_int_equal(txn->status, TXN_SUBMITTED);
    assert_int_equal(txn->epoch, 1);
    assert_int_equal(txn->revision, 0);
    assert_true(txn->sure && !txn->run.inherited);
    txn_free(txn);
}

static void test_branches_are_numbered_as_dtm_numbers_them(void **state)
{
    (void)state;
    struct txn *txn = txn_new_blank(slice_str("g"), TXN_BRANCHES_MAX);
    assert_true(slice_eq_str(txn->branches[0].id, "01"));
    assert_true(slice_eq_str(txn->branches[9].id, "10"));
    assert_true(slice_eq_str(txn->branches[98].id, "99"));
    assert_true(slice_eq_str(txn->branches[99].id, "100"));
    assert_false(txn->sure);
    txn_free(txn);
}

static void test_a_reason_is_cut_between_characters(void **state)
{
    (void)state;
    struct slice longer = repeat("\xE8\xAE\xA2", 400); /* 1200 bytes; 1024 is inside a character */
    struct txn *txn = txn_new_blank(slice_str("g"), 1);
    txn_set_reason(txn, longer);
    assert_int_equal(txn->rollback_reason.len, 1023);
    assert_true(utf8_is_valid(txn->rollback_reason));
    txn_set_reason(txn, slice_str("short"));
    assert_true(slice_eq_str(txn->rollback_reason, "short"));
    txn_free(txn);
    txn_free(NULL);
    free((void *)(uintptr_t)longer.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_dtm),
        cmocka_unit_test(test_any_script_spaces_and_braces_are_fine_in_a_gid),
        cmocka_unit_test(test_a_gid_counts_characters_not_bytes),
        cmocka_unit_test(test_a_bad_gid_is_refused_by_name),
        cmocka_unit_test(test_urls_that_can_be_called),
        cmocka_unit_test(test_urls_that_cannot_be_called),
        cmocka_unit_test(test_https_is_refused_in_clear_words),
        cmocka_unit_test(test_a_url_has_a_limit),
        cmocka_unit_test(test_steps_are_counted_and_weighed),
        cmocka_unit_test(test_options_have_bounds),
        cmocka_unit_test(test_headers_cannot_forge_others),
        cmocka_unit_test(test_only_known_types_and_text_are_taken),
        cmocka_unit_test(test_a_new_transaction_owns_all_of_its_spec),
        cmocka_unit_test(test_branches_are_numbered_as_dtm_numbers_them),
        cmocka_unit_test(test_a_reason_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
