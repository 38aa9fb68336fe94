#include "fixture.h"

#include "base/clock.h"
#include "services/common/service.h"
#include "services/common/token.h"

/* /open and /closed answer {"uid":N,"n":<n of the body>}. */
static void handle_echo(void *arg, struct web_request *request)
{
    (void)arg;
    struct reason reason;
    int64_t n = 5;
    if (json_read_int(request->body, "n", 1, 10, &n, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    struct web_answer answer;
    struct json_writer *w = web_answer_begin(&answer);
    json_open_object(w, NULL);
    json_put_int(w, "uid", request->uid);
    json_put_int(w, "n", n);
    json_close_object(w);
    web_answer_send(&answer, request, 200);
}

/* Needs an id and a text of 2 to 4 characters, and checks the idempotency key. */
static void handle_strict(void *arg, struct web_request *request)
{
    (void)arg;
    struct reason reason;
    int64_t id = 0;
    struct slice text;
    enum err err = web_check_key(request, &reason);
    if (err == ERR_OK) {
        err = web_need_id(request, "id", &id, &reason);
    }
    if (err == ERR_OK) {
        err = web_need_text(request, "text", 2, 4, &text, &reason);
    }
    if (err == ERR_OK) {
        web_fail(request, 503, "unavailable", "all is well");
    } else {
        web_refuse(request, &reason);
    }
}

static const struct web_route routes[] = {
    {"/open", true, handle_echo},
    {"/closed", false, handle_echo},
    {"/strict", true, handle_strict},
    {NULL, false, NULL},
};

static int begin(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    assert_non_null(fx);
    fixture_open(fx, routes, NULL);
    *state = fx;
    return 0;
}

static int end(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

static struct answer post(void **state, const char *path, const char *body)
{
    return fixture_ask(*state, &(struct ask){HTTP_POST, path, body, NULL, NULL});
}

static void open_route_needs_no_token(void **state)
{
    struct answer answer = post(state, "/open", "{\"n\":3}");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"uid\":0,\"n\":3}");
    assert_string_equal(answer.type, "application/json; charset=utf-8");
    assert_string_equal(post(state, "/open", "").body, "{\"uid\":0,\"n\":5}");
}

static void token_tells_the_user(void **state)
{
    struct answer answer = fixture_post(*state, "/closed", "{}");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"uid\":7,\"n\":5}");
}

static void without_a_good_token_nothing_is_done(void **state)
{
    char old[512], foreign[512];
    char *token = token_sign(fixture_secret, 7, clock_wall_ms() / 1000 - TOKEN_LIFE_S);
    snprintf(old, sizeof(old), "Bearer %s", token);
    free(token);
    token = token_sign("the secret of somebody else, long enough", 7, clock_wall_ms() / 1000);
    snprintf(foreign, sizeof(foreign), "Bearer %s", token);
    const struct {
        const char *header, *part;
    } cases[] = {{NULL, "send the header"},
                 {"", "send the header"},
                 {"Basic eDp5", "send the header"},
                 {token, "send the header"},
                 {"Bearer ", "send the header"},
                 {"Bearer x.y.z", "malformed"},
                 {old, "expired"},
                 {foreign, "signature"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer = fixture_ask(
            *state, &(struct ask){HTTP_POST, "/closed", "{bad json", cases[i].header, NULL});
        assert_error(&answer, 401, "unauthorized", cases[i].part);
    }
    free(token);
}

static void scheme_of_the_token_in_any_case(void **state)
{
    char header[512];
    char *token = token_sign(fixture_secret, 7, clock_wall_ms() / 1000);
    snprintf(header, sizeof(header), "bEARER %s", token);
    free(token);
    struct answer answer =
        fixture_ask(*state, &(struct ask){HTTP_POST, "/closed", "{}", header, NULL});
    assert_int_equal(answer.status, 200);
}

static void unknown_paths_and_methods(void **state)
{
    struct answer answer = post(state, "/nowhere", "{}");
    assert_error(&answer, 404, "not_found", "no such path");
    answer = post(state, "/open/", "{}");
    assert_error(&answer, 404, "not_found", "no such path");
    answer = fixture_ask(*state, &(struct ask){HTTP_GET, "/closed", NULL, NULL, NULL});
    assert_error(&answer, 405, "method_not_allowed", "takes POST");
    assert_string_equal(answer.allow, "POST");
    answer = post(state, "/api/ping", "{}");
    assert_error(&answer, 405, "method_not_allowed", "takes GET");
    assert_string_equal(answer.allow, "GET");
}

static void bodies_that_are_no_objects_are_refused(void **state)
{
    const struct {
        const char *body, *part;
    } cases[] = {{"[]", "must be a JSON object"}, {"5", "must be a JSON object"},
                 {"null", "must be a JSON"},      {"{", "line 1"},
                 {"{\"n\":1}x", "line 1"},        {"{\"n\":1,\"n\":2}", "n"},
                 {"{\"n\":11}", "field 'n'"},     {"{\"n\":1.5}", "field 'n'"},
                 {"{\"n\":\"1\"}", "field 'n'"},  {"{\"n\":true}", "field 'n'"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer = post(state, "/open", cases[i].body);
        assert_error(&answer, 400, "invalid", cases[i].part);
    }
    char deep[200];
    memset(deep, '[', sizeof(deep));
    deep[sizeof(deep) - 1] = '\0';
    struct answer answer = post(state, "/open", deep);
    assert_error(&answer, 400, "invalid", "");
}

static void large_body_is_refused_in_the_same_shape(void **state)
{
    char *body = malloc(BODY_MAX + 2);
    assert_non_null(body);
    memset(body, ' ', BODY_MAX + 1);
    body[BODY_MAX + 1] = '\0';
    struct answer answer = post(state, "/open", body);
    assert_error(&answer, 413, "too_large", "");
    memcpy(body, "{}", 2);
    body[BODY_MAX] = '\0'; /* just the limit */
    assert_int_equal(post(state, "/open", body).status, 200);
    free(body);
}

static void members_are_named_when_they_are_wrong(void **state)
{
    const struct {
        const char *body, *part;
    } cases[] = {
        {"{}", "field 'id' is missing"},
        {"{\"id\":null}", "field 'id' is missing"},
        {"{\"id\":0}", "field 'id'"},
        {"{\"id\":-1}", "field 'id'"},
        {"{\"id\":9007199254740992}", "field 'id'"},
        {"{\"id\":1e300}", "field 'id'"},
        {"{\"id\":1}", "field 'text' is missing"},
        {"{\"id\":1,\"text\":5}", "field 'text'"},
        {"{\"id\":1,\"text\":\"\xc3\xbc\"}", "allowed are 2 to 4 characters"},
        {"{\"id\":1,\"text\":\"12345\"}", "allowed are 2 to 4 characters"},
        {"{\"id\":1,\"text\":\"a\\nb\"}", "no control characters"},
        {"{\"id\":1,\"text\":\"a\\u0000\"}", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer = post(state, "/strict", cases[i].body);
        assert_error(&answer, 400, "invalid", cases[i].part);
    }
    struct answer answer =
        post(state, "/strict",
             "{\"id\":9007199254740991,\"text\":\"\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\"}");
    assert_error(&answer, 503, "unavailable", "all is well");
    assert_string_equal(answer.retry_after, "1");
}

static struct answer with_key(void **state, const char *key)
{
    return fixture_ask(
        *state, &(struct ask){HTTP_POST, "/strict", "{\"id\":1,\"text\":\"ab\"}", NULL, key});
}

static void idempotency_key_has_up_to_64_characters(void **state)
{
    char key[129] = "";
    for (int i = 0; i < 64; i++) {
        memcpy(key + 2 * i, "\xc3\xbc", 3);
    }
    assert_int_equal(with_key(state, NULL).status, 503);
    assert_int_equal(with_key(state, "k").status, 503);
    assert_int_equal(with_key(state, key).status, 503);
    static const char *const wrong[] = {
        "",
        "12345678901234567890123456789012345678901234567890123456789012345",
        "not utf-8 \xff",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct answer answer = with_key(state, wrong[i]);
        assert_error(&answer, 400, "invalid", "Idempotency-Key");
    }
}

static void ping_and_metrics_need_no_token(void **state)
{
    struct answer answer =
        fixture_ask(*state, &(struct ask){HTTP_GET, "/api/ping", NULL, NULL, NULL});
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"msg\":\"pong\"}");
    (void)post(state, "/open", "{}");
    (void)post(state, "/closed", "{}");
    (void)post(state, "/nowhere", "{}");
    (void)post(state, "/some/other/path", "{}");
    answer = fixture_ask(*state, &(struct ask){HTTP_GET, "/api/metrics", NULL, NULL, NULL});
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.type, "text/plain; version=0.0.4; charset=utf-8");
    static const char *const lines[] = {
        "path=\"/api/ping\",status=\"200\"} 1\n", "path=\"/api/metrics\",status=\"200\"} 1\n",
        "path=\"/open\",status=\"200\"} 1\n",     "path=\"/closed\",status=\"401\"} 1\n",
        "path=\"other\",status=\"404\"} 2\n",     "mall_alerts_total{service=\"testd\"} 0\n"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!strstr(answer.body, lines[i])) {
            fail_msg("no line %s in:\n%s", lines[i], answer.body);
        }
    }
    assert_null(strstr(answer.body, "nowhere")); /* what clients send makes no label */
}

/* Ping too: it tells who waits that the service serves. */
static void held_requests_are_503_until_they_are_let_in(void **state)
{
    struct fixture *fx = *state;
    web_hold(fx->web, "waiting for something");
    static const char *const paths[] = {"/api/ping", "/api/metrics", "/nowhere", "/echo"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct answer answer = fixture_ask(fx, &(struct ask){HTTP_GET, paths[i], "", NULL, NULL});
        assert_error(&answer, 503, "unavailable", "waiting for something");
        assert_string_equal(answer.retry_after, "1");
    }
    web_hold(fx->web, NULL);
    struct answer answer = fixture_ask(fx, &(struct ask){HTTP_GET, "/api/ping", "", NULL, NULL});
    assert_int_equal(answer.status, 200);
}

static void reasons_are_split_into_code_and_text(void **state)
{
    (void)state;
    const struct {
        const char *reason, *code, *text;
    } cases[] = {
        {"stock_exhausted: 0 left", "stock_exhausted", "0 left"},
        {"a: ", "a", ""},
        {"no colon", "fallback", "no colon"},
        {"Upper: x", "fallback", "Upper: x"},
        {"code:x", "fallback", "code:x"},
        {": x", "fallback", ": x"},
        {"", "fallback", ""},
        {"a_code_of_thirty_one_characters: x", "a_code_of_thirty_one_characters", "x"},
        {"a_code_of_thirty_two_characters_: x", "fallback", "a_code_of_thirty_two_characters_: x"},
        {"nested: inner: x", "nested", "inner: x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char code[WEB_CODE_SIZE];
        struct slice text = web_split_reason(slice_str(cases[i].reason), "fallback", code);
        assert_string_equal(code, cases[i].code);
        assert_true(slice_eq_str(text, cases[i].text));
    }
}

static void failure_of_a_transaction_tells_what_the_participant_said(void **state)
{
    (void)state;
    const struct {
        const char *reason, *json;
    } cases[] = {
        {"url:tcp://p/x return failed: stock_exhausted: 0 left, 1 wanted",
         "{\"code\":\"stock_exhausted\",\"message\":\"0 left, 1 wanted\"}"},
        {"url:http://p/x return failed: stock_exhausted: gone FAILURE",
         "{\"code\":\"stock_exhausted\",\"message\":\"gone\"}"},
        {"timeout_to_fail has passed",
         "{\"code\":\"order_failed\",\"message\":\"timeout_to_fail has passed\"}"},
        {"", "{\"code\":\"order_failed\",\"message\":\"\"}"},
        {"url:u return failed: said \"no\"",
         "{\"code\":\"order_failed\",\"message\":\"said \\\"no\\\"\"}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};
        struct json_writer w;
        json_writer_init(&w, &out);
        json_open_object(&w, NULL);
        service_put_failure(&w, slice_str(cases[i].reason), "order_failed");
        json_close_object(&w);
        assert_string_equal(out.data, cases[i].json);
        buf_fini(&out);
    }
}

static void status_of_a_transaction_as_http_status(void **state)
{
    (void)state;
    assert_int_equal(service_http_status("succeed"), 200);
    assert_int_equal(service_http_status("failed"), 409);
    assert_int_equal(service_http_status("submitted"), 202);
    assert_int_equal(service_http_status("aborting"), 202);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(open_route_needs_no_token),
        CASE(token_tells_the_user),
        CASE(without_a_good_token_nothing_is_done),
        CASE(scheme_of_the_token_in_any_case),
        CASE(unknown_paths_and_methods),
        CASE(bodies_that_are_no_objects_are_refused),
        CASE(large_body_is_refused_in_the_same_shape),
        CASE(members_are_named_when_they_are_wrong),
        CASE(idempotency_key_has_up_to_64_characters),
        CASE(ping_and_metrics_need_no_token),
        CASE(held_requests_are_503_until_they_are_let_in),
        cmocka_unit_test(reasons_are_split_into_code_and_text),
        cmocka_unit_test(failure_of_a_transaction_tells_what_the_participant_said),
        cmocka_unit_test(status_of_a_transaction_as_http_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
