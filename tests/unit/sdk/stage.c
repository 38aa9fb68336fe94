#include "stage.h"

static void note(struct stage *stage, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct stage *stage, const char *fmt, ...)
{
    size_t used = strlen(stage->log);
    va_list args;
    va_start(args, fmt);
    vsnprintf(stage->log + used, sizeof(stage->log) - used, fmt, args);
    va_end(args);
}

static void note_headers(struct stage *stage, const struct wire_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        note(stage, " %.*s:%.*s", SLICE_ARG(headers[i].name), SLICE_ARG(headers[i].value));
    }
}

static void note_submit(struct stage *stage, const char *what, const struct wire_submit *s)
{
    note(stage, "%s %.*s %.*s fail=%" PRId64 " delay=%" PRId64 " check=%.*s%s%s", what,
         SLICE_ARG(s->trans_type), SLICE_ARG(s->gid), s->options.timeout_to_fail_ms, s->delay_ms,
         SLICE_ARG(s->query_prepared), s->concurrent ? " concurrent" : "",
         s->wait_result ? " wait" : "");
    note_headers(stage, s->options.headers, s->options.header_count);
    for (size_t i = 0; i < s->step_count; i++) {
        const struct wire_step *step = &s->steps[i];
        note(stage, " [%.*s%.*s %.*s%.*s %.*s", SLICE_ARG(step->action), SLICE_ARG(step->try_url),
             SLICE_ARG(step->confirm), SLICE_ARG(step->cancel), SLICE_ARG(step->payload));
        for (size_t a = 0; a < step->after_count; a++) {
            note(stage, " <%d", step->after[a]);
        }
        if (step->request_timeout_ms + step->retry_interval_ms > 0) {
            note(stage, " %" PRId64 "/%" PRId64, step->request_timeout_ms, step->retry_interval_ms);
        }
        note_headers(stage, step->headers, step->header_count);
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
        note(stage, "register %.*s %.*s %.*s %.*s %.*s %.*s", SLICE_ARG(r->trans_type),
             SLICE_ARG(r->gid), SLICE_ARG(r->branch_id), SLICE_ARG(r->confirm),
             SLICE_ARG(r->cancel), SLICE_ARG(r->payload));
        if (r->op.len > 0) {
            note(stage, " %.*s=%s", SLICE_ARG(r->op), wire_status_name(r->status));
        }
        note(stage, "\n");
        return r->gid;
    }
    if (m->kind == WIRE_WORKFLOW) {
        const struct wire_workflow *w = &m->workflow;
        note(stage, "workflow %.*s %.*s(%.*s) resume=%.*s %" PRId64 "/%" PRId64, SLICE_ARG(w->gid),
             SLICE_ARG(w->name), SLICE_ARG(w->data), SLICE_ARG(w->resume),
             w->options.retry_interval_ms, w->options.request_timeout_ms);
        note_headers(stage, w->options.headers, w->options.header_count);
        note(stage, "\n");
        return w->gid;
    }
    if (m->kind == WIRE_FINISH) {
        const struct wire_finish *f = &m->finish;
        note(stage, "finish %.*s %s (%.*s) %.*s\n", SLICE_ARG(f->gid), wire_status_name(f->status),
             SLICE_ARG(f->result), SLICE_ARG(f->reason));
        return f->gid;
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
    return kind == WIRE_FINISH   ? WIRE_STATUS_SUCCEED
           : kind == WIRE_SUBMIT ? WIRE_STATUS_SUBMITTED
           : kind == WIRE_ABORT  ? WIRE_STATUS_ABORTING
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
                            .status = ended ? WIRE_STATUS_SUCCEED : WIRE_STATUS_SUBMITTED,
                            .parked = stage->parked}};
        rpc_request_reply(request, &state);
        return;
    }
    if (m->kind == WIRE_WORKFLOW) {
        struct wire_message known = {.kind = WIRE_QUERY_REPLY,
                                     .query_reply = {.found = true,
                                                     .gid = gid,
                                                     .status = stage->workflow_status,
                                                     .branches = stage->done,
                                                     .branch_count = stage->done_count,
                                                     .result = stage->workflow_result}};
        rpc_request_reply(request, &known);
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
    struct saga_bytes tenant = saga_call_header(call, "x-tenant");
    note(stage, "call %.*s %.*s %.*s %.*s %.*s%s%.*s\n", (int)type.len, type.ptr, (int)gid.len,
         gid.ptr, (int)branch.len, branch.ptr, (int)op.len, op.ptr, (int)payload.len, payload.ptr,
         tenant.len ? " tenant " : "", (int)tenant.len, tenant.len ? tenant.ptr : "");
    if (payload.ptr[0] == 'd') {
        saga_call_drop(call);
        return;
    }
    if (payload.ptr[0] == 'l') {
        saga_call_reply(call, SAGA_ONGOING, saga_text(""), NULL);
        return;
    }
    if (payload.ptr[0] == '8') { /* one byte, then letters of two bytes, as many as a message has */
        char why[1000] = "!";
        for (size_t i = 1; i + 2 < sizeof(why); i += 2) {
            memcpy(why + i, "é", 3);
        }
        saga_call_reply(call, SAGA_FAILURE, saga_text(""), payload.len > 1 ? why + 1 : why);
        return;
    }
    static const char bytes[256 * 1024 + 1];
    size_t len = payload.ptr[0] == 'b' ? sizeof(bytes) : payload.ptr[0] == 'f' ? 256 * 1024 : 0;
    saga_call_reply(call, payload.ptr[0] == 'n' ? SAGA_FAILURE : SAGA_SUCCESS,
                    len ? (struct saga_bytes){bytes, len} : saga_text("got"),
                    payload.ptr[0] == 'n' ? "no stock" : NULL);
}

void stage_open(struct stage *stage)
{
    char error[256] = "", address[64];
    *stage = (struct stage){.loop = loop_new(), .workflow_status = WIRE_STATUS_PREPARED};
    stage->server = coordinator_open(stage->loop, on_request, stage, address);
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

void stage_close(struct stage *stage)
{
    if (stage->saga) {
        saga_close(stage->saga);
    }
    saga_close(stage->host);
    rpc_server_free(stage->server);
    loop_turn(stage->loop, 0);
    loop_free(stage->loop);
}

void on_answer(void *arg, const struct saga_answer *answer)
{
    struct result *result = arg;
    assert_false(result->done);
    result->done = true;
    result->error = answer->error;
    snprintf(result->text, TEXT_SIZE, "%s|%.*s|%s", answer->message ? answer->message : "",
             (int)answer->gid.len, answer->gid.ptr ? answer->gid.ptr : "",
             answer->status ? answer->status : "-");
    if (answer->parked.len > 0) {
        size_t used = strlen(result->text);
        snprintf(result->text + used, TEXT_SIZE - used, " parked %.*s", (int)answer->parked.len,
                 answer->parked.ptr);
    }
    if (answer->result.len > 0) {
        size_t used = strlen(result->text);
        snprintf(result->text + used, TEXT_SIZE - used, " (%.*s)", (int)answer->result.len,
                 answer->result.ptr);
    }
}

void on_response(void *arg, const struct saga_response *response)
{
    struct result *result = arg;
    assert_false(result->done);
    result->done = true;
    result->error = response->error;
    result->result = response->result;
    snprintf(result->text, TEXT_SIZE, "%s|%.*s", response->message ? response->message : "",
             (int)response->payload.len, response->payload.ptr ? response->payload.ptr : "");
}
