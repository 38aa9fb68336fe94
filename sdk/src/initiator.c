/* Starting transactions: requests to the coordinator. */
#include "base/check.h"
#include "base/fault.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_TIMEOUT_MS = 3000,         /* of one branch call, when the submission does not say */
    WAIT_MAX_MS = 7 * 24 * 3600 * 1000 /* whatever the time-outs add up to */
};

struct ask {
    struct saga *saga;
    enum wire_kind wanted; /* of the answer */
    saga_answer_cb cb;
    void *arg;
    enum saga_error refused;
    const char *why;
    struct loop_task task;
};

/* ---- errors ---- */

static enum saga_error error_of_code(enum wire_error_code code)
{
    switch (code) {
    case WIRE_ERROR_INVALID:
    case WIRE_ERROR_VERSION:
    case WIRE_ERROR_DENIED:
    case WIRE_ERROR_LIMIT:
    case WIRE_ERROR_CONFLICT:
    case WIRE_ERROR_NOT_FOUND: return SAGA_E_INVALID;
    case WIRE_ERROR_BUSY: return SAGA_E_BUSY;
    case WIRE_ERROR_UNSPECIFIED:
    case WIRE_ERROR_UNAVAILABLE:
    case WIRE_ERROR_INTERNAL: return SAGA_E_UNAVAILABLE;
    }
    unreachable("wire_error_code");
}

static enum saga_error error_of_err(enum err err)
{
    switch (err) {
    case ERR_OK: return SAGA_E_NONE;
    case ERR_BUSY: return SAGA_E_BUSY;
    case ERR_CANCELLED: return SAGA_E_CANCELLED;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_DENIED: return SAGA_E_INVALID; /* never sent, or not executed: rpc.h */
    case ERR_PROTOCOL:
    case ERR_TIMEOUT:
    case ERR_CONNECT:
    case ERR_CLOSED:
    case ERR_UNAVAILABLE:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_SCRIPT:
    case ERR_SYSTEM: return SAGA_E_UNAVAILABLE;
    }
    unreachable("err");
}

enum saga_error error_of_reply(enum err err, const struct wire_message *reply, const char *why,
                               struct reason *out)
{
    if (err != ERR_OK) {
        (void)reason_set(out, err, "%s%s%s", err_text(err), why && why[0] ? ": " : "",
                         why ? why : "");
        return error_of_err(err);
    }
    if (reply->kind == WIRE_ERROR) {
        const struct wire_error *error = &reply->error;
        /* The texts of sagad begin with the field themselves; those of others may not. */
        size_t n = error->field.len;
        bool named = n == 0 || (error->message.len > n &&
                                memcmp(error->message.ptr, error->field.ptr, n) == 0);
        (void)reason_set(out, ERR_INVALID, "%.*s%s%.*s", named ? 0 : (int)n, error->field.ptr,
                         named ? "" : ": ", SLICE_ARG(error->message));
        return error_of_code(error->code);
    }
    return SAGA_E_NONE;
}

/* ---- answers ---- */

static void ask_end(struct ask *ask, const struct saga_answer *answer)
{
    if (ask->cb) {
        ask->cb(ask->arg, answer);
    }
    ask->saga->pending--;
    free(ask);
}

static void ask_fail(struct ask *ask, enum saga_error error, const char *message)
{
    struct saga_answer answer = {.error = error, .message = message};
    ask_end(ask, &answer);
}

static void answer_submit(struct ask *ask, const struct wire_submit_reply *reply)
{
    struct saga_answer answer = {
        .gid = bytes_of(reply->gid),
        .status = wire_status_name(reply->status),
        .rollback_reason = bytes_of(reply->rollback_reason),
    };
    ask_end(ask, &answer);
}

/* Of another version: a status that has no word is as good as prepared. */
static const char *op_status(enum wire_status status)
{
    const char *name = wire_status_name(status);
    return name ? name : "prepared";
}

static void answer_query(struct ask *ask, const struct wire_query_reply *reply)
{
    struct saga_op *ops = mem_zalloc((reply->branch_count + 1) * sizeof(*ops));
    for (size_t i = 0; i < reply->branch_count; i++) {
        const struct wire_branch_op *op = &reply->branches[i];
        ops[i] = (struct saga_op){bytes_of(op->branch_id), bytes_of(op->op), bytes_of(op->url),
                                  op_status(op->status), bytes_of(op->result)};
    }
    struct saga_answer answer = {
        .gid = bytes_of(reply->gid),
        .status = reply->found ? wire_status_name(reply->status) : NULL,
        .rollback_reason = bytes_of(reply->rollback_reason),
        .ops = ops,
        .op_count = reply->branch_count,
        .result = bytes_of(reply->result),
        .created_ms = reply->create_time_ms,
        .parked = bytes_of(reply->parked),
        .parked_since_ms = reply->parked_since_ms,
    };
    ask_end(ask, &answer);
    free(ops);
}

static void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct ask *ask = arg;
    struct reason reason = {.text = ""};
    if (FAULT("initiator.after_reply")) {
        err = ERR_CLOSED;
    }
    enum saga_error error = error_of_reply(err, reply, why, &reason);
    if (error != SAGA_E_NONE) {
        ask_fail(ask, error, reason.text);
        return;
    }
    if (reply->kind != ask->wanted) {
        ask_fail(ask, SAGA_E_UNAVAILABLE, "the coordinator's answer does not fit the request");
    } else if (reply->kind == WIRE_SUBMIT_REPLY) {
        answer_submit(ask, &reply->submit_reply);
    } else if (reply->kind == WIRE_QUERY_REPLY) {
        answer_query(ask, &reply->query_reply);
    } else {
        struct saga_answer answer = {.gid = bytes_of(reply->new_gid)};
        ask_end(ask, &answer);
    }
}

static void on_refused(void *arg)
{
    struct ask *ask = arg;
    ask_fail(ask, ask->refused, ask->why);
}

/* ---- requests ---- */

void coordinator_ask(struct saga *saga, const struct wire_message *request, enum wire_kind wanted,
                     int64_t wait_ms, const char *wrong, saga_answer_cb cb, void *arg)
{
    struct ask *ask = mem_new(struct ask);
    *ask = (struct ask){.saga = saga, .wanted = wanted, .cb = cb, .arg = arg};
    saga->pending++;
    if (saga->closing) {
        ask->refused = SAGA_E_CANCELLED;
        ask->why = "the program is shutting down";
    } else if (!saga->coordinator) {
        ask->refused = SAGA_E_INVALID;
        ask->why = "no coordinator is configured (saga_conf.coordinator)";
    } else if (wrong) {
        ask->refused = SAGA_E_INVALID;
        ask->why = wrong;
    } else if (FAULT("initiator.before_send")) {
        ask->refused = SAGA_E_UNAVAILABLE;
        ask->why = "fault point";
    } else {
        int64_t deadline_ms = loop_now_ms(saga->loop) + saga->timeout_ms + wait_ms;
        rpc_client_call(saga->coordinator, request, deadline_ms, on_reply, ask);
        return;
    }
    loop_defer(saga->loop, &ask->task, on_refused, ask);
}

void saga_new_gid(struct saga *saga, saga_answer_cb cb, void *arg)
{
    coordinator_ask(saga, &(struct wire_message){.kind = WIRE_NEW_GID}, WIRE_NEW_GID_REPLY, 0, NULL,
                    cb, arg);
}

void saga_query(struct saga *saga, struct saga_bytes gid, saga_answer_cb cb, void *arg)
{
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_of(gid)};
    coordinator_ask(saga, &request, WIRE_QUERY_REPLY, 0, gid.len ? NULL : "gid is empty", cb, arg);
}

void saga_abort(struct saga *saga, struct saga_bytes gid, const char *reason, saga_answer_cb cb,
                void *arg)
{
    struct wire_message request = {.kind = WIRE_ABORT,
                                   .abort = {.gid = slice_of(gid), .reason = slice_str(reason)}};
    coordinator_ask(saga, &request, WIRE_SUBMIT_REPLY, 0, gid.len ? NULL : "gid is empty", cb, arg);
}

/* ---- submissions ---- */

/* Of one step or branch; the branches of a tcc that were registered are known by their number
 * alone. */
static int64_t call_timeout_ms(const struct saga_submission *s, size_t index)
{
    if (index < s->step_count) {
        return s->steps[index].options.request_timeout_ms;
    }
    return s->branches ? s->branches[index - s->step_count].options.request_timeout_ms : 0;
}

/* Without a wait_timeout the coordinator answers as soon as a branch must be tried again: each is
 * called at most twice before. */
int64_t submission_wait_ms(const struct saga_submission *s)
{
    if (!s->wait) {
        return 0;
    }
    if (s->wait_timeout_ms) {
        return s->wait_timeout_ms;
    }
    int64_t call_ms = s->request_timeout_ms ? s->request_timeout_ms : REQUEST_TIMEOUT_MS;
    size_t count = s->step_count + s->branch_count;
    int64_t all_ms = count ? 0 : call_ms;
    for (size_t i = 0; i < count && all_ms < WAIT_MAX_MS; i++) {
        int64_t own_ms = call_timeout_ms(s, i);
        all_ms += own_ms ? own_ms : call_ms;
    }
    return all_ms < WAIT_MAX_MS ? 2 * all_ms : 2 * WAIT_MAX_MS;
}

struct wire_header *headers_encode(const struct saga_header *headers, size_t count,
                                   struct arena *arena)
{
    struct wire_header *out = count ? arena_alloc(arena, count * sizeof(*out)) : NULL;
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct wire_header){arena_copy(arena, slice_str(headers[i].name)),
                                      arena_copy(arena, slice_str(headers[i].value))};
    }
    return out;
}

struct wire_options submission_options(const struct saga_submission *s, struct arena *arena)
{
    return (struct wire_options){.timeout_to_fail_ms = s->timeout_to_fail_ms,
                                 .retry_interval_ms = s->retry_interval_ms,
                                 .request_timeout_ms = s->request_timeout_ms,
                                 .retry_limit = s->retry_limit,
                                 .headers = headers_encode(s->headers, s->header_count, arena),
                                 .header_count = s->header_count,
                                 .keep_results = s->keep_results};
}

const char *submission_wrong(const struct saga_submission *s)
{
    if (s->gid.len == 0) {
        return "gid is empty: take one from saga_gid or saga_new_gid, or an id of your own";
    }
    if (s->wait_timeout_ms < 0 || s->wait_timeout_ms > UINT32_MAX || s->timeout_to_fail_ms < 0 ||
        s->retry_interval_ms < 0 || s->request_timeout_ms < 0 || s->delay_ms < 0) {
        return "a time is negative or too large";
    }
    return s->header_count > WIRE_HEADERS_MAX ? "a submission has at most 32 headers" : NULL;
}

static const char *call_options_wrong(const struct saga_call_options *options)
{
    if (options->request_timeout_ms < 0 || options->retry_interval_ms < 0) {
        return "a time of a step or branch is negative";
    }
    return options->header_count > WIRE_HEADERS_MAX ? "a step or branch has at most 32 headers"
                                                    : NULL;
}

static const char *orders_wrong(const struct saga_submission *s)
{
    if (s->order_count > SAGA_ORDERS_MAX) {
        return "a submission has at most 1000 orders";
    }
    for (size_t i = 0; i < s->order_count; i++) {
        if (s->orders[i].step >= s->step_count || s->orders[i].after >= s->step_count) {
            return "orders name a step that there is not";
        }
    }
    return NULL;
}

static bool is_tcc(const struct saga_submission *s)
{
    return s->trans_type && strcmp(s->trans_type, "tcc") == 0;
}

/* Its branches may have been registered before. */
static bool needs_no_steps(const struct saga_submission *s)
{
    return is_tcc(s) || (s->trans_type && strcmp(s->trans_type, "xa") == 0);
}

static const char *steps_wrong(const struct saga_submission *s)
{
    if (is_tcc(s) ? s->step_count > 0 : s->branch_count > 0) {
        return is_tcc(s) ? "a tcc has branches, no steps"
                         : "branches are for a tcc; others have "
                           "steps";
    }
    if (s->branch_count > WIRE_STEPS_MAX || s->step_count > WIRE_STEPS_MAX ||
        (!needs_no_steps(s) && s->step_count == 0)) {
        return "a submission has 1 to 100 steps or branches";
    }
    const char *wrong = NULL;
    for (size_t i = 0; i < s->step_count && !wrong; i++) {
        wrong = call_options_wrong(&s->steps[i].options);
    }
    for (size_t i = 0; i < s->branch_count && !wrong; i++) {
        wrong = call_options_wrong(&s->branches[i].options);
    }
    return wrong ? wrong : orders_wrong(s);
}

/* Room for what the request points to. */
struct parts {
    struct wire_step steps[WIRE_STEPS_MAX];
    uint8_t after[SAGA_ORDERS_MAX];
    struct arena arena; /* of headers */
};

/* Each step's predecessors in one run. */
static void orders_encode(const struct saga_submission *s, struct parts *parts)
{
    size_t used = 0;
    for (size_t i = 0; i < s->step_count && used < s->order_count; i++) {
        struct wire_step *step = &parts->steps[i];
        step->after = parts->after + used;
        for (size_t o = 0; o < s->order_count; o++) {
            if (s->orders[o].step == i) {
                step->after[step->after_count++] = s->orders[o].after;
            }
        }
        used += step->after_count;
    }
}

static void call_options_encode(const struct saga_call_options *options, struct wire_step *step,
                                struct arena *arena)
{
    step->request_timeout_ms = options->request_timeout_ms;
    step->retry_interval_ms = options->retry_interval_ms;
    step->headers = headers_encode(options->headers, options->header_count, arena);
    step->header_count = options->header_count;
}

static void steps_encode(const struct saga_submission *s, struct parts *parts)
{
    for (size_t i = 0; i < s->step_count; i++) {
        const struct saga_step *step = &s->steps[i];
        parts->steps[i] = (struct wire_step){.action = slice_str(step->action),
                                             .compensate = slice_str(step->compensate),
                                             .payload = slice_of(step->payload)};
        call_options_encode(&step->options, &parts->steps[i], &parts->arena);
    }
    for (size_t i = 0; i < s->branch_count; i++) {
        const struct saga_branch *branch = &s->branches[i];
        parts->steps[i] = (struct wire_step){.try_url = slice_str(branch->try_url),
                                             .confirm = slice_str(branch->confirm),
                                             .cancel = slice_str(branch->cancel),
                                             .payload = slice_of(branch->payload)};
        call_options_encode(&branch->options, &parts->steps[i], &parts->arena);
    }
    orders_encode(s, parts);
}

static void send_submission(struct saga *saga, enum wire_kind kind, const struct saga_submission *s,
                            saga_answer_cb cb, void *arg)
{
    struct parts parts;
    parts.arena = (struct arena){0};
    const char *wrong = submission_wrong(s);
    wrong = wrong ? wrong : steps_wrong(s);
    if (!wrong && kind == WIRE_PREPARE && s->wait) {
        wrong = "wait is for saga_submit: nothing happens before";
    }
    struct wire_message request = {.kind = kind};
    if (!wrong) {
        steps_encode(s, &parts);
        request.submit = (struct wire_submit){
            .gid = slice_of(s->gid),
            .trans_type = slice_str(s->trans_type ? s->trans_type : "saga"),
            .steps = parts.steps,
            .step_count = s->step_count + s->branch_count,
            .options = submission_options(s, &parts.arena),
            .wait_result = s->wait,
            .wait_timeout_ms = (uint32_t)s->wait_timeout_ms,
            .query_prepared = slice_str(s->query_prepared),
            .concurrent = s->concurrent,
            .delay_ms = s->delay_ms,
        };
    }
    coordinator_ask(saga, &request, WIRE_SUBMIT_REPLY, submission_wait_ms(s), wrong, cb, arg);
    arena_fini(&parts.arena);
}

void saga_submit(struct saga *saga, const struct saga_submission *submission, saga_answer_cb cb,
                 void *arg)
{
    send_submission(saga, WIRE_SUBMIT, submission, cb, arg);
}

void saga_prepare(struct saga *saga, const struct saga_submission *submission, saga_answer_cb cb,
                  void *arg)
{
    send_submission(saga, WIRE_PREPARE, submission, cb, arg);
}
