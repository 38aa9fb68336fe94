/* The initiator against a coordinator that is played by the test. */
#include "fixture.h"

#include "base/clock.h"
#include "base/mem.h"

enum { TOO_LONG = 5 * 1024 * 1024 /* for a frame */ };

struct stage {
    struct loop *loop;
    struct rpc_server *server;
    struct saga *saga;
    struct wire_message answer; /* kind NONE: never answer */
    struct wire_error error;    /* code set: answer with it */
    int asked;
    struct rpc_request *held[4]; /* never answered */
    int held_count;
    /* What the last request said. */
    char seen[TEXT_SIZE];
};

struct result {
    bool done;
    enum saga_error error;
    char text[TEXT_SIZE];
};

static void describe(struct stage *stage, const struct wire_message *m)
{
    size_t used = 0;
    if (m->kind != WIRE_SUBMIT) {
        snprintf(stage->seen, TEXT_SIZE, "kind %d gid %.*s", (int)m->kind,
                 SLICE_ARG(m->kind == WIRE_QUERY ? m->query_gid : (struct slice){0}));
        return;
    }
    const struct wire_submit *s = &m->submit;
    const struct wire_options *o = &s->options;
    used = (size_t)snprintf(
        stage->seen, TEXT_SIZE,
        "%.*s %.*s fail %" PRId64 " retry %" PRId64 " limit %u request %" PRId64 " wait %d %u",
        SLICE_ARG(s->trans_type), SLICE_ARG(s->gid), o->timeout_to_fail_ms, o->retry_interval_ms,
        o->retry_limit, o->request_timeout_ms, s->wait_result, s->wait_timeout_ms);
    for (size_t i = 0; i < s->step_count; i++) {
        used += (size_t)snprintf(stage->seen + used, TEXT_SIZE - used, " [%.*s %.*s %.*s]",
                                 SLICE_ARG(s->steps[i].action), SLICE_ARG(s->steps[i].compensate),
                                 SLICE_ARG(s->steps[i].payload));
    }
}

static void on_request(void *arg, struct rpc_request *request)
{
    struct stage *stage = arg;
    stage->asked++;
    describe(stage, rpc_request_message(request));
    if (stage->error.code != WIRE_ERROR_UNSPECIFIED) {
        rpc_request_fail(request, stage->error.code, stage->error.field.ptr,
                         stage->error.message.ptr);
    } else if (stage->answer.kind != WIRE_NONE) {
        rpc_request_reply(request, &stage->answer);
    } else {
        assert_true(stage->held_count < 4);
        stage->held[stage->held_count++] = request;
    }
}

static void stage_open(struct stage *stage, int64_t timeout_ms)
{
    char error[256] = "", address[64];
    *stage = (struct stage){.loop = loop_new()};
    stage->server = coordinator_open(stage->loop, on_request, stage, address);
    stage->saga = saga_open(&(struct saga_conf){.program = "test",
                                                .coordinator = address,
                                                .timeout_ms = timeout_ms,
                                                .loop = stage->loop},
                            error, sizeof(error));
    assert_string_equal(error, "");
}

static void drop_held(struct stage *stage)
{
    while (stage->held_count > 0) {
        rpc_request_drop(stage->held[--stage->held_count]);
    }
}

static void stage_close(struct stage *stage)
{
    drop_held(stage);
    rpc_server_free(stage->server);
    saga_close(stage->saga);
    loop_turn(stage->loop, 0);
    loop_free(stage->loop);
}

static void on_answer(void *arg, const struct saga_answer *answer)
{
    struct result *result = arg;
    assert_false(result->done);
    result->done = true;
    result->error = answer->error;
    int used =
        snprintf(result->text, TEXT_SIZE, "%s|%.*s|%s|%.*s", answer->message ? answer->message : "",
                 (int)answer->gid.len, answer->gid.ptr ? answer->gid.ptr : "",
                 answer->status ? answer->status : "-", (int)answer->rollback_reason.len,
                 answer->rollback_reason.ptr ? answer->rollback_reason.ptr : "");
    if (answer->parked.len > 0) {
        snprintf(result->text + used, TEXT_SIZE - (size_t)used, " parked %.*s %" PRId64,
                 (int)answer->parked.len, answer->parked.ptr, answer->parked_since_ms);
    }
}

static struct saga_submission small_saga(void)
{
    static const struct saga_step steps[] = {
        {.action = "tcp://order/order.Order/Create",
         .compensate = "tcp://order/order.Order/CreateRevert",
         .payload = {"p1", 2}},
        {.action = "http://stock/take", .payload = {"p2", 2}},
    };
    return (struct saga_submission){.gid = saga_text("g1"), .steps = steps, .step_count = 2};
}

static struct result submit(struct stage *stage, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    saga_submit(stage->saga, submission, on_answer, &result);
    assert_false(result.done);
    wait_for(stage->loop, result.done);
    return result;
}

static void a_submit_arrives_whole_and_its_answer_comes_back(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0);
    struct saga_submission submission = small_saga();
    submission.timeout_to_fail_ms = 11000;
    submission.retry_interval_ms = 12;
    submission.retry_limit = 13;
    submission.request_timeout_ms = 14;
    submission.wait = true;
    submission.wait_timeout_ms = 15000;
    stage.answer.kind = WIRE_SUBMIT_REPLY;
    stage.answer.submit_reply =
        (struct wire_submit_reply){slice_str("g1"), WIRE_STATUS_FAILED, slice_str("stock is 0")};
    struct result result = submit(&stage, &submission);
    assert_int_equal(result.error, SAGA_E_NONE);
    assert_string_equal(result.text, "|g1|failed|stock is 0");
    assert_string_equal(stage.seen,
                        "saga g1 fail 11000 retry 12 limit 13 request 14 wait 1 15000"
                        " [tcp://order/order.Order/Create tcp://order/order.Order/CreateRevert p1]"
                        " [http://stock/take  p2]");
    stage_close(&stage);
}

static void query_and_new_gid(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0);
    struct result result = {.done = false};
    stage.answer = (struct wire_message){.kind = WIRE_QUERY_REPLY};
    saga_query(stage.saga, saga_text("gq"), on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "||-|"); /* unknown */
    stage.answer.query_reply = (struct wire_query_reply){
        .found = true, .gid = slice_str("gq"), .status = WIRE_STATUS_ABORTING};
    result = (struct result){.done = false};
    saga_query(stage.saga, saga_text("gq"), on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|gq|aborting|");
    stage.answer.query_reply.parked = slice_str("attempts 01.compensate");
    stage.answer.query_reply.parked_since_ms = 99;
    result = (struct result){.done = false};
    saga_query(stage.saga, saga_text("gq"), on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|gq|aborting| parked attempts 01.compensate 99");
    stage.answer = (struct wire_message){.kind = WIRE_NEW_GID_REPLY, .new_gid = slice_str("fresh")};
    result = (struct result){.done = false};
    saga_new_gid(stage.saga, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|fresh|-|");
    result = (struct result){.done = false};
    saga_query(stage.saga, saga_text("gq"), on_answer, &result); /* gets an answer to new_gid */
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_UNAVAILABLE);
    stage_close(&stage);
}

static void errors_say_whether_to_try_again(void **state)
{
    (void)state;
    static const struct {
        enum wire_error_code code;
        enum saga_error error;
    } cases[] = {
        {WIRE_ERROR_INVALID, SAGA_E_INVALID},         {WIRE_ERROR_LIMIT, SAGA_E_INVALID},
        {WIRE_ERROR_CONFLICT, SAGA_E_INVALID},        {WIRE_ERROR_BUSY, SAGA_E_BUSY},
        {WIRE_ERROR_UNAVAILABLE, SAGA_E_UNAVAILABLE}, {WIRE_ERROR_INTERNAL, SAGA_E_UNAVAILABLE},
    };
    struct stage stage;
    stage_open(&stage, 0);
    struct saga_submission submission = small_saga();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage.error = (struct wire_error){cases[i].code, slice_str("too bad"), slice_str("gid"), 0};
        struct result result = submit(&stage, &submission);
        assert_int_equal(result.error, cases[i].error);
        assert_string_equal(result.text, "gid: too bad||-|");
    }
    stage_close(&stage);
}

/* The request may have been done: "refused" would be a lie. */
static void a_reply_that_cannot_be_had_or_read_says_nothing(void **state)
{
    (void)state;
    char *long_text = mem_alloc(TOO_LONG + 1);
    memset(long_text, 'x', TOO_LONG);
    long_text[TOO_LONG] = '\0';
    const struct {
        struct slice reason;
        const char *why;
    } cases[] = {{slice_make(long_text, TOO_LONG), "may have been done"},
                 {slice_str("\xff"), "bad reply: rollback_reason: not UTF-8"}};
    struct stage stage;
    stage_open(&stage, 0);
    struct saga_submission submission = small_saga();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage.answer = (struct wire_message){.kind = WIRE_SUBMIT_REPLY,
                                             .submit_reply = {.gid = slice_str("g1"),
                                                              .status = WIRE_STATUS_SUBMITTED,
                                                              .rollback_reason = cases[i].reason}};
        struct result result = submit(&stage, &submission);
        assert_int_equal(result.error, SAGA_E_UNAVAILABLE);
        assert_non_null(strstr(result.text, cases[i].why));
    }
    stage_close(&stage);
    free(long_text);
}

static void what_cannot_be_sent_is_refused_here(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0);
    struct saga_step many[101] = {{.action = "x"}};
    struct saga_submission submission = small_saga();
    submission.gid = (struct saga_bytes){0};
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_INVALID);
    submission = small_saga();
    submission.step_count = 0;
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_INVALID);
    submission.steps = many;
    submission.step_count = 101;
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_INVALID);
    submission = small_saga();
    submission.wait_timeout_ms = -1;
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_INVALID);
    assert_int_equal(stage.asked, 0);
    stage_close(&stage);
}

static void a_silent_coordinator_is_given_the_time_that_was_asked_for(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 60);
    struct saga_submission submission = small_saga();
    int64_t before_ms = clock_mono_ms();
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_UNAVAILABLE);
    int64_t plain_ms = clock_mono_ms() - before_ms;
    submission.wait = true;
    submission.wait_timeout_ms = 400;
    before_ms = clock_mono_ms();
    assert_int_equal(submit(&stage, &submission).error, SAGA_E_UNAVAILABLE);
    int64_t waited_ms = clock_mono_ms() - before_ms;
    assert_in_range(plain_ms, 55, 3000);
    assert_in_range(waited_ms, 440, 5000);
    stage_close(&stage);
}

static void without_a_coordinator_the_answer_is_an_error(void **state)
{
    (void)state;
    char error[64];
    struct loop *loop = loop_new();
    struct result none = {.done = false}, away = {.done = false};
    struct saga *alone =
        saga_open(&(struct saga_conf){.program = "p", .loop = loop}, error, sizeof(error));
    struct saga *lost =
        saga_open(&(struct saga_conf){.program = "p", .loop = loop, .coordinator = "127.0.0.1:1"},
                  error, sizeof(error));
    saga_new_gid(alone, on_answer, &none);
    saga_new_gid(lost, on_answer, &away);
    wait_for(loop, none.done);
    wait_for(loop, away.done);
    assert_int_equal(none.error, SAGA_E_INVALID);
    assert_int_equal(away.error, SAGA_E_UNAVAILABLE);
    saga_close(alone);
    saga_close(lost);
    loop_turn(loop, 0);
    loop_free(loop);
}

static void closing_cancels_what_is_asked(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0);
    struct result results[3] = {{.done = false}};
    struct saga_submission submission = small_saga();
    for (int i = 0; i < 3; i++) {
        saga_submit(stage.saga, &submission, on_answer, &results[i]);
    }
    wait_for(stage.loop, stage.asked >= 3);
    drop_held(&stage);
    saga_close(stage.saga);
    loop_turn(stage.loop, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(results[i].done);
        assert_int_equal(results[i].error, SAGA_E_CANCELLED);
    }
    rpc_server_free(stage.server);
    loop_free(stage.loop);
}

/* ---- requests to participants ---- */

struct response {
    bool done;
    enum saga_error error;
    enum saga_result result;
    char text[TEXT_SIZE];
};

static void on_response(void *arg, const struct saga_response *response)
{
    struct response *out = arg;
    assert_false(out->done);
    out->done = true;
    out->error = response->error;
    out->result = response->result;
    snprintf(out->text, TEXT_SIZE, "%.*s|%s", (int)response->payload.len,
             response->payload.ptr ? response->payload.ptr : "", response->message);
}

static void echo(void *arg, struct saga_call *call)
{
    (void)arg;
    assert_int_equal(saga_call_gid(call).len, 0);
    saga_call_reply(call, SAGA_FAILURE, saga_call_payload(call), "as told");
}

static void participants_answer_requests_of_each_other(void **state)
{
    enum { SERVERS = 70 }; /* more than connections are kept */
    (void)state;
    char error[64], address[64];
    struct loop *loop = loop_new();
    struct saga *servers[SERVERS];
    struct saga *client =
        saga_open(&(struct saga_conf){.program = "p", .loop = loop}, error, sizeof(error));
    for (int i = 0; i < SERVERS; i++) {
        servers[i] =
            saga_open(&(struct saga_conf){.program = "p", .loop = loop, .listen = "127.0.0.1:0"},
                      error, sizeof(error));
        saga_on_request(servers[i], "echo.Echo/Say", echo, NULL);
        snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(servers[i]));
        struct response response = {.done = false};
        saga_request(client, address, "echo.Echo/Say", saga_text("hi"), on_response, &response);
        assert_false(response.done);
        wait_for(loop, response.done);
        assert_int_equal(response.error, SAGA_E_NONE);
        assert_int_equal(response.result, SAGA_FAILURE);
        assert_string_equal(response.text, "hi|as told");
    }
    struct response response = {.done = false};
    saga_request(client, "127.0.0.1:1", "echo.Echo/Say", saga_text("hi"), on_response, &response);
    wait_for(loop, response.done);
    assert_int_equal(response.error, SAGA_E_UNAVAILABLE);
    response = (struct response){.done = false};
    saga_request(client, address, "echo.Echo/Say", saga_text("hi"), on_response, &response);
    saga_close(client);
    loop_turn(loop, 0);
    assert_true(response.done);
    assert_int_equal(response.error, SAGA_E_CANCELLED);
    for (int i = 0; i < SERVERS; i++) {
        saga_close(servers[i]);
    }
    loop_turn(loop, 0);
    loop_free(loop);
}

static void own_gids_differ(void **state)
{
    (void)state;
    char first[23], second[23];
    saga_gid(first);
    saga_gid(second);
    assert_int_equal(strlen(first), 22);
    assert_string_not_equal(first, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_arrives_whole_and_its_answer_comes_back),
        cmocka_unit_test(query_and_new_gid),
        cmocka_unit_test(errors_say_whether_to_try_again),
        cmocka_unit_test(a_reply_that_cannot_be_had_or_read_says_nothing),
        cmocka_unit_test(what_cannot_be_sent_is_refused_here),
        cmocka_unit_test(a_silent_coordinator_is_given_the_time_that_was_asked_for),
        cmocka_unit_test(without_a_coordinator_the_answer_is_an_error),
        cmocka_unit_test(closing_cancels_what_is_asked),
        cmocka_unit_test(participants_answer_requests_of_each_other),
        cmocka_unit_test(own_gids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
