#include "api_tcp_fixture.h"

#include "harness/wait_for.h"

enum { WAIT_MS = 5000 };

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
    if (spec->workflow.len > 0) {
        used +=
            snprintf(f->asked + used, sizeof(f->asked) - (size_t)used,
                     " workflow=%.*s(%.*s) times=%lld/%lld headers=%zu", SLICE_ARG(spec->workflow),
                     SLICE_ARG(spec->workflow_data), (long long)options->retry_interval_ms,
                     (long long)options->request_timeout_ms, options->header_count);
    }
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
    int used = snprintf(f->asked, sizeof(f->asked), "register %.*s %s %.*s [%.*s|%.*s|%.*s]",
                        SLICE_ARG(gid), txn_type_name(branch->type), SLICE_ARG(branch->id),
                        SLICE_ARG(branch->urls[OP_CONFIRM]), SLICE_ARG(branch->urls[OP_UNDO]),
                        SLICE_ARG(branch->payload));
    if (branch->op.len > 0) {
        snprintf(f->asked + used, sizeof(f->asked) - (size_t)used, " %.*s=%s",
                 SLICE_ARG(branch->op), op_status_name(branch->status));
    }
    answer_later(f, cb, arg);
}

void engine_finish(struct engine *engine, struct slice gid, const struct engine_finish *finish,
                   engine_cb cb, void *arg)
{
    struct fixture *f = (struct fixture *)(void *)engine;
    snprintf(f->asked, sizeof(f->asked), "finish %.*s %s (%.*s) %.*s", SLICE_ARG(gid),
             txn_status_name(finish->status), SLICE_ARG(finish->result), SLICE_ARG(finish->reason));
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
    size_t used = f->keep_asked ? strlen(f->asked) : 0;
    snprintf(f->asked + used, sizeof(f->asked) - used, "%sread %.*s", used ? "; " : "",
             SLICE_ARG(gid));
    f->engine_cb = NULL;
    f->record_cb = cb;
    f->arg = arg;
    loop_defer(f->loop, &f->task, answer_now, f);
}

static const struct archive_ops fake_archive_ops = {.read = fake_read};

void api_tcp_client_open(struct fixture *f, const char *token)
{
    struct rpc_client_conf client = {.address = f->address,
                                     .program = "test",
                                     .token = token,
                                     .connect_timeout_ms = 1000,
                                     .limits = rpc_limits_default};
    f->client = rpc_client_new(f->loop, &client);
}

void api_tcp_open_with(struct fixture *f, const char *token)
{
    struct api_tcp_conf conf = {.address = "127.0.0.1:0",
                                .program = "sagad/test",
                                .token = token,
                                .connections_max = 4,
                                .in_flight_max = 100,
                                .frame_max = 1 << 20};
    struct api_tcp_env env = {
        .loop = f->loop, .engine = (struct engine *)(void *)f, .archive = &f->archive};
    struct reason reason = {.text = ""};
    f->api = api_tcp_open(&conf, &env, &reason);
    assert_non_null(f->api);
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", api_tcp_port(f->api));
}

int api_tcp_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = loop_new();
    f->archive.ops = &fake_archive_ops;
    f->answer.message = "";
    api_tcp_open_with(f, "");
    api_tcp_client_open(f, NULL);
    *state = f;
    return 0;
}

int api_tcp_teardown(void **state)
{
    struct fixture *f = *state;
    rpc_client_free(f->client);
    api_tcp_free(f->api);
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
    loop_free(f->loop);
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
        used += snprintf(f->got + used, sizeof(f->got) - (size_t)used, " %.*s.%.*s=%s(%.*s%.*s)",
                         SLICE_ARG(op->branch_id), SLICE_ARG(op->op), wire_status_name(op->status),
                         SLICE_ARG(op->url), SLICE_ARG(op->result));
    }
    if (reply->result.len > 0) {
        used += snprintf(f->got + used, sizeof(f->got) - (size_t)used, " result=%.*s",
                         SLICE_ARG(reply->result));
    }
    if (reply->parked.len > 0) {
        used += snprintf(f->got + used, sizeof(f->got) - (size_t)used, " parked=%.*s since=%lld",
                         SLICE_ARG(reply->parked), (long long)reply->parked_since_ms);
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

const char *ask(struct fixture *f, const struct wire_message *request)
{
    f->done = false;
    f->asked[0] = '\0';
    rpc_client_call(f->client, request, loop_now_ms(f->loop) + WAIT_MS, on_reply, f);
    wait_for(f->loop, f->done);
    return f->got;
}
