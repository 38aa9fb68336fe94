/* More than plain sagas: concurrent ones, messages and tccs, against a coordinator that is played
 * by the test and notes what it is asked. */
#include "fixture.h"

struct stage {
    struct loop *loop;
    struct rpc_server *server; /* the coordinator */
    struct saga *host;         /* a participant without Redis */
    struct saga *saga;         /* the initiator */
    char log[4 * TEXT_SIZE];   /* what both were asked, one line each */
    enum wire_kind refuse;     /* requests of this kind are refused … */
    enum wire_error_code code; /* … with this */
    int queries, queries_open; /* so many queries find it still running */
    char try_url[128];
};

struct result {
    bool done;
    enum saga_error error;
    enum saga_result result;
    char text[TEXT_SIZE];
};

static void note(struct stage *stage, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct stage *stage, const char *fmt, ...)
{
    size_t used = strlen(stage->log);
    va_list args;
    va_start(args, fmt);
    vsnprintf(stage->log + used, sizeof(stage->log) - used, fmt, args);
    va_end(args);
}

static void note_submit(struct stage *stage, const char *what, const struct wire_submit *s)
{
    note(stage, "%s %.*s %.*s fail=%" PRId64 " delay=%" PRId64 " check=%.*s%s%s", what,
         SLICE_ARG(s->trans_type), SLICE_ARG(s->gid), s->options.timeout_to_fail_ms, s->delay_ms,
         SLICE_ARG(s->query_prepared), s->concurrent ? " concurrent" : "",
         s->wait_result ? " wait" : "");
    for (size_t i = 0; i < s->step_count; i++) {
        const struct wire_step *step = &s->steps[i];
        note(stage, " [%.*s%.*s %.*s%.*s %.*s", SLICE_ARG(step->action), SLICE_ARG(step->try_url),
             SLICE_ARG(step->confirm), SLICE_ARG(step->cancel), SLICE_ARG(step->payload));
        for (size_t a = 0; a < step->after_count; a++) {
            note(stage, " <%d", step->after[a]);
        }
        note(stage, "]");
    }
    note(stage, "\n");
}

/* Notes the request; returns its gid. */
static struct slice note_request(struct stage *stage, const struct wire_message *m)
{
    if (m->kind == WIRE_QUERY) {
        note(stage, "query %.*s\n", SLICE_ARG(m->query_gid));
        return m->query_gid;
    }
    if (m->kind == WIRE_REGISTER) {
        const struct wire_register *r = &m->register_branch;
        note(stage, "register %.*s %.*s %.*s %.*s %.*s %.*s\n", SLICE_ARG(r->trans_type),
             SLICE_ARG(r->gid), SLICE_ARG(r->branch_id), SLICE_ARG(r->confirm),
             SLICE_ARG(r->cancel), SLICE_ARG(r->payload));
        return r->gid;
    }
    if (m->kind == WIRE_ABORT) {
        note(stage, "abort %.*s: %.*s\n", SLICE_ARG(m->abort.gid), SLICE_ARG(m->abort.reason));
        return m->abort.gid;
    }
    note_submit(stage, m->kind == WIRE_PREPARE ? "prepare" : "submit", &m->submit);
    return m->submit.gid;
}

static enum wire_status status_after(enum wire_kind kind)
{
    return kind == WIRE_SUBMIT  ? WIRE_STATUS_SUBMITTED
           : kind == WIRE_ABORT ? WIRE_STATUS_ABORTING
                                : WIRE_STATUS_PREPARED;
}

static void on_request(void *arg, struct rpc_request *request)
{
    struct stage *stage = arg;
    const struct wire_message *m = rpc_request_message(request);
    struct slice gid = note_request(stage, m);
    if (m->kind == stage->refuse) {
        rpc_request_fail(request, stage->code, "", "not today");
        return;
    }
    if (m->kind == WIRE_QUERY) {
        bool ended = ++stage->queries > stage->queries_open;
        struct wire_message state = {
            .kind = WIRE_QUERY_REPLY,
            .query_reply = {.found = true,
                            .gid = gid,
                            .status = ended ? WIRE_STATUS_SUCCEED : WIRE_STATUS_SUBMITTED}};
        rpc_request_reply(request, &state);
        return;
    }
    struct wire_message reply = {.kind = WIRE_SUBMIT_REPLY,
                                 .submit_reply = {.gid = gid, .status = status_after(m->kind)}};
    rpc_request_reply(request, &reply);
}

/* Answers as the payload says. */
static void on_branch(void *arg, struct saga_call *call)
{
    struct stage *stage = arg;
    struct saga_bytes payload = saga_call_payload(call);
    struct saga_bytes branch = saga_call_branch_id(call), op = saga_call_op(call);
    struct saga_bytes gid = saga_call_gid(call), type = saga_call_trans_type(call);
    note(stage, "call %.*s %.*s %.*s %.*s %.*s\n", (int)type.len, type.ptr, (int)gid.len, gid.ptr,
         (int)branch.len, branch.ptr, (int)op.len, op.ptr, (int)payload.len, payload.ptr);
    if (payload.ptr[0] == 'd') {
        saga_call_drop(call);
        return;
    }
    saga_call_reply(call, payload.ptr[0] == 'n' ? SAGA_FAILURE : SAGA_SUCCESS, saga_text("got"),
                    payload.ptr[0] == 'n' ? "no stock" : NULL);
}

static void stage_open(struct stage *stage)
{
    struct reason reason;
    char error[256] = "", address[64];
    *stage = (struct stage){.loop = loop_new()};
    struct rpc_server_conf server = {.address = "127.0.0.1:0",
                                     .program = "coordinator",
                                     .connections_max = 10,
                                     .limits = rpc_limits_default};
    stage->server = rpc_server_open(stage->loop, &server, on_request, stage, &reason);
    assert_non_null(stage->server);
    snprintf(address, sizeof(address), "127.0.0.1:%d", rpc_server_port(stage->server));
    stage->host = saga_open(
        &(struct saga_conf){.program = "host", .listen = "127.0.0.1:0", .loop = stage->loop}, error,
        sizeof(error));
    stage->saga = saga_open(
        &(struct saga_conf){.program = "test", .coordinator = address, .loop = stage->loop}, error,
        sizeof(error));
    assert_string_equal(error, "");
    saga_on_branch(stage->host, "shop.Stock/Try", on_branch, stage);
    snprintf(stage->try_url, sizeof(stage->try_url), "tcp://127.0.0.1:%d/shop.Stock/Try",
             saga_port(stage->host));
}

static void stage_close(struct stage *stage)
{
    if (stage->saga) {
        saga_close(stage->saga);
    }
    saga_close(stage->host);
    rpc_server_free(stage->server);
    loop_turn(stage->loop, 0);
    loop_free(stage->loop);
}

static void on_answer(void *arg, const struct saga_answer *answer)
{
    struct result *result = arg;
    assert_false(result->done);
    result->done = true;
    result->error = answer->error;
    snprintf(result->text, TEXT_SIZE, "%s|%.*s|%s", answer->message ? answer->message : "",
             (int)answer->gid.len, answer->gid.ptr ? answer->gid.ptr : "",
             answer->status ? answer->status : "-");
}

static void on_response(void *arg, const struct saga_response *response)
{
    struct result *result = arg;
    assert_false(result->done);
    result->done = true;
    result->error = response->error;
    result->result = response->result;
    snprintf(result->text, TEXT_SIZE, "%s|%.*s", response->message ? response->message : "",
             (int)response->payload.len, response->payload.ptr ? response->payload.ptr : "");
}

static struct result submit(struct stage *stage, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_submit(stage->saga, submission, on_answer, &result);
    wait_flag(stage->loop, &result.done);
    return result;
}

static struct result prepare(struct stage *stage, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_prepare(stage->saga, submission, on_answer, &result);
    wait_flag(stage->loop, &result.done);
    return result;
}

/* ---- submissions ---- */

static void a_concurrent_saga_carries_its_orders(void **state)
{
    (void)state;
    static const struct saga_step steps[] = {
        {"http://a", NULL, {"0", 1}}, {"http://b", NULL, {"1", 1}}, {"http://c", NULL, {"2", 1}}};
    static const struct saga_order orders[] = {{2, 0}, {1, 0}, {2, 1}};
    struct stage stage;
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .steps = steps,
                                .step_count = 3,
                                .concurrent = true,
                                .orders = orders,
                                .order_count = 3};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit saga g fail=0 delay=0 check= concurrent [http://a  0] "
                                   "[http://b  1 <0] [http://c  2 <0 <1]\n");
    s.step_count = 2; /* the orders name a third one */
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    assert_string_equal(stage.log, "");
    stage_close(&stage);
}

static void a_declared_tcc_carries_its_tries(void **state)
{
    (void)state;
    static const struct saga_branch branches[] = {
        {"tcp://a/b.C/T", "tcp://a/b.C/Y", "tcp://a/b.C/N", {"1", 1}}, {"http://t", "", NULL, {0}}};
    struct stage stage;
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .trans_type = "tcc",
                                .branches = branches,
                                .branch_count = 2,
                                .wait = true};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit tcc g fail=0 delay=0 check= wait [tcp://a/b.C/T "
                                   "tcp://a/b.C/Ytcp://a/b.C/N 1] [http://t  ]\n");
    s.trans_type = "saga";
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    s = (struct saga_submission){.gid = saga_text("g"), .trans_type = "tcc"};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted"); /* one that was prepared */
    stage_close(&stage);
}

static void a_message_is_prepared_then_submitted_or_aborted(void **state)
{
    (void)state;
    static const struct saga_step step = {"http://a", NULL, {"p", 1}};
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .trans_type = "msg",
                                .steps = &step,
                                .step_count = 1,
                                .query_prepared = "http://q",
                                .delay_ms = 5,
                                .timeout_to_fail_ms = 6};
    assert_string_equal(prepare(&stage, &s).text, "|g|prepared");
    assert_string_equal(stage.log, "prepare msg g fail=6 delay=5 check=http://q [http://a  p]\n");
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit msg g fail=6 delay=5 check=http://q [http://a  p]\n");
    stage.log[0] = '\0';
    saga_abort(stage.saga, saga_text("g"), "changed my mind", on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_string_equal(result.text, "|g|aborting");
    assert_string_equal(stage.log, "abort g: changed my mind\n");
    s.wait = true;
    assert_int_equal(prepare(&stage, &s).error, SAGA_E_INVALID);
    result.done = false;
    saga_abort(stage.saga, saga_text(""), NULL, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

/* ---- tcc with tries of one's own ---- */

static struct saga_tcc *begin(struct stage *stage)
{
    struct result result = {.done = false};
    struct saga_submission s = {.gid = saga_text("g"), .timeout_to_fail_ms = 7, .wait = true};
    stage->log[0] = '\0';
    struct saga_tcc *tcc = saga_tcc_begin(stage->saga, &s, on_answer, &result);
    wait_flag(stage->loop, &result.done);
    assert_string_equal(result.text, "|g|prepared");
    assert_string_equal(stage->log, "prepare tcc g fail=7 delay=0 check=\n");
    stage->log[0] = '\0';
    return tcc;
}

static struct result try_branch(struct stage *stage, struct saga_tcc *tcc, const char *url,
                                const char *payload)
{
    struct result result = {.done = false};
    saga_tcc_try(tcc,
                 &(struct saga_branch){url, "tcp://x/a.B/Y", "tcp://x/a.B/N", saga_text(payload)},
                 on_response, &result);
    assert_false(result.done);
    wait_flag(stage->loop, &result.done);
    return result;
}

static struct result end(struct stage *stage, struct saga_tcc *tcc, bool confirm)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_tcc_end(tcc, confirm, on_answer, &result);
    wait_flag(stage->loop, &result.done);
    return result;
}

static void a_tcc_whose_tries_succeed_is_confirmed(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    struct result first = try_branch(&stage, tcc, stage.try_url, "y1");
    assert_int_equal(first.result, SAGA_SUCCESS);
    assert_string_equal(first.text, "|got");
    try_branch(&stage, tcc, stage.try_url, "y2");
    assert_string_equal(stage.log, "register tcc g 01 tcp://x/a.B/Y tcp://x/a.B/N y1\n"
                                   "call tcc g 01 try y1\n"
                                   "register tcc g 02 tcp://x/a.B/Y tcp://x/a.B/N y2\n"
                                   "call tcc g 02 try y2\n");
    assert_string_equal(end(&stage, tcc, true).text, "|g|submitted");
    assert_string_equal(stage.log, "submit tcc g fail=0 delay=0 check= wait\n");
    stage_close(&stage);
}

static void a_try_that_did_not_succeed_cancels_whatever_the_program_wants(void **state)
{
    (void)state;
    static const struct {
        const char *payload, *why;
        enum saga_error error;
    } cases[] = {{"no", "try of branch 02: no stock", SAGA_E_NONE},
                 {"drop", "try of branch 02: ", SAGA_E_UNAVAILABLE}};
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct saga_tcc *tcc = begin(&stage);
        try_branch(&stage, tcc, stage.try_url, "yes");
        struct result second = try_branch(&stage, tcc, stage.try_url, cases[i].payload);
        assert_int_equal(second.error, cases[i].error);
        assert_string_equal(end(&stage, tcc, true).text, "|g|aborting");
        assert_non_null(strstr(stage.log, "abort g: "));
        assert_non_null(strstr(stage.log, cases[i].why));
    }
    struct saga_tcc *tcc = begin(&stage);
    try_branch(&stage, tcc, stage.try_url, "yes");
    end(&stage, tcc, false);
    assert_string_equal(stage.log, "abort g: cancelled by its initiator\n");
    stage_close(&stage);
}

static void a_branch_that_is_not_registered_is_not_tried(void **state)
{
    (void)state;
    static const char *const bad[] = {"tcp://stock/a.B/C", "http://h/t", "", "tcp://127.0.0.1:9",
                                      NULL};
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct result result = try_branch(&stage, tcc, bad[i], "y");
        assert_int_equal(result.error, SAGA_E_INVALID);
        assert_non_null(strstr(result.text, "tcp://HOST:PORT/"));
    }
    assert_string_equal(stage.log, "");
    stage.refuse = WIRE_REGISTER;
    stage.code = WIRE_ERROR_CONFLICT;
    struct result result = try_branch(&stage, tcc, stage.try_url, "y");
    assert_int_equal(result.error, SAGA_E_INVALID);
    assert_null(strstr(stage.log, "call "));
    end(&stage, tcc, true);
    assert_non_null(strstr(stage.log, "abort g: "));
    stage_close(&stage);
}

static void an_end_that_is_not_known_is_repeated_and_does_not_turn(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    try_branch(&stage, tcc, stage.try_url, "yes");
    stage.refuse = WIRE_SUBMIT;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    assert_int_equal(end(&stage, tcc, true).error, SAGA_E_UNAVAILABLE);
    stage.refuse = WIRE_NONE;
    assert_string_equal(end(&stage, tcc, false).text, "|g|submitted");
    stage_close(&stage);
}

static void a_begin_that_is_refused_leaves_nothing(void **state)
{
    (void)state;
    static const struct saga_branch branch = {"", "", "", {0}};
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.refuse = WIRE_PREPARE;
    stage.code = WIRE_ERROR_CONFLICT;
    struct saga_submission s = {.gid = saga_text("g")};
    saga_tcc_begin(stage.saga, &s, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    result.done = false;
    s.branches = &branch;
    s.branch_count = 1;
    saga_tcc_begin(stage.saga, &s, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

/* ---- watch ---- */

static void a_watch_ends_with_the_transaction_or_its_time(void **state)
{
    (void)state;
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.queries_open = 3;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_string_equal(result.text, "|g|succeed");
    assert_string_equal(stage.log, "query g\nquery g\nquery g\nquery g\n");
    result.done = false;
    stage.queries_open = 1000;
    saga_watch(stage.saga, saga_text("g"), 50, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_string_equal(result.text, "|g|submitted");
    result.done = false;
    saga_watch(stage.saga, saga_text(""), 0, on_answer, &result);
    wait_flag(stage.loop, &result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

static void a_watch_goes_on_while_the_coordinator_is_away(void **state)
{
    (void)state;
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.refuse = WIRE_QUERY;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &result);
    while (!strstr(stage.log, "query g\nquery g\n")) {
        loop_turn(stage.loop, 10);
    }
    assert_false(result.done);
    stage.refuse = WIRE_NONE;
    wait_flag(stage.loop, &result.done);
    assert_string_equal(result.text, "|g|succeed");
    stage_close(&stage);
}

/* One waits for an answer, one for its next question. */
static void closing_cancels_watches(void **state)
{
    (void)state;
    struct stage stage;
    struct result first = {.done = false}, second = {.done = false};
    stage_open(&stage);
    stage.queries_open = 1000;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &first);
    while (stage.queries < 4) { /* then its pause is long */
        loop_turn(stage.loop, 10);
    }
    for (int i = 0; i < 3; i++) {
        loop_turn(stage.loop, 0);
    }
    saga_watch(stage.saga, saga_text("h"), 0, on_answer, &second);
    saga_close(stage.saga);
    stage.saga = NULL;
    loop_turn(stage.loop, 0);
    assert_int_equal(first.error, SAGA_E_CANCELLED);
    assert_int_equal(second.error, SAGA_E_CANCELLED);
    stage_close(&stage);
}

/* Whatever is under way: every callback comes, and nothing is left (the sanitizers look). */
static void closing_in_the_middle_cancels_what_is_asked(void **state)
{
    (void)state;
    struct stage stage;
    struct result begun = {.done = false}, tried = {.done = false}, ended = {.done = false};
    stage_open(&stage);
    struct saga_tcc *open = begin(&stage);
    saga_tcc_try(open, &(struct saga_branch){.try_url = stage.try_url, .payload = {"y", 1}},
                 on_response, &tried);
    saga_tcc_begin(stage.saga, &(struct saga_submission){.gid = saga_text("h")}, on_answer, &begun);
    saga_tcc_end(open, true, on_answer, &ended); /* before its try has succeeded */
    saga_close(stage.saga);
    stage.saga = NULL;
    loop_turn(stage.loop, 0);
    assert_int_equal(begun.error, SAGA_E_CANCELLED);
    assert_int_equal(tried.error, SAGA_E_CANCELLED);
    assert_int_equal(ended.error, SAGA_E_CANCELLED);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_concurrent_saga_carries_its_orders),
        cmocka_unit_test(a_declared_tcc_carries_its_tries),
        cmocka_unit_test(a_message_is_prepared_then_submitted_or_aborted),
        cmocka_unit_test(a_tcc_whose_tries_succeed_is_confirmed),
        cmocka_unit_test(a_try_that_did_not_succeed_cancels_whatever_the_program_wants),
        cmocka_unit_test(a_branch_that_is_not_registered_is_not_tried),
        cmocka_unit_test(an_end_that_is_not_known_is_repeated_and_does_not_turn),
        cmocka_unit_test(a_begin_that_is_refused_leaves_nothing),
        cmocka_unit_test(a_watch_ends_with_the_transaction_or_its_time),
        cmocka_unit_test(a_watch_goes_on_while_the_coordinator_is_away),
        cmocka_unit_test(closing_cancels_watches),
        cmocka_unit_test(closing_in_the_middle_cancels_what_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
