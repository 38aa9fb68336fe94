/* The HTTP API over a real socket, on an engine and an archive that answer as the test says. */
#include "api_http_engine.h"

#include "coordinator/api_http.h"

#include "harness/wait_for.h"
#include "net/http.h"

#include <setjmp.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WAIT_MS = 5000 };

struct fixture {
    struct loop *loop;
    struct fake_engine engine;
    struct archive archive;
    struct archive_record record;
    struct archive_page page;
    struct archive_backlog backlog;
    struct loop_task archive_task;
    archive_record_cb record_cb;
    archive_page_cb page_cb;
    archive_backlog_cb backlog_cb;
    void *archive_arg;
    char archive_asked[300];
    struct metrics *metrics;
    struct api_http *api;
    struct http_client *client;
    /* the answer */
    bool done;
    enum err err;
    int status;
    char body[8000];
    char allow[40], retry_after[8], type[80], authenticate[20];
};

/* ---- the archive ---- */

static void archive_answer_now(void *arg)
{
    struct fixture *f = arg;
    if (f->record_cb) {
        f->record_cb(f->archive_arg, &f->record);
    } else if (f->page_cb) {
        f->page_cb(f->archive_arg, &f->page);
    } else {
        f->backlog_cb(f->archive_arg, &f->backlog);
    }
}

static struct fixture *archive_asked(struct archive *archive, void *arg)
{
    struct fixture *f =
        (struct fixture *)(void *)((char *)archive - offsetof(struct fixture, archive));
    f->record_cb = NULL;
    f->page_cb = NULL;
    f->backlog_cb = NULL;
    f->archive_arg = arg;
    loop_defer(f->loop, &f->archive_task, archive_answer_now, f);
    return f;
}

static void fake_read(struct archive *archive, struct slice gid, archive_record_cb cb, void *arg)
{
    struct fixture *f = archive_asked(archive, arg);
    f->record_cb = cb;
    snprintf(f->archive_asked, sizeof(f->archive_asked), "read %.*s", SLICE_ARG(gid));
}

static enum err fake_list(struct archive *archive, const struct archive_filter *filter,
                          archive_page_cb cb, void *arg)
{
    if (slice_eq_str(filter->position, "bad")) {
        return ERR_INVALID;
    }
    struct fixture *f = archive_asked(archive, arg);
    f->page_cb = cb;
    snprintf(f->archive_asked, sizeof(f->archive_asked),
             "list%s%s%.*s status=%s from=%lld to=%lld limit=%d position=%.*s",
             filter->parked ? " parked" : "", filter->gid.len > 0 ? " gid=" : "",
             SLICE_ARG(filter->gid), filter->has_status ? txn_status_name(filter->status) : "*",
             (long long)filter->created_from_ms, (long long)filter->created_to_ms, filter->limit,
             SLICE_ARG(filter->position));
    return ERR_OK;
}

static void fake_backlog(struct archive *archive, archive_backlog_cb cb, void *arg)
{
    archive_asked(archive, arg)->backlog_cb = cb;
}

static const struct archive_ops fake_archive_ops = {fake_read, fake_list, fake_backlog, NULL};

/* ---- fixture ---- */

static void open_with(struct fixture *f, const char *token)
{
    struct api_http_conf conf = {.address = "127.0.0.1:0",
                                 .token = token,
                                 .version = "9.8.7",
                                 .body_max = 1 << 20,
                                 .timeout_ms = 5000,
                                 .connections_max = 10};
    struct api_env env = {.loop = f->loop,
                          .engine = (struct engine *)(void *)&f->engine,
                          .archive = &f->archive,
                          .metrics = f->metrics};
    struct reason reason = {.text = ""};
    f->api = api_http_open(&conf, &env, &reason);
    assert_string_equal(reason.text, "");
    assert_non_null(f->api);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct http_client_conf client = {.per_host_max = 2,
                                      .waiting_max = 2,
                                      .connect_timeout_ms = 1000,
                                      .idle_ms = 1000,
                                      .body_max = 1 << 20};
    f->loop = loop_new();
    f->engine.loop = f->loop;
    f->engine.answer.message = "";
    f->archive.ops = &fake_archive_ops;
    f->metrics = metrics_new(1, "9.8.7");
    f->client = http_client_new(f->loop, &client);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->api) {
        api_http_free(f->api);
    }
    http_client_free(f->client);
    loop_turn(f->loop, 0);
    loop_free(f->loop);
    metrics_free(f->metrics);
    free(f);
    return 0;
}

static void header_keep(const struct http_answer *answer, const char *name, char *out, size_t size)
{
    const char *value = answer->header(answer, name);
    snprintf(out, size, "%s", value ? value : "");
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct fixture *f = arg;
    f->done = true;
    f->err = answer->err;
    f->status = answer->status;
    snprintf(f->body, sizeof(f->body), "%.*s", SLICE_ARG(answer->body));
    if (answer->err == ERR_OK) {
        header_keep(answer, "Allow", f->allow, sizeof(f->allow));
        header_keep(answer, "Retry-After", f->retry_after, sizeof(f->retry_after));
        header_keep(answer, "Content-Type", f->type, sizeof(f->type));
        header_keep(answer, "WWW-Authenticate", f->authenticate, sizeof(f->authenticate));
    }
}

static void ask_with(struct fixture *f, enum http_method method, const char *path,
                     struct slice body, const char *authorization)
{
    char url[1000];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", api_http_port(f->api), path);
    struct http_header header = {SLICE_LIT("Authorization"), slice_str(authorization)};
    struct http_call call = {.method = method,
                             .url = url,
                             .headers = &header,
                             .header_count = authorization ? 1 : 0,
                             .body = body,
                             .deadline_ms = loop_now_ms(f->loop) + WAIT_MS};
    struct reason reason;
    f->done = false;
    f->engine.asked[0] = '\0';
    f->archive_asked[0] = '\0';
    assert_int_equal(http_client_call(f->client, &call, on_answer, f, &reason), ERR_OK);
    wait_for(f->loop, f->done);
    assert_int_equal(f->err, ERR_OK);
}

static void get(struct fixture *f, const char *path)
{
    ask_with(f, HTTP_GET, path, slice_make(NULL, 0), NULL);
}

static void post(struct fixture *f, const char *path, const char *body)
{
    ask_with(f, HTTP_POST, path, slice_str(body), NULL);
}

static struct fixture *opened(void **state)
{
    struct fixture *f = *state;
    open_with(f, "");
    return f;
}

static void answers(struct fixture *f, int status, const char *body)
{
    assert_string_equal(f->body, body);
    assert_int_equal(f->status, status);
}

/* ---- small calls ---- */

static void test_ping_version_new_gid(void **state)
{
    struct fixture *f = opened(state);
    get(f, "/api/ping");
    answers(f, 200, "{\"msg\":\"pong\"}");
    assert_string_equal(f->type, "application/json; charset=utf-8");
    post(f, "/api/ping", "x");
    answers(f, 200, "{\"msg\":\"pong\"}");
    ask_with(f, HTTP_DELETE, "/api/ping", slice_make(NULL, 0), NULL);
    assert_int_equal(f->status, 200);
    get(f, "/api/dtmsvr/version");
    answers(f, 200, "{\"version\":\"v9.8.7\"}");
    get(f, "/api/dtmsvr/newGid");
    assert_int_equal(f->status, 200);
    assert_non_null(strstr(f->body, "{\"dtm_result\":\"SUCCESS\",\"gid\":\""));
    char first[sizeof(f->body)];
    snprintf(first, sizeof(first), "%s", f->body);
    get(f, "/api/dtmsvr/newGid");
    assert_string_not_equal(first, f->body);
}

static void test_unknown_paths_and_wrong_methods(void **state)
{
    struct fixture *f = opened(state);
    get(f, "/api/dtmsvr/nothing");
    answers(f, 404, "{\"message\":\"no such path: /api/dtmsvr/nothing\"}");
    get(f, "/api/dtmsvr/submit/");
    assert_int_equal(f->status, 404);
    get(f, "/api/dtmsvr/submit");
    answers(f, 405, "{\"message\":\"/api/dtmsvr/submit: allowed methods: POST\"}");
    assert_string_equal(f->allow, "POST");
    ask_with(f, HTTP_HEAD, "/api/dtmsvr/submit", slice_make(NULL, 0), NULL);
    assert_int_equal(f->status, 405);
    post(f, "/api/dtmsvr/query", "{}");
    assert_int_equal(f->status, 405);
    assert_string_equal(f->allow, "GET, HEAD");
    ask_with(f, HTTP_DELETE, "/api/dtmsvr/abort", slice_make(NULL, 0), NULL);
    assert_int_equal(f->status, 405);
    ask_with(f, HTTP_HEAD, "/api/dtmsvr/version", slice_make(NULL, 0), NULL);
    assert_int_equal(f->status, 200);
}

static void test_token(void **state)
{
    struct fixture *f = *state;
    open_with(f, "s3cret");
    static const char *const wrong[] = {
        NULL,           "",       "Bearer ",     "Bearer s3cre", "Bearer s3cretx",
        "Basic s3cret", "s3cret", "Bearers3cret"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ask_with(f, HTTP_GET, "/api/dtmsvr/newGid", slice_make(NULL, 0), wrong[i]);
        assert_int_equal(f->status, 401);
        assert_string_equal(f->authenticate, "Bearer");
    }
    ask_with(f, HTTP_GET, "/api/dtmsvr/newGid", slice_make(NULL, 0), "Bearer s3cret");
    assert_int_equal(f->status, 200);
    ask_with(f, HTTP_GET, "/api/dtmsvr/newGid", slice_make(NULL, 0), "bearer s3cret");
    assert_int_equal(f->status, 200);
    get(f, "/api/ping"); /* health checks have no token */
    assert_int_equal(f->status, 200);
}

/* ---- submit ---- */

#define BODY(extra)                                                                                \
    "{\"gid\":\"g1\",\"trans_type\":\"saga\",\"steps\":[{\"action\":\"http://h/a\"}],"             \
    "\"payloads\":[\"\"]" extra "}"

struct submit_case {
    bool waits;
    enum err err;
    enum txn_status status;
    const char *reason;
    int http_status;
    const char *body;
};

static void test_submit_outcomes(void **state)
{
    static const struct submit_case cases[] = {
        {false, ERR_OK, TXN_SUBMITTED, "", 200,
         "{\"dtm_result\":\"SUCCESS\",\"status\":\"submitted\"}"},
        {false, ERR_OK, TXN_FAILED, "x", 409,
         "{\"dtm_result\":\"FAILURE\",\"message\":\"current status 'failed', cannot submit. "
         "FAILURE\"}"},
        {false, ERR_OK, TXN_SUCCEED, "", 200,
         "{\"dtm_result\":\"SUCCESS\",\"status\":\"succeed\"}"},
        {false, ERR_OK, TXN_ABORTING, "x", 409,
         "{\"dtm_result\":\"FAILURE\",\"message\":\"current status 'aborting', cannot submit. "
         "FAILURE\"}"},
        {true, ERR_OK, TXN_SUCCEED, "", 200, "{\"dtm_result\":\"SUCCESS\",\"status\":\"succeed\"}"},
        {true, ERR_OK, TXN_FAILED, "url:u return failed: no stock", 409,
         "{\"dtm_result\":\"FAILURE\",\"message\":\"url:u return failed: no stock FAILURE\"}"},
        {true, ERR_OK, TXN_FAILED, "said FAILURE", 409,
         "{\"dtm_result\":\"FAILURE\",\"message\":\"said FAILURE\"}"},
        {true, ERR_OK, TXN_FAILED, "", 409, "{\"dtm_result\":\"FAILURE\",\"message\":\"FAILURE\"}"},
        {true, ERR_OK, TXN_SUBMITTED, "", 425,
         "{\"dtm_result\":\"ONGOING\",\"message\":\"the transaction is 'submitted' and goes on; "
         "ask "
         "with query. ONGOING\"}"},
        {true, ERR_OK, TXN_ABORTING, "x FAILURE", 425,
         "{\"dtm_result\":\"ONGOING\",\"message\":\"the transaction is 'aborting' and goes on; ask "
         "with query. ONGOING\"}"},
        {false, ERR_BUSY, TXN_SUBMITTED, "", 429,
         "{\"message\":\"too many transactions in work; try again\"}"},
        {true, ERR_UNAVAILABLE, TXN_SUBMITTED, "", 503,
         "{\"message\":\"the store does not answer; whether it was done is unknown, ask again with "
         "the same gid\"}"},
    };
    struct fixture *f = opened(state);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct submit_case *c = &cases[i];
        f->engine.answer = (struct engine_answer){.err = c->err,
                                                  .status = c->status,
                                                  .rollback_reason = slice_str(c->reason),
                                                  .message = ""};
        post(f, "/api/dtmsvr/submit",
             c->waits ? BODY(",\"wait_result\":true,\"wait_timeout\":2") : BODY(""));
        answers(f, c->http_status, c->body);
        assert_string_equal(f->engine.asked, c->waits ? "submit g1 steps=1 wait=2/2000"
                                                      : "submit g1 steps=1 wait=0/0");
        bool busy = c->http_status == 429 || c->http_status == 503;
        assert_string_equal(f->retry_after, busy ? "1" : "");
    }
}

static void test_submit_that_is_wrong_never_reaches_the_engine(void **state)
{
    struct fixture *f = opened(state);
    post(f, "/api/dtmsvr/submit", "{\"gid\":\"g\",\"trans_type\":\"dance\"}");
    answers(f, 400,
            "{\"message\":\"field 'trans_type': 'dance' is not supported; allowed: saga, tcc, "
            "msg, xa, workflow\"}");
    post(f, "/api/dtmsvr/submit", "{\"gid\":\"\xC3\x28\"}");
    assert_int_equal(f->status, 400);
    post(f, "/api/dtmsvr/submit", "");
    assert_int_equal(f->status, 400);
    assert_string_equal(f->engine.asked, "");
}

static void test_too_large_a_body_is_413(void **state)
{
    struct fixture *f = opened(state);
    size_t size = 10 << 20;
    char *body = malloc(size);
    memset(body, ' ', size);
    ask_with(f, HTTP_POST, "/api/dtmsvr/submit", slice_make(body, size), NULL);
    assert_int_equal(f->status, 413);
    assert_non_null(strstr(f->body, "{\"message\":"));
    free(body);
}

static void test_draining_accepts_nobody(void **state)
{
    struct fixture *f = opened(state);
    get(f, "/api/ping"); /* the connection is kept */
    f->engine.answer.err = ERR_BUSY;
    assert_int_equal(api_http_in_flight(f->api), 0);
    int port = api_http_port(f->api);
    api_http_drain(f->api);
    char url[100];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/api/ping", port);
    struct http_call call = {
        .method = HTTP_GET, .url = url, .deadline_ms = loop_now_ms(f->loop) + WAIT_MS};
    struct reason reason;
    f->done = false;
    assert_int_equal(http_client_call(f->client, &call, on_answer, f, &reason), ERR_OK);
    wait_for(f->loop, f->done);
    assert_int_not_equal(f->err, ERR_OK); /* nobody accepts any more */
}

/* ---- abort, forceStop, resetNextCronTime ---- */

static void test_abort(void **state)
{
    struct fixture *f = opened(state);
    f->engine.answer.status = TXN_ABORTING;
    post(f, "/api/dtmsvr/abort",
         "{\"gid\":\"g1\",\"trans_type\":\"saga\",\"rollback_reason\":\"changed my mind\"}");
    answers(f, 200, "{\"dtm_result\":\"SUCCESS\",\"status\":\"aborting\"}");
    assert_string_equal(f->engine.asked, "abort g1 because changed my mind");
    post(f, "/api/dtmsvr/abort", "{\"gid\":\"g1\",\"wait_result\":true}");
    assert_string_equal(f->engine.asked, "abort g1 because aborted by request, waits");
    answers(f, 425,
            "{\"dtm_result\":\"ONGOING\",\"message\":\"the transaction is 'aborting' and goes on; "
            "ask with query. ONGOING\"}");
    f->engine.answer = (struct engine_answer){
        .err = ERR_CONFLICT, .status = TXN_SUCCEED, .message = "engine's words"};
    post(f, "/api/dtmsvr/abort", "{\"gid\":\"g1\"}");
    answers(f, 409,
            "{\"dtm_result\":\"FAILURE\",\"message\":\"trans type: 'saga' current status "
            "'succeed', cannot abort. FAILURE\"}");
    f->engine.answer.err = ERR_NOT_FOUND;
    post(f, "/api/dtmsvr/abort", "{\"gid\":\"g \\\"1\"}");
    answers(f, 404, "{\"message\":\"no transaction with gid: g \\\"1\"}");
    post(f, "/api/dtmsvr/abort", "{\"gid\":\"g1\",\"trans_type\":\"dance\"}");
    assert_int_equal(f->status, 400);
    post(f, "/api/dtmsvr/abort", "{\"gid\":\"g1\",\"rollback_reason\":7}");
    assert_int_equal(f->status, 400);
}

static void test_force_stop_and_retry_now(void **state)
{
    struct fixture *f = opened(state);
    f->engine.answer.status = TXN_FAILED;
    post(f, "/api/dtmsvr/forceStop", "{\"gid\":\"g1\"}");
    answers(f, 200, "{\"dtm_result\":\"SUCCESS\",\"status\":\"failed\"}");
    assert_string_equal(f->engine.asked, "force_stop g1");
    f->engine.answer.status = TXN_SUBMITTED;
    post(f, "/api/dtmsvr/resetNextCronTime", "{\"gid\":\"g1\"}");
    answers(f, 200, "{\"dtm_result\":\"SUCCESS\",\"status\":\"submitted\"}");
    assert_string_equal(f->engine.asked, "retry_now g1");
    f->engine.answer =
        (struct engine_answer){.err = ERR_CONFLICT, .status = TXN_SUCCEED, .message = ""};
    post(f, "/api/dtmsvr/forceStop", "{\"gid\":\"g1\"}");
    answers(f, 409,
            "{\"dtm_result\":\"FAILURE\",\"message\":\"current status 'succeed', cannot force "
            "stop. FAILURE\"}");
    static const char *const bad[] = {"", "[]", "{}", "{\"gid\":\"\"}", "{\"gid\":1}", "{\"gid\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        post(f, "/api/dtmsvr/forceStop", bad[i]);
        assert_int_equal(f->status, 400);
        post(f, "/api/dtmsvr/resetNextCronTime", bad[i]);
        assert_int_equal(f->status, 400);
    }
}

/* ---- query, all, metrics ---- */

static struct txn *txn_sample(void)
{
    struct txn_step step = {
        .urls = {[OP_ACTION] = SLICE_LIT("http://h/a"), [OP_UNDO] = SLICE_LIT("http://h/c")},
        .payload = SLICE_LIT("pay")};
    struct txn_header header = {SLICE_LIT("X-A"), SLICE_LIT("1")};
    struct txn_spec spec = {
        .gid = SLICE_LIT("g1"),
        .trans_type = SLICE_LIT("saga"),
        .options = {.timeout_to_fail_ms = 35000, .headers = &header, .header_count = 1},
        .steps = &step,
        .step_count = 1};
    struct txn *txn = txn_new(&spec);
    txn->created_ms = 1700000000000;
    txn->updated_ms = 1700000000500;
    txn->finished_ms = 1700000000500;
    txn->status = TXN_FAILED;
    txn->branches[0].ops[OP_ACTION].status = OP_FAILED;
    txn_set_reason(txn, slice_str("no \"stock\""));
    return txn;
}

static void test_query(void **state)
{
    struct fixture *f = opened(state);
    struct txn *txn = txn_sample();
    struct archive_line line = {.time_ms = 1700000000250,
                                .op = SLICE_LIT("01.action"),
                                .result = SLICE_LIT("FAILURE"),
                                .duration_ms = 12,
                                .note = SLICE_LIT("why")};
    f->record = (struct archive_record){
        .status = STORE_OK,
        .message = "",
        .txn = txn,
        .lines = &line,
        .line_count = 1,
        .partition = 12,
        .history_short = true,
    };
    get(f, "/api/dtmsvr/query?gid=g%201");
    assert_string_equal(f->archive_asked, "read g 1");
    answers(f, 200,
            "{\"transaction\":{\"id\":0,\"create_time\":\"2023-11-14T22:13:20.000Z\","
            "\"update_time\":\"2023-11-14T22:13:20.500Z\",\"gid\":\"g1\",\"trans_type\":\"saga\","
            "\"status\":\"failed\",\"protocol\":\"http\","
            "\"rollback_time\":\"2023-11-14T22:13:20.500Z\","
            "\"rollback_reason\":\"no \\\"stock\\\"\","
            "\"options\":\"{\\\"timeout_to_fail\\\":35,\\\"branch_headers\\\":{\\\"X-A\\\":"
            "\\\"1\\\"},\\\"concurrent\\\":false}\","
            "\"timeout_to_fail\":35,\"branch_headers\":{\"X-A\":\"1\"},\"concurrent\":false},"
            "\"branches\":[{\"id\":0,\"create_time\":\"2023-11-14T22:13:20.000Z\","
            "\"update_time\":\"2023-11-14T22:13:20.000Z\",\"gid\":\"g1\",\"url\":\"http://h/c\","
            "\"bin_data\":\"cGF5\",\"branch_id\":\"01\",\"op\":\"compensate\","
            "\"status\":\"prepared\"},"
            "{\"id\":0,\"create_time\":\"2023-11-14T22:13:20.000Z\","
            "\"update_time\":\"2023-11-14T22:13:20.250Z\",\"gid\":\"g1\",\"url\":\"http://h/a\","
            "\"bin_data\":\"cGF5\",\"branch_id\":\"01\",\"op\":\"action\",\"status\":\"failed\","
            "\"finish_time\":\"2023-11-14T22:13:20.250Z\"}],"
            "\"history\":[{\"time\":\"2023-11-14T22:13:20.250Z\",\"op\":\"01.action\","
            "\"result\":\"FAILURE\",\"duration_ms\":12,\"note\":\"why\"}],"
            "\"keys\":{\"tx\":\"saga:{12}:tx:g1\",\"log\":\"saga:{12}:log:g1\","
            "\"due\":\"saga:{12}:due\",\"recent\":\"saga:{12}:recent\","
            "\"parked\":\"saga:{12}:parked\","
            "\"history\":\"saga:{12}:tx:g1\"}}");
    f->record.history_short = false;
    get(f, "/api/dtmsvr/query?gid=g%201");
    assert_non_null(strstr(f->body, "\"history\":\"saga:{12}:log:g1\"}}"));
    txn_free(txn);
}

static void test_query_of_nothing(void **state)
{
    struct fixture *f = opened(state);
    f->record = (struct archive_record){.status = STORE_NOT_FOUND, .message = ""};
    get(f, "/api/dtmsvr/query?gid=g");
    answers(f, 200, "{\"transaction\":null,\"branches\":[],\"history\":[]}");
    get(f, "/api/dtmsvr/query");
    answers(f, 400, "{\"message\":\"gid: is empty; must have 1 to 128 characters\"}");
    get(f, "/api/dtmsvr/query?gid=a%0Ab");
    assert_int_equal(f->status, 400);
    f->record = (struct archive_record){.status = STORE_REFUSED, .message = "LOADING"};
    get(f, "/api/dtmsvr/query?gid=g");
    answers(f, 503, "{\"message\":\"the store does not answer: LOADING\"}");
    assert_string_equal(f->retry_after, "1");
}

static void test_resolve_and_retry_parked(void **state)
{
    struct fixture *f = opened(state);
    struct txn *txn = txn_sample();
    f->engine.answer = (struct engine_answer){.status = TXN_ABORTING};
    post(f, "/api/dtmsvr/resolve",
         "{\"gid\":\"g1\",\"branch_id\":\"01\",\"op\":\"compensate\",\"as\":\"succeed\","
         "\"reason\":\"by hand\"}");
    assert_string_equal(f->engine.asked, "resolve g1 01.compensate because by hand");
    assert_int_equal(f->status, 200);
    f->page = (struct archive_page){
        .status = STORE_OK, .txns = &txn, .count = 1, .next_position = SLICE_LIT("p7")};
    post(f, "/api/dtmsvr/retryParked?limit=5&position=p6", "");
    assert_string_equal(f->archive_asked, "list parked status=* from=0 to=0 limit=5 position=p6");
    assert_string_equal(f->engine.asked, "unpark g1");
    assert_string_equal(f->body, "{\"succeed_count\":1,\"failed\":[],\"next_position\":\"p7\"}");
    f->engine.answer = (struct engine_answer){.err = ERR_CONFLICT, .message = "it is not parked"};
    post(f, "/api/dtmsvr/retryParked", "");
    assert_string_equal(f->body, "{\"succeed_count\":0,\"failed\":[{\"gid\":\"g1\",\"message\":"
                                 "\"it is not parked\"}],\"next_position\":\"p7\"}");
    txn_free(txn);
}

static void test_all(void **state)
{
    struct fixture *f = opened(state);
    struct txn *txn = txn_sample();
    struct txn *txns[] = {txn, txn};
    f->page = (struct archive_page){.status = STORE_OK,
                                    .message = "",
                                    .txns = txns,
                                    .count = 2,
                                    .next_position = SLICE_LIT("p7")};
    get(f, "/api/dtmsvr/all");
    assert_string_equal(f->archive_asked, "list status=* from=0 to=0 limit=100 position=");
    assert_int_equal(f->status, 200);
    assert_non_null(strstr(f->body, "}],\"next_position\":\"p7\"}"));
    get(f, "/api/dtmsvr/all?status=aborting&transType=saga&createTimeStart=5&createTimeEnd=6"
           "&limit=2&position=p7");
    assert_string_equal(f->archive_asked, "list status=aborting from=5 to=6 limit=2 position=p7");
    get(f, "/api/dtmsvr/all?gid=g1&status=failed&limit=9");
    assert_string_equal(f->archive_asked,
                        "list gid=g1 status=failed from=0 to=0 limit=9 position=");
    static const char *const bad[] = {"limit=0",      "limit=1001",     "limit=x",
                                      "status=done",  "transType=none", "createTimeStart=-1",
                                      "position=bad", "gid=a%0Ab",      "parked=no"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char path[100];
        snprintf(path, sizeof(path), "/api/dtmsvr/all?%s", bad[i]);
        get(f, path);
        assert_int_equal(f->status, 400);
    }
    txn_free(txn);
}

static void test_metrics_are_text_and_count_the_requests(void **state)
{
    struct fixture *f = opened(state);
    f->backlog = (struct archive_backlog){.status = STORE_OK, .due = 4, .overdue = 1};
    f->engine.answer.status = TXN_SUBMITTED;
    post(f, "/api/dtmsvr/submit", BODY(""));
    get(f, "/nowhere");
    get(f, "/api/metrics");
    assert_string_equal(f->type, "text/plain; version=0.0.4; charset=utf-8");
    assert_int_equal(f->status, 200);
    struct buf text = {0};
    struct metrics_backlog backlog = {.known = true, .due = 4};
    metrics_render(f->metrics, &backlog, &text);
    assert_non_null(strstr(
        text.data, "sagad_http_requests_total{path=\"/api/dtmsvr/submit\",status=\"200\"} 1\n"));
    assert_non_null(
        strstr(text.data, "sagad_http_requests_total{path=\"other\",status=\"404\"} 1\n"));
    buf_fini(&text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ping_version_new_gid),
        CASE(test_unknown_paths_and_wrong_methods),
        CASE(test_token),
        CASE(test_submit_outcomes),
        CASE(test_submit_that_is_wrong_never_reaches_the_engine),
        CASE(test_too_large_a_body_is_413),
        CASE(test_draining_accepts_nobody),
        CASE(test_abort),
        CASE(test_force_stop_and_retry_now),
        CASE(test_resolve_and_retry_parked),
        CASE(test_query),
        CASE(test_query_of_nothing),
        CASE(test_all),
        CASE(test_metrics_are_text_and_count_the_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
