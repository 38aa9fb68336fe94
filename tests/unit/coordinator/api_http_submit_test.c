/* The body of a submit: what is taken, how it is understood, and what each refusal says. */
#include "coordinator/api_http_submit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEP "{\"action\":\"http://h/a\",\"compensate\":\"http://h/c\"}"
#define HEAD "{\"gid\":\"g\",\"trans_type\":\"saga\""
#define SAGA HEAD ",\"steps\":[" STEP "],\"payloads\":[\"p\"]"

static void decode_ok(const char *body, struct submit_request *out)
{
    struct reason reason = {.text = ""};
    if (submit_request_decode(slice_str(body), false, out, &reason)) {
        fail_msg("%s: %s", body, reason.text);
    }
}

static void test_what_the_go_sdk_sends(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok("{\"gid\":\"Gk3\",\"trans_type\":\"saga\",\"concurrent\":false,\"steps\":["
              "{\"action\":\"http://busi/out\",\"compensate\":\"http://busi/outRevert\"},"
              "{\"action\":\"http://busi/in\",\"compensate\":\"http://busi/inRevert\"}],"
              "\"payloads\":[\"{\\\"amount\\\":30}\",\"null\"],\"protocol\":\"\"}",
              &r);
    assert_true(slice_eq_str(r.spec.gid, "Gk3"));
    assert_true(slice_eq_str(r.spec.trans_type, "saga"));
    assert_int_equal(r.spec.step_count, 2);
    assert_true(slice_eq_str(r.spec.steps[0].urls[OP_ACTION], "http://busi/out"));
    assert_true(slice_eq_str(r.spec.steps[1].urls[OP_UNDO], "http://busi/inRevert"));
    assert_true(slice_eq_str(r.spec.steps[0].payload, "{\"amount\":30}"));
    assert_true(slice_eq_str(r.spec.steps[1].payload, "null")); /* byte for byte, as DTM */
    assert_int_equal(r.wait.mode, ENGINE_WAIT_STORED);
    assert_true(r.spec.options.timeout_to_fail_ms == 0);
    submit_request_fini(&r);
}

static void test_null_is_absent_and_unknown_fields_are_ignored(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok(HEAD ",\"steps\":[{\"action\":\"\",\"compensate\":null}],\"payloads\":[null],"
                   "\"bin_payloads\":null,\"custom_data\":null,\"query_prepared\":null,"
                   "\"branch_headers\":null,\"timeout_to_fail\":null,\"wait_result\":null,"
                   "\"passthrough_headers\":[],\"concurrent\":true,\"x\":{\"y\":[1]}}",
              &r);
    assert_int_equal(r.spec.steps[0].urls[OP_ACTION].len, 0);
    assert_int_equal(r.spec.steps[0].payload.len, 0);
    submit_request_fini(&r);
}

static void test_options_are_in_seconds(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok(SAGA ",\"timeout_to_fail\":35,\"retry_interval\":10,\"request_timeout\":3,"
                   "\"retry_limit\":7,\"branch_headers\":{\"X-A\":\"1\",\"X-B\":null},"
                   "\"wait_result\":true,\"custom_data\":\"{\\\"my\\\":1}\"}",
              &r);
    const struct txn_options *options = &r.spec.options;
    assert_true(options->timeout_to_fail_ms == 35000);
    assert_true(options->retry_interval_ms == 10000);
    assert_true(options->request_timeout_ms == 3000);
    assert_true(options->retry_limit == 7);
    assert_int_equal(options->header_count, 2);
    assert_true(slice_eq_str(options->headers[0].name, "X-A"));
    assert_true(slice_eq_str(options->headers[0].value, "1"));
    assert_int_equal(options->headers[1].value.len, 0);
    assert_true(options->wait_result);
    assert_int_equal(r.wait.mode, ENGINE_WAIT_SETTLE);
    assert_true(slice_eq_str(r.spec.custom_data, "{\"my\":1}"));
    submit_request_fini(&r);
}

static void test_wait_timeout_waits_for_the_end(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok(SAGA ",\"wait_result\":true,\"wait_timeout\":2.5}", &r);
    assert_int_equal(r.wait.mode, ENGINE_WAIT_END);
    assert_true(r.wait.wait_ms == 2500);
    submit_request_fini(&r);
}

static void test_binary_payloads_and_payloads_inside_steps(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok(HEAD ",\"steps\":[" STEP "," STEP "],\"bin_payloads\":[\"AAH/\",\"\"]}", &r);
    assert_int_equal(r.spec.steps[0].payload.len, 3);
    assert_memory_equal(r.spec.steps[0].payload.ptr, "\x00\x01\xFF", 3);
    assert_int_equal(r.spec.steps[1].payload.len, 0);
    submit_request_fini(&r);
    decode_ok(HEAD ",\"steps\":[{\"action\":\"http://h/a\",\"data\":\"old\"}]}", &r);
    assert_true(slice_eq_str(r.spec.steps[0].payload, "old"));
    submit_request_fini(&r);
}

static void test_any_script_slashes_braces_and_spaces_in_a_gid_are_kept(void **state)
{
    struct submit_request r;
    (void)state;
    decode_ok("{\"gid\":\" {a}/b;c\\u00e4 \\ud83d\\ude00\",\"trans_type\":\"saga\",\"steps\":[" STEP
              "],\"payloads\":[\"\"]}",
              &r);
    assert_true(slice_eq_str(r.spec.gid, " {a}/b;cä 😀"));
    submit_request_fini(&r);
}

struct bad {
    const char *body;
    const char *says; /* part of the message */
};

static void test_refusals_name_field_value_and_what_is_allowed(void **state)
{
    static const struct bad cases[] = {
        {"", "not valid JSON"},
        {"{", "line 1"},
        {"[]", "must be a JSON object"},
        {"\"x\"", "must be a JSON object"},
        {"{\"trans_type\":\"saga\"}", "gid: is empty; must have 1 to 128"},
        {"{\"gid\":\"\",\"trans_type\":\"saga\"}", "gid: is empty"},
        {"{\"gid\":null,\"trans_type\":\"saga\"}", "gid: is empty"},
        {"{\"gid\":7,\"trans_type\":\"saga\"}", "field 'gid'"},
        {"{\"gid\":\"a\\nb\",\"trans_type\":\"saga\"}", "gid: 'a?b' has control characters"},
        {"{\"gid\":\"a\\u0085b\",\"trans_type\":\"saga\"}", "control characters"},
        {"{\"gid\":\"g\xff\",\"trans_type\":\"saga\"}", "UTF-8"},
        {"{\"gid\":\"g\"}", "'trans_type': '' is not supported; allowed: saga"},
        {"{\"gid\":\"g\",\"trans_type\":\"dance\"}",
         "'dance' is not supported; allowed: saga, tcc"},
        {"{\"gid\":\"g\",\"trans_type\":[]}", "field 'trans_type'"},
        {HEAD ",\"steps\":{}}", "field 'steps': must be an array"},
        {HEAD ",\"steps\":[\"x\"],\"payloads\":[\"\"]}", "field 'steps[0]': must be an object"},
        {HEAD ",\"steps\":[{\"action\":1}],\"payloads\":[\"\"]}", "steps[0]: field 'action'"},
        {HEAD ",\"steps\":[{\"action\":\"ftp://x\"}],\"payloads\":[\"\"]}", "steps[0].action"},
        {HEAD ",\"steps\":[{\"action\":\"https://x\"}],\"payloads\":[\"\"]}", "not supported yet"},
        {HEAD ",\"steps\":[" STEP "," STEP "],\"payloads\":[\"\"]}",
         "field 'payloads': has 1 elements, must have one for each of the 2 steps"},
        {HEAD ",\"steps\":[" STEP "],\"payloads\":[\"\",\"\"]}", "has 2 elements"},
        {HEAD ",\"steps\":[" STEP "]}", "has 0 elements"},
        {HEAD ",\"steps\":[" STEP "],\"payloads\":null}", "has 0 elements"},
        {HEAD ",\"steps\":[" STEP "],\"payloads\":[{}]}", "'payloads[0]': must be a string"},
        {HEAD ",\"steps\":[" STEP "],\"payloads\":\"x\"}", "'payloads': must be an array"},
        {HEAD ",\"steps\":[" STEP "],\"bin_payloads\":[\"!\"]}",
         "'bin_payloads[0]': is not base64"},
        {HEAD ",\"steps\":[" STEP "],\"payloads\":[\"\"],\"bin_payloads\":[\"\"]}", "not both"},
        {SAGA ",\"timeout_to_fail\":-1}", "timeout_to_fail"},
        {SAGA ",\"timeout_to_fail\":\"3\"}", "timeout_to_fail"},
        {SAGA ",\"retry_interval\":1.5}", "retry_interval"},
        {SAGA ",\"request_timeout\":3601}", "3600"},
        {SAGA ",\"retry_limit\":-2}", "retry_limit"},
        {SAGA ",\"wait_result\":1}", "wait_result"},
        {SAGA ",\"wait_timeout\":5}", "means nothing without"},
        {SAGA ",\"wait_result\":true,\"wait_timeout\":601}", "600"},
        {SAGA ",\"wait_result\":true,\"wait_timeout\":-1}", "600"},
        {SAGA ",\"wait_result\":true,\"wait_timeout\":\"5\"}", "'wait_timeout'"},
        {SAGA ",\"branch_headers\":[]}", "'branch_headers': must be an object"},
        {SAGA ",\"branch_headers\":{\"a\":1}}", "the value of 'a' must be a string"},
        {SAGA ",\"branch_headers\":{\"a\":\"x\\r\\ny\"}}", "branch_headers"},
        {SAGA ",\"custom_data\":{}}", "custom_data"},
        {SAGA ",\"custom_data\":\"{\\\"concurrent\\\":true,\\\"orders\\\":{\\\"9\\\":[0]}}\"}",
         "orders has '9'"},
        {SAGA ",\"custom_data\":\"{\\\"concurrent\\\":true,\\\"orders\\\":{\\\"0\\\":[0]}}\"}",
         "orders: step 0 comes after step 0"},
        {SAGA ",\"gid\":\"h\"}", "gid"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct submit_request r;
        struct reason reason = {.text = ""};
        enum err err = submit_request_decode(slice_str(cases[i].body), false, &r, &reason);
        if (err == ERR_OK || !strstr(reason.text, cases[i].says)) {
            fail_msg("%s: %d '%s'", cases[i].body, err, reason.text);
        }
        submit_request_fini(&r);
    }
}

/* `count` times `item`, joined by commas. */
static char *repeated(const char *item, size_t count)
{
    struct buf out = {0};
    for (size_t i = 0; i < count; i++) {
        buf_add_str(&out, i > 0 ? "," : "");
        buf_add_str(&out, item);
    }
    return out.data;
}

static void refused(const char *body, const char *says)
{
    struct submit_request r;
    struct reason reason = {.text = ""};
    assert_int_not_equal(submit_request_decode(slice_str(body), false, &r, &reason), ERR_OK);
    if (!strstr(reason.text, says)) {
        fail_msg("'%s' does not say '%s'", reason.text, says);
    }
    submit_request_fini(&r);
}

static void test_limits(void **state)
{
    struct buf body = {0};
    (void)state;
    char *gid = repeated("äö", 43); /* 128 characters with the commas */
    buf_printf(&body, "{\"gid\":\"%sx\",\"trans_type\":\"saga\"}", gid);
    refused(body.data, "at most 128");
    buf_clear(&body);
    char *steps = repeated(STEP, TXN_BRANCHES_MAX + 1);
    buf_printf(&body, HEAD ",\"steps\":[%s]}", steps);
    refused(body.data, "has 101 elements, at most 100 allowed");
    buf_clear(&body);
    buf_add_str(&body, SAGA ",\"branch_headers\":{");
    for (int i = 0; i <= TXN_HEADERS_MAX; i++) {
        buf_printf(&body, "%s\"h%d\":\"\"", i ? "," : "", i);
    }
    buf_add_str(&body, "}}");
    refused(body.data, "has 33 entries, at most 32 allowed");
    buf_clear(&body);
    buf_add_str(&body, HEAD ",\"steps\":[" STEP "],\"payloads\":[\"");
    memset(buf_reserve(&body, TXN_PAYLOAD_MAX + 1), 'p', TXN_PAYLOAD_MAX + 1);
    buf_grow(&body, TXN_PAYLOAD_MAX + 1);
    buf_add_str(&body, "\"]}");
    refused(body.data, "payload");
    buf_clear(&body);
    for (int i = 0; i < 100000; i++) {
        buf_add_str(&body, "[");
    }
    refused(body.data, "deep");
    buf_fini(&body);
    free(gid);
    free(steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_go_sdk_sends),
        cmocka_unit_test(test_null_is_absent_and_unknown_fields_are_ignored),
        cmocka_unit_test(test_options_are_in_seconds),
        cmocka_unit_test(test_wait_timeout_waits_for_the_end),
        cmocka_unit_test(test_binary_payloads_and_payloads_inside_steps),
        cmocka_unit_test(test_any_script_slashes_braces_and_spaces_in_a_gid_are_kept),
        cmocka_unit_test(test_refusals_name_field_value_and_what_is_allowed),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
