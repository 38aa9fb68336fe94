/* The TCP API over a real connection, on an engine and an archive that answer as the test says. */
#include "coordinator/api_tcp.h"

#include "wire/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WAIT_MS = 5000 };

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct archive archive;
    struct archive_record record;
    struct api_tcp *api;
    struct rpc_client *client;
    char address[64];
    /* the question */
    char asked[400];
    bool whole; /* print what every type has of a submit, not what sagas have */
    struct engine_answer answer;
    engine_cb engine_cb;
    archive_record_cb record_cb;
    void *arg;
    struct loop_task task;
    /* the answer, as text: "gid=… status=…" */
    bool done;
    char got[2000];
};

static void answer_now(void *arg)
{
    struct fixture *f = arg;
    if (f->engine_cb) {
        f->engine_cb(f->arg, &f->answer);
    } else {
        f->record_cb(f->arg, &f->record);
    }
}

static void spec_print(struct fixture *f, const char *what, const struct txn_spec *spec)
{
    const struct txn_options *options = &spec->options;
    int used = snprintf(
        f->asked, sizeof(f->asked), "%s %.*s %.*s%s%s%s%s delay=%lld check=%.*s custom=%.*s", what,
        SLICE_ARG(spec->gid), SLICE_ARG(spec->trans_type), spec->prepare ? " prepare" : "",
        options->keep_results ? " results" : "", options->concurrent ? " concurrent" : "",
        options->declared ? " declared" : "", (long long)options->delay_ms,
        SLICE_ARG(spec->query_prepared), SLICE_ARG(spec->custom_data));
    for (size_t i = 0; i < spec->step_count; i++) {
        const struct txn_step *step = &spec->steps[i];
        used += snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, " [%.*s|%.*s|%.*s|%.*s",
                         SLICE_ARG(step->urls[OP_ACTION]), SLICE_ARG(step->urls[OP_CONFIRM]),
                         SLICE_ARG(step->urls[OP_UNDO]), SLICE_ARG(step->payload));
        for (size_t h = 0; h < step->header_count; h++) {
            used += snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, " %.*s:%.*s",
                             SLICE_ARG(step->headers[h].name), SLICE_ARG(step->headers[h].value));
        }
        if (step->request_timeout_ms + step->retry_interval_ms > 0) {
            used +=
                snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, " %lld/%lld",
                         (long long)step->request_timeout_ms, (long long)step->retry_interval_ms);
        }
        for (size_t a = 0; a < step->after_count; a++) {
            used += snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, " after %d",
                             step->after[a]);
        }
        used += snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, "]");
    }
}

static void answer_later(struct fixture *f, engine_cb cb, void *arg)
{
    f->engine_cb = cb;
    f->arg = arg;
    loop_defer(f->loop, &f->task, answer_now, f);
}

/* The test program's own, in place of the real one; the fixture stands for the engine. */
void engine_submit(struct engine *engine, const struct txn_spec *spec, struct engine_wait wait,
                   engine_cb cb, void *arg)
{
    struct fixture *f = (struct fixture *)(void *)engine;
    const struct txn_options *options = &spec->options;
    if (f->whole) {
        spec_print(f, "submit", spec);
        answer_later(f, cb, arg);
        return;
    }
    snprintf(f->asked, sizeof(f->asked),
             "%.*s %.*s steps=%zu [%.*s|%.*s|%.*s] times=%lld/%lld/%lld limit=%lld headers=%zu "
             "wait=%d/%lld",
             SLICE_ARG(spec->gid), SLICE_ARG(spec->trans_type), spec->step_count,
             SLICE_ARG(spec->steps[0].urls[OP_ACTION]), SLICE_ARG(spec->steps[0].urls[OP_UNDO]),
             SLICE_ARG(spec->steps[0].payload), (long long)options->timeout_to_fail_ms,
             (long long)options->retry_interval_ms, (long long)options->request_timeout_ms,
             (long long)options->retry_limit, options->header_count, (int)wait.mode,
             (long long)wait.wait_ms);
    answer_later(f, cb, arg);
}

void engine_prepare(struct engine *engine, const struct txn_spec *spec, engine_cb cb, void *arg)
{
    struct fixture *f = (struct fixture *)(void *)engine;
    spec_print(f, "prepare", spec);
    answer_later(f, cb, arg);
}

void engine_register(struct engine *engine, struct slice gid, const struct store_branch *branch,
                     engine_cb cb, void *arg)
{
    struct fixture *f = (struct fixture *)(void *)engine;
    snprintf(f->asked, sizeof(f->asked), "register %.*s %s %.*s [%.*s|%.*s|%.*s]", SLICE_ARG(gid),
             txn_type_name(branch->type), SLICE_ARG(branch->id),
             SLICE_ARG(branch->urls[OP_CONFIRM]), SLICE_ARG(branch->urls[OP_UNDO]),
             SLICE_ARG(branch->payload));
    answer_later(f, cb, arg);
}

void engine_abort(struct engine *engine, struct slice gid, struct slice reason, engine_cb cb,
                  void *arg)
{
    struct fixture *f = (struct fixture *)(void *)engine;
    snprintf(f->asked, sizeof(f->asked), "abort %.*s: %.*s", SLICE_ARG(gid), SLICE_ARG(reason));
    answer_later(f, cb, arg);
}

static void fake_read(struct archive *archive, struct slice gid, archive_record_cb cb, void *arg)
{
    struct fixture *f =
        (struct fixture *)(void *)((char *)archive - offsetof(struct fixture, archive));
    snprintf(f->asked, sizeof(f->asked), "read %.*s", SLICE_ARG(gid));
    f->engine_cb = NULL;
    f->record_cb = cb;
    f->arg = arg;
    loop_defer(f->loop, &f->task, answer_now, f);
}

static const struct archive_ops fake_archive_ops = {.read = fake_read};

static void client_open(struct fixture *f, const char *token)
{
    struct rpc_client_conf client = {.address = f->address,
                                     .program = "test",
                                     .token = token,
                                     .connect_timeout_ms = 1000,
                                     .limits = rpc_limits_default};
    f->client = rpc_client_new(f->loop, &client);
}

static void open_with(struct fixture *f, const char *token)
{
    struct api_tcp_conf conf = {.address = "127.0.0.1:0",
                                .program = "sagad/test",
                                .token = token,
                                .connections_max = 4,
                                .in_flight_max = 100,
                                .frame_max = 1 << 20};
    struct api_tcp_env env = {.loop = f->loop,
                              .engine = (struct engine *)(void *)f,
                              .archive = &f->archive,
                              .metrics = f->metrics};
    struct reason reason = {.text = ""};
    f->api = api_tcp_open(&conf, &env, &reason);
    assert_non_null(f->api);
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", api_tcp_port(f->api));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = loop_new();
    f->metrics = metrics_new(1, "test");
    f->archive.ops = &fake_archive_ops;
    f->answer.message = "";
    open_with(f, "");
    client_open(f, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rpc_client_free(f->client);
    api_tcp_free(f->api);
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
    loop_free(f->loop);
    metrics_free(f->metrics);
    free(f);
    return 0;
}

static void query_print(struct fixture *f, const struct wire_query_reply *reply)
{
    int used =
        snprintf(f->got, sizeof(f->got), "found=%d gid=%.*s type=%.*s status=%s why=%.*s at=%lld",
                 reply->found, SLICE_ARG(reply->gid), SLICE_ARG(reply->trans_type),
                 reply->found ? wire_status_name(reply->status) : "-",
                 SLICE_ARG(reply->rollback_reason), (long long)reply->create_time_ms);
    for (size_t i = 0; i < reply->branch_count; i++) {
        const struct wire_branch_op *op = &reply->branches[i];
        used += snprintf(f->got + used, sizeof(f->got) - (size_t)used, " %.*s.%.*s=%s(%.*s)",
                         SLICE_ARG(op->branch_id), SLICE_ARG(op->op), wire_status_name(op->status),
                         SLICE_ARG(op->url));
    }
    for (size_t i = 0; i < reply->history_count; i++) {
        const struct wire_history_entry *line = &reply->history[i];
        used +=
            snprintf(f->got + used, sizeof(f->got) - (size_t)used, " {%lld %.*s %.*s %lld %.*s}",
                     (long long)line->time_ms, SLICE_ARG(line->op), SLICE_ARG(line->result),
                     (long long)line->duration_ms, SLICE_ARG(line->note));
    }
}

static void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct fixture *f = arg;
    f->done = true;
    if (err) {
        snprintf(f->got, sizeof(f->got), "err %s: %s", err_text(err), why ? why : "");
    } else if (reply->kind == WIRE_ERROR) {
        snprintf(f->got, sizeof(f->got), "error %d field=%.*s retry=%u %.*s",
                 (int)reply->error.code, SLICE_ARG(reply->error.field), reply->error.retry_after_ms,
                 SLICE_ARG(reply->error.message));
    } else if (reply->kind == WIRE_SUBMIT_REPLY) {
        snprintf(f->got, sizeof(f->got), "gid=%.*s status=%s why=%.*s",
                 SLICE_ARG(reply->submit_reply.gid), wire_status_name(reply->submit_reply.status),
                 SLICE_ARG(reply->submit_reply.rollback_reason));
    } else if (reply->kind == WIRE_NEW_GID_REPLY) {
        snprintf(f->got, sizeof(f->got), "%.*s", SLICE_ARG(reply->new_gid));
    } else if (reply->kind == WIRE_QUERY_REPLY) {
        query_print(f, &reply->query_reply);
    }
}

static const char *ask(struct fixture *f, const struct wire_message *request)
{
    f->done = false;
    f->asked[0] = '\0';
    rpc_client_call(f->client, request, loop_now_ms(f->loop) + WAIT_MS, on_reply, f);
    while (!f->done) {
        loop_turn(f->loop, 10);
    }
    return f->got;
}

static struct wire_step step_of(const char *action)
{
    return (struct wire_step){.action = slice_str(action),
                              .compensate = slice_str("tcp://order/mall.Order/CreateRevert"),
                              .payload = slice_make("\x08\x96\x01", 3)};
}

static struct wire_message submit_of(const char *gid, struct wire_step *steps, size_t count)
{
    return (struct wire_message){.kind = WIRE_SUBMIT,
                                 .submit = {.gid = slice_str(gid),
                                            .trans_type = slice_str("saga"),
                                            .steps = steps,
                                            .step_count = count}};
}

static void test_new_gids_differ(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_NEW_GID};
    char first[64];
    snprintf(first, sizeof(first), "%.60s", ask(f, &request));
    assert_int_equal(strlen(first), 22);
    assert_string_not_equal(first, ask(f, &request));
}

static void test_submit_reaches_the_engine_whole(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = step_of("tcp://order/mall.Order/Create");
    struct wire_header header = {SLICE_LIT("x"), SLICE_LIT("y")};
    struct wire_message request = submit_of("g 1", &step, 1);
    request.submit.options = (struct wire_options){.timeout_to_fail_ms = 1,
                                                   .retry_interval_ms = 2,
                                                   .request_timeout_ms = 3,
                                                   .retry_limit = 4,
                                                   .headers = &header,
                                                   .header_count = 1};
    request.submit.wait_result = true;
    request.submit.wait_timeout_ms = 700;
    f->answer.status = TXN_FAILED;
    f->answer.rollback_reason = slice_str("no stock");
    assert_string_equal(ask(f, &request), "gid=g 1 status=failed why=no stock");
    assert_string_equal(f->asked,
                        "g 1 saga steps=1 [tcp://order/mall.Order/Create|"
                        "tcp://order/mall.Order/CreateRevert|\x08\x96\x01] times=1/2/3 limit=4 "
                        "headers=1 wait=2/700");
}

static void test_submit_wait_modes(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = step_of("");
    step.payload = slice_str("");
    struct wire_message request = submit_of("g", &step, 1);
    f->answer.status = TXN_SUBMITTED;
    assert_string_equal(ask(f, &request), "gid=g status=submitted why=");
    assert_non_null(strstr(f->asked, "wait=0/0"));
    request.submit.wait_result = true;
    ask(f, &request);
    assert_non_null(strstr(f->asked, "wait=1/0"));
    request.submit.wait_timeout_ms = 600000;
    ask(f, &request);
    assert_non_null(strstr(f->asked, "wait=2/600000"));
}

static void test_submit_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    struct wire_step steps[2] = {step_of("tcp://order/mall.Order/Create"), step_of("ftp://x")};
    struct wire_message request = submit_of("", steps, 1);
    assert_string_equal(ask(f, &request), "error 1 field=gid retry=0 gid: is empty; must have 1 to "
                                          "128 characters");
    request = submit_of("g", steps, 2);
    assert_non_null(strstr(ask(f, &request), "error 1 field=steps[1].action retry=0 "));
    request = submit_of("g", steps, 1);
    request.submit.trans_type = slice_str("dance");
    assert_non_null(strstr(ask(f, &request), "field=trans_type"));
    request = submit_of("g", steps, 1);
    request.submit.wait_timeout_ms = 5;
    assert_non_null(strstr(ask(f, &request), "field=wait_timeout_ms"));
    request.submit.wait_result = true;
    request.submit.wait_timeout_ms = 600001;
    assert_non_null(strstr(ask(f, &request), "field=wait_timeout_ms"));
    assert_string_equal(f->asked, "");
}

static void test_errors_of_the_engine(void **state)
{
    static const struct {
        enum err err;
        const char *want;
    } cases[] = {
        {ERR_BUSY, "error 5 field= retry=1000 over live_max"},
        {ERR_UNAVAILABLE, "error 6 field= retry=1000 over live_max"},
        {ERR_CONFLICT, "error 7 field= retry=0 over live_max"},
        {ERR_SYSTEM, "error 9 field= retry=0 over live_max"},
    };
    struct fixture *f = *state;
    struct wire_step step = step_of("");
    struct wire_message request = submit_of("g", &step, 1);
    f->answer.message = "over live_max";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->answer.err = cases[i].err;
        assert_string_equal(ask(f, &request), cases[i].want);
    }
}

static void test_query(void **state)
{
    struct fixture *f = *state;
    struct txn_step step = {
        .urls = {[OP_ACTION] = SLICE_LIT("http://h/a"), [OP_UNDO] = SLICE_LIT("http://h/c")},
        .payload = SLICE_LIT("pay")};
    struct txn_spec spec = {
        .gid = SLICE_LIT("g1"), .trans_type = SLICE_LIT("saga"), .steps = &step, .step_count = 1};
    struct txn *txn = txn_new(&spec);
    txn->status = TXN_ABORTING;
    txn->created_ms = 77;
    txn->branches[0].ops[OP_ACTION].status = OP_FAILED;
    txn_set_reason(txn, slice_str("why"));
    struct archive_line line = {78, SLICE_LIT("01.action"), SLICE_LIT("FAILURE"), 3,
                                SLICE_LIT("no")};
    f->record = (struct archive_record){
        .status = STORE_OK, .message = "", .txn = txn, .lines = &line, .line_count = 1};
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_str("g1")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g1 type=saga status=aborting why=why at=77 "
                        "01.compensate=prepared(http://h/c) 01.action=failed(http://h/a) "
                        "{78 01.action FAILURE 3 no}");
    assert_string_equal(f->asked, "read g1");
    f->record = (struct archive_record){.status = STORE_NOT_FOUND, .message = ""};
    assert_string_equal(ask(f, &request), "found=0 gid=g1 type= status=- why= at=0");
    f->record = (struct archive_record){.status = STORE_UNKNOWN, .message = "away"};
    assert_string_equal(ask(f, &request), "error 6 field= retry=1000 away");
    request.query_gid = slice_str("a\nb");
    assert_non_null(strstr(ask(f, &request), "error 1 field=gid"));
    txn_free(txn);
}

/* ---- other types than plain sagas ---- */

static struct wire_message message_of(enum wire_kind kind, const char *type,
                                      struct wire_step *steps, size_t count)
{
    return (struct wire_message){.kind = kind,
                                 .submit = {.gid = slice_str("g"),
                                            .trans_type = slice_str(type),
                                            .steps = steps,
                                            .step_count = count}};
}

static struct wire_step tcc_step(const char *payload)
{
    return (struct wire_step){.try_url = slice_str("tcp://a/b.C/Try"),
                              .confirm = slice_str("tcp://a/b.C/Confirm"),
                              .cancel = slice_str("tcp://a/b.C/Cancel"),
                              .payload = slice_str(payload)};
}

static void test_a_concurrent_saga_and_its_order(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    uint8_t after[] = {0, 1};
    struct wire_step steps[3] = {{.action = slice_str("http://h/a")},
                                 {.action = slice_str("http://h/b")},
                                 {.action = slice_str("http://h/c"),
                                  .compensate = slice_str("http://h/u"),
                                  .payload = slice_str("p"),
                                  .after = after,
                                  .after_count = 2}};
    struct wire_message request = message_of(WIRE_SUBMIT, "saga", steps, 3);
    request.submit.concurrent = true;
    request.submit.custom_data = slice_str("{}");
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g saga concurrent delay=0 check= custom={} "
                                  "[http://h/a|||] [http://h/b|||] "
                                  "[http://h/c||http://h/u|p after 0 after 1]");
    after[1] = 2;
    assert_non_null(strstr(ask(f, &request), "orders: step 2 comes after step 2"));
    after[1] = 3;
    assert_non_null(strstr(ask(f, &request), "orders: step 2 comes after step 3"));
    request.submit.concurrent = false;
    assert_non_null(strstr(ask(f, &request), "field=steps.after"));
}

static void test_options_of_steps_and_results(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_header headers[] = {{SLICE_LIT("x"), SLICE_LIT("1")},
                                    {SLICE_LIT("y"), SLICE_LIT("2")}};
    struct wire_step steps[] = {{.action = slice_str("http://h/a")},
                                {.action = slice_str("http://h/b"),
                                 .payload = slice_str("${01.result}"),
                                 .headers = headers,
                                 .header_count = 2},
                                {.action = slice_str("http://h/c"),
                                 .request_timeout_ms = 7,
                                 .retry_interval_ms = 8,
                                 .headers = headers + 1,
                                 .header_count = 1}};
    struct wire_message request = message_of(WIRE_SUBMIT, "saga", steps, 3);
    request.submit.options.keep_results = true;
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g saga results delay=0 check= custom= [http://h/a|||] "
                                  "[http://h/b|||${01.result} x:1 y:2] [http://h/c||| y:2 7/8]");
    steps[0].payload = slice_str("${02.result}"); /* comes later */
    assert_non_null(strstr(ask(f, &request), "error 1 "));
    steps[0].payload = slice_str("");
    headers[1].name = slice_str("not a token");
    assert_non_null(strstr(ask(f, &request), "field=steps[1].branch_headers"));
}

static void test_a_declared_tcc(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_step steps[2] = {tcc_step("1"), tcc_step("2")};
    struct wire_message request = message_of(WIRE_SUBMIT, "tcc", steps, 2);
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g tcc declared delay=0 check= custom= "
                                  "[tcp://a/b.C/Try|tcp://a/b.C/Confirm|tcp://a/b.C/Cancel|1] "
                                  "[tcp://a/b.C/Try|tcp://a/b.C/Confirm|tcp://a/b.C/Cancel|2]");
    steps[1].action = slice_str("http://h/a");
    assert_non_null(strstr(ask(f, &request), "field=steps[1].action retry=0 steps[1].action: a tcc "
                                             "has no such op"));
    request.kind = WIRE_PREPARE;
    steps[1] = tcc_step("2");
    assert_non_null(strstr(ask(f, &request), "field=steps retry=0 "));
}

static void test_a_message_is_prepared_and_submitted(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_step step = {.action = slice_str("http://h/a"), .payload = slice_str("p")};
    struct wire_message request = message_of(WIRE_PREPARE, "msg", &step, 1);
    request.submit.query_prepared = slice_str("http://h/q");
    request.submit.delay_ms = 9;
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "prepare g msg prepare delay=9 check=http://h/q custom= "
                                  "[http://h/a|||p]");
    request.kind = WIRE_SUBMIT;
    ask(f, &request);
    assert_string_equal(f->asked, "submit g msg delay=9 check=http://h/q custom= [http://h/a|||p]");
    request.kind = WIRE_PREPARE;
    request.submit.query_prepared = slice_str("");
    assert_non_null(strstr(ask(f, &request), "field=query_prepared"));
    step.compensate = slice_str("http://h/u");
    assert_non_null(strstr(ask(f, &request), "field=steps[0].compensate"));
}

static void test_a_topic_without_topics(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = {.action = slice_str("topic://paid")};
    struct wire_message request = message_of(WIRE_SUBMIT, "msg", &step, 1);
    assert_non_null(
        strstr(ask(f, &request), "error 6 field= retry=1000 the topics cannot be read"));
    request = message_of(WIRE_SUBMIT, "saga", &step, 1);
    assert_non_null(strstr(ask(f, &request), "field=steps[0].action"));
    assert_string_equal(f->asked, "");
}

static void test_what_does_not_fit_the_type_is_refused(void **state)
{
    static const struct {
        enum wire_kind kind;
        const char *type;
        bool concurrent, wait;
        int delay_ms;
        const char *field;
    } cases[] = {
        {WIRE_SUBMIT, "workflow", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "saga", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "nonsense", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "tcc", true, false, 0, "concurrent"},
        {WIRE_PREPARE, "tcc", false, true, 0, "wait_result"},
        {WIRE_SUBMIT, "tcc", false, false, 5, "delay_ms"},
        {WIRE_SUBMIT, "saga", false, false, 0, "steps"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_message request = message_of(cases[i].kind, cases[i].type, NULL, 0);
        char want[64];
        request.submit.concurrent = cases[i].concurrent;
        request.submit.wait_result = cases[i].wait;
        request.submit.delay_ms = cases[i].delay_ms;
        snprintf(want, sizeof(want), "error 1 field=%s retry=0 ", cases[i].field);
        assert_non_null(strstr(ask(f, &request), want));
        assert_string_equal(f->asked, "");
    }
}

static void test_a_tcc_is_prepared_registered_and_aborted(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = message_of(WIRE_PREPARE, "tcc", NULL, 0);
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "prepare g tcc prepare delay=0 check= custom=");
    request =
        (struct wire_message){.kind = WIRE_REGISTER,
                              .register_branch = {SLICE_LIT("g"), SLICE_LIT("tcc"), SLICE_LIT("01"),
                                                  SLICE_LIT("http://h/confirm"),
                                                  SLICE_LIT("http://h/cancel"), SLICE_LIT("pay")}};
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "register g tcc 01 [http://h/confirm|http://h/cancel|pay]");
    request = (struct wire_message){.kind = WIRE_ABORT, .abort = {SLICE_LIT("g"), SLICE_LIT("no")}};
    f->answer.status = TXN_ABORTING;
    f->answer.rollback_reason = slice_str("no");
    assert_string_equal(ask(f, &request), "gid=g status=aborting why=no");
    assert_string_equal(f->asked, "abort g: no");
    f->answer.err = ERR_NOT_FOUND;
    f->answer.message = "no such transaction";
    assert_string_equal(ask(f, &request), "error 8 field= retry=0 no such transaction");
}

static void test_a_register_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    const struct wire_register good = {SLICE_LIT("g"),          SLICE_LIT("xa"),
                                       SLICE_LIT("01"),         SLICE_LIT("http://h/commit"),
                                       SLICE_LIT("http://h/r"), SLICE_LIT("")};
    char *large = calloc(1, TXN_PAYLOAD_MAX + 1);
    struct wire_register bad[6] = {good, good, good, good, good, good};
    static const char *const fields[6] = {"gid",     "trans_type", "branch_id",
                                          "confirm", "cancel",     "payload"};
    bad[0].gid = slice_str("");
    bad[1].trans_type = slice_str("saga");
    bad[2].branch_id = slice_str("00");
    bad[3].confirm = slice_str("ftp://x");
    bad[4].cancel = slice_str("ftp://x");
    bad[5].payload = slice_make(large, TXN_PAYLOAD_MAX + 1);
    for (int i = 0; i < 6; i++) {
        struct wire_message request = {.kind = WIRE_REGISTER, .register_branch = bad[i]};
        char want[64];
        snprintf(want, sizeof(want), "error 1 field=%s retry=0 ", fields[i]);
        assert_non_null(strstr(ask(f, &request), want));
        assert_string_equal(f->asked, "");
    }
    free(large);
    struct wire_message request = {.kind = WIRE_ABORT, .abort = {.gid = SLICE_LIT("")}};
    assert_non_null(strstr(ask(f, &request), "error 1 field=gid"));
}

static void test_query_tells_every_op(void **state)
{
    struct fixture *f = *state;
    struct txn_step step = {.urls = {[OP_ACTION] = SLICE_LIT("http://h/t"),
                                     [OP_CONFIRM] = SLICE_LIT("http://h/c"),
                                     [OP_UNDO] = SLICE_LIT("http://h/x")}};
    struct txn_spec spec = {.gid = SLICE_LIT("g"),
                            .trans_type = SLICE_LIT("tcc"),
                            .options = {.declared = true},
                            .steps = &step,
                            .step_count = 1};
    struct txn *txn = txn_new(&spec);
    f->record = (struct archive_record){.status = STORE_OK, .message = "", .txn = txn};
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_str("g")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=tcc status=prepared why= at=0 "
                        "01.cancel=prepared(http://h/x) 01.confirm=prepared(http://h/c) "
                        "01.try=prepared(http://h/t)");
    txn->options.declared = false; /* its client calls the tries: nothing is known of them */
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=tcc status=prepared why= at=0 "
                        "01.cancel=prepared(http://h/x) 01.confirm=prepared(http://h/c)");
    txn_free(txn);
}

static void test_calls_are_for_participants(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_CALL, .call = {.method = slice_str("a.B/C")}};
    assert_string_equal(ask(f, &request),
                        "error 1 field=body retry=0 a coordinator takes new_gid, submit, prepare, "
                        "register_branch, abort and query");
}

static void test_token(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_NEW_GID};
    api_tcp_free(f->api);
    open_with(f, "s3cret");
    rpc_client_free(f->client);
    client_open(f, "wrong");
    assert_non_null(strstr(ask(f, &request), err_text(ERR_DENIED)));
    rpc_client_free(f->client);
    client_open(f, "s3cret");
    assert_int_equal(strlen(ask(f, &request)), 22);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_new_gids_differ),
        CASE(test_submit_reaches_the_engine_whole),
        CASE(test_submit_wait_modes),
        CASE(test_submit_that_is_wrong_names_the_field),
        CASE(test_errors_of_the_engine),
        CASE(test_query),
        CASE(test_a_concurrent_saga_and_its_order),
        CASE(test_options_of_steps_and_results),
        CASE(test_a_declared_tcc),
        CASE(test_a_message_is_prepared_and_submitted),
        CASE(test_a_topic_without_topics),
        CASE(test_what_does_not_fit_the_type_is_refused),
        CASE(test_a_tcc_is_prepared_registered_and_aborted),
        CASE(test_a_register_that_is_wrong_names_the_field),
        CASE(test_query_tells_every_op),
        CASE(test_calls_are_for_participants),
        CASE(test_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
