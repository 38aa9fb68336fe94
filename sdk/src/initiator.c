/* Starting transactions: requests to the coordinator. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>
#include <string.h>

enum { REQUEST_TIMEOUT_MS = 3000 }; /* of one branch call, when the submission does not say */

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
    case ERR_PROTOCOL:
    case ERR_DENIED: return SAGA_E_INVALID;
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

static void answer_query(struct ask *ask, const struct wire_query_reply *reply)
{
    struct saga_answer answer = {
        .gid = bytes_of(reply->gid),
        .status = reply->found ? wire_status_name(reply->status) : NULL,
        .rollback_reason = bytes_of(reply->rollback_reason),
    };
    ask_end(ask, &answer);
}

static void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct ask *ask = arg;
    struct reason reason = {.text = ""};
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

/* `wrong`: why it cannot even be sent, or NULL. */
static void ask(struct saga *saga, const struct wire_message *request, enum wire_kind wanted,
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
    } else {
        int64_t deadline_ms = loop_now_ms(saga->loop) + saga->timeout_ms + wait_ms;
        rpc_client_call(saga->coordinator, request, deadline_ms, on_reply, ask);
        return;
    }
    loop_defer(saga->loop, &ask->task, on_refused, ask);
}

void saga_new_gid(struct saga *saga, saga_answer_cb cb, void *arg)
{
    ask(saga, &(struct wire_message){.kind = WIRE_NEW_GID}, WIRE_NEW_GID_REPLY, 0, NULL, cb, arg);
}

void saga_query(struct saga *saga, struct saga_bytes gid, saga_answer_cb cb, void *arg)
{
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_of(gid)};
    ask(saga, &request, WIRE_QUERY_REPLY, 0, gid.len ? NULL : "gid is empty", cb, arg);
}

/* How much longer than a plain request a submit may take. Without a wait_timeout the coordinator
 * answers as soon as a branch must be tried again: each step is called at most twice before. */
static int64_t submit_wait_ms(const struct saga_submission *s)
{
    if (!s->wait) {
        return 0;
    }
    int64_t call_ms = s->request_timeout_ms ? s->request_timeout_ms : REQUEST_TIMEOUT_MS;
    return s->wait_timeout_ms ? s->wait_timeout_ms : 2 * (int64_t)s->step_count * call_ms;
}

static const char *submission_wrong(const struct saga_submission *s)
{
    if (s->gid.len == 0) {
        return "gid is empty: take one from saga_gid or saga_new_gid, or an id of your own";
    }
    if (s->step_count == 0 || s->step_count > WIRE_STEPS_MAX) {
        return "a submission has 1 to 100 steps";
    }
    if (s->wait_timeout_ms < 0 || s->wait_timeout_ms > UINT32_MAX || s->timeout_to_fail_ms < 0 ||
        s->retry_interval_ms < 0 || s->request_timeout_ms < 0) {
        return "a time is negative or too large";
    }
    return NULL;
}

void saga_submit(struct saga *saga, const struct saga_submission *submission, saga_answer_cb cb,
                 void *arg)
{
    const char *wrong = submission_wrong(submission);
    struct wire_step steps[WIRE_STEPS_MAX];
    size_t count = wrong ? 0 : submission->step_count;
    for (size_t i = 0; i < count; i++) {
        const struct saga_step *step = &submission->steps[i];
        steps[i] = (struct wire_step){.action = slice_str(step->action),
                                      .compensate = slice_str(step->compensate),
                                      .payload = slice_of(step->payload)};
    }
    struct wire_message request = {
        .kind = WIRE_SUBMIT,
        .submit = {.gid = slice_of(submission->gid),
                   .trans_type = slice_str("saga"),
                   .steps = steps,
                   .step_count = count,
                   .options = {.timeout_to_fail_ms = submission->timeout_to_fail_ms,
                               .retry_interval_ms = submission->retry_interval_ms,
                               .request_timeout_ms = submission->request_timeout_ms,
                               .retry_limit = submission->retry_limit},
                   .wait_result = submission->wait,
                   .wait_timeout_ms = wrong ? 0 : (uint32_t)submission->wait_timeout_ms},
    };
    ask(saga, &request, WIRE_SUBMIT_REPLY, submit_wait_ms(submission), wrong, cb, arg);
}
