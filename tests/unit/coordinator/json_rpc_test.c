/* Branches by JSON-RPC: the method in the url, the request, the meaning of the answer. */
#include "coordinator/caller_net_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_method_of_a_url(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *method;
    } cases[] = {
        {"/rpc?method=pay", "pay"},
        {"?method=pay", "pay"},
        {"/rpc?a=b&method=P.Pay&c=d", "P.Pay"},
        {"/rpc?method=one&method=two", "one"},
        {"/rpc?method=pay#x", "pay"},
        {"/rpc?method=", ""},
        {"/rpc?method", ""},
        {"/rpc?methods=pay", ""},
        {"/rpc?x=method=pay", ""},
        {"/method=pay", ""},
        {"/rpc#?method=pay", ""},
        {"/rpc?&", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice method = json_rpc_method(slice_str(cases[i].rest));
        assert_int_equal(method.len, strlen(cases[i].method));
        assert_memory_equal(method.ptr ? method.ptr : "", cases[i].method, method.len);
    }
}

static void request_is(const char *rest, const char *payload, const char *method,
                       const char *members)
{
    struct link_call call = {.gid = SLICE_LIT("g\""),
                             .branch_id = SLICE_LIT("01"),
                             .op = SLICE_LIT("action"),
                             .trans_type = SLICE_LIT("saga"),
                             .rest = slice_str(rest),
                             .payload = slice_str(payload)};
    struct buf out = {0}, wanted = {0};
    json_rpc_add_request(&out, &call);
    buf_printf(&wanted,
               "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"id\":\"g\\\"/01/action\",\"params\":{%s"
               "\"gid\":\"g\\\"\",\"trans_type\":\"saga\",\"branch_id\":\"01\",\"op\":\"action\"}}",
               method, members);
    assert_string_equal(out.data, wanted.data);
    buf_fini(&out);
    buf_fini(&wanted);
}

static void test_request(void **state)
{
    (void)state;
    request_is("?method=pay", "", "pay", "");
    request_is("?method=a%20b%2fc+d%", "null", "a b/c d%", "");
    request_is("?method=m%4", "{}", "m%4", "");
    request_is("?method=m", " { \"a\" : 9007199254740993 } ", "m", " \"a\" : 9007199254740993 ,");
    request_is("?method=m", "{\"a\":\"}\"}", "m", "\"a\":\"}\",");
    request_is("?method=m", "{\"gid\":\"x\",\"a\":{\"op\":1},\"op\":2}", "m", "\"a\":{\"op\":1},");
    request_is("?method=m", "{\"op\":null}", "m", "");
    request_is("?method=m", "[1]", "m", "\"data\":\"[1]\",");
    request_is("?method=m", "\"t\"", "m", "\"data\":\"\\\"t\\\"\",");
    request_is("?method=m", "7", "m", "\"data\":\"7\",");
    request_is("?method=m", "true", "m", "\"data\":\"true\",");
    request_is("?method=m", "not json", "m", "\"data\":\"not json\",");
}

static void test_answer(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum call_verdict verdict;
    } cases[] = {
        {200, "{\"result\":1}", CALL_SUCCESS},
        {204, "{}", CALL_SUCCESS},
        {200, "{\"error\":null}", CALL_SUCCESS},
        {200, "{\"error\":{\"code\":-32901}}", CALL_FAILURE},
        {500, "{\"error\":{\"code\":-32902}}", CALL_ONGOING},
        {200, "{\"error\":{\"code\":-32901,\"message\":\"ONGOING\"}}", CALL_FAILURE},
        {200, "{\"error\":{\"code\":\"-32901\"}}", CALL_ERROR},
        {200, "{\"error\":{\"code\":1e300}}", CALL_ERROR},
        {200, "{\"error\":{\"code\":-32900}}", CALL_ERROR},
        {500, "{\"error\":{\"code\":-32903,\"message\":\"FAILURE\"}}", CALL_CONFLICT},
        {200, "{\"error\":{\"code\":-32904}}", CALL_ERROR},
        {200, "{\"error\":{\"code\":-32603,\"message\":\"FAILURE\"}}", CALL_FAILURE},
        {200, "{\"error\":{}}", CALL_ERROR},
        {200, "{\"result\":\"ONGOING\"}", CALL_ONGOING},
        {409, "{\"result\":1}", CALL_FAILURE},
        {425, "", CALL_ONGOING},
        {500, "{\"result\":1}", CALL_ERROR},
        {200, "", CALL_ERROR},
        {200, "[]", CALL_ERROR},
        {200, "{\"result\":1,\"result\":1}", CALL_ERROR},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(json_rpc_verdict(cases[i].status, slice_str(cases[i].body)),
                         cases[i].verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method_of_a_url),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
