/* Scripts under the barrier of a branch: what lua/barrier/gate.lua wants, and what it answers. */
#include "base/check.h"
#include "base/log.h"
#include "saga_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    GATE_ARGS = 7,     /* in front of the body's */
    BARRIERS_MAX = 99, /* of one call: the id has two digits */
    TEXT_MAX = 512,
};

/* ---- outcome ---- */

static const char *const verdict_names[] = {
    [SAGA_OK] = "OK",     [SAGA_DUP] = "DUP",           [SAGA_NULL] = "NULL", [SAGA_FAIL] = "FAIL",
    [SAGA_VOID] = "VOID", [SAGA_CONFLICT] = "CONFLICT", [SAGA_LATE] = "LATE",
};

static struct saga_outcome broken(const char *text)
{
    return (struct saga_outcome){SAGA_BROKEN, saga_text(text)};
}

static struct saga_outcome outcome_of(const struct redis_value *value)
{
    if (redis_value_count(value) == 2) {
        struct slice name = redis_value_str(redis_value_at(value, 0));
        for (size_t i = 0; i < sizeof(verdict_names) / sizeof(verdict_names[0]); i++) {
            if (slice_eq_str(name, verdict_names[i])) {
                struct slice text = redis_value_str(redis_value_at(value, 1));
                return (struct saga_outcome){(enum saga_verdict)i, bytes_of(text)};
            }
        }
    }
    return broken("the script answered what no gated script answers");
}

/* Ids of others in log lines: a quote in them must not end the field. */
static const char *log_text(struct slice text, char *out, size_t size)
{
    slice_printable(text, out, size);
    for (char *c = strchr(out, '"'); c; c = strchr(c, '"')) {
        *c = '\'';
    }
    return out;
}

static void log_call(const struct saga_call *call, const char *what, struct slice why)
{
    char gid[TEXT_MAX], branch[TEXT_MAX], op[64], text[TEXT_MAX];
    const struct wire_call *c = call->call;
    log_error("saga", "msg=\"%s\" gid=\"%s\" branch=\"%s\" op=\"%s\" why=\"%s\"", what,
              log_text(c->gid, gid, sizeof(gid)), log_text(c->branch_id, branch, sizeof(branch)),
              log_text(c->op, op, sizeof(op)), log_text(why, text, sizeof(text)));
}

void saga_call_settle(struct saga_call *call, const struct saga_outcome *outcome,
                      struct saga_bytes payload)
{
    struct slice text = slice_of(outcome->text);
    switch (outcome->verdict) {
    case SAGA_OK:
    case SAGA_DUP:
    case SAGA_NULL: call_answer(call, SAGA_SUCCESS, slice_of(payload), (struct slice){0}); return;
    case SAGA_FAIL:
    case SAGA_VOID:
        call_answer(call, saga_call_is_undo(call) ? SAGA_ERROR : SAGA_FAILURE, (struct slice){0},
                    text);
        return;
    case SAGA_CONFLICT:
        log_call(call, "alert: confirm and cancel of one branch were both called", text);
        break;
    case SAGA_LATE:
        log_call(call, "alert: undo without a record, which may have expired", text);
        break;
    case SAGA_BROKEN:
        if (call->saga->closing) { /* another instance can do it at once */
            call_pass_on(call);
            return;
        }
        break;
    }
    call_answer(call, SAGA_ERROR, (struct slice){0}, text);
}

static void eval_end(struct saga_call *call, const struct saga_outcome *outcome)
{
    struct saga *saga = call->saga;
    call->evaluating = false;
    if (call->done) {
        call->done(call->done_arg, call, outcome);
    } else {
        saga_call_settle(call, outcome, outcome->text);
    }
    saga->pending--;
}

static void on_reply(void *arg, const struct redis_result *result)
{
    struct saga_call *call = arg;
    if (result->err == ERR_OK) {
        struct saga_outcome outcome = outcome_of(result->value);
        eval_end(call, &outcome);
        return;
    }
    char text[TEXT_MAX];
    snprintf(text, sizeof(text), "redis: %s%s%s", err_text(result->err),
             result->message[0] ? ": " : "", result->message);
    if (result->err == ERR_SCRIPT || result->err == ERR_DENIED) {
        log_call(call, "script failed", slice_str(text)); /* repeating will hardly help */
    }
    struct saga_outcome outcome = broken(text);
    eval_end(call, &outcome);
}

static void on_refused(void *arg)
{
    struct saga_call *call = arg;
    struct saga_outcome outcome = broken(call->broken);
    eval_end(call, &outcome);
}

/* ---- start ---- */

static bool tag_is_good(const char *tag)
{
    size_t len = tag ? strlen(tag) : 0;
    return len > 2 && tag[0] == '{' && strchr(tag, '}') == tag + len - 1;
}

static const char *why_refused(const struct saga_call *call, const struct saga_eval *eval)
{
    if (call->saga->closing) {
        return "the participant is shutting down";
    }
    if (!call->saga->redis) {
        return "this participant has no Redis (saga_conf.redis)";
    }
    if (!eval->script->gated) {
        return "the script has no gate: make it with saga_script_new";
    }
    if (!tag_is_good(eval->tag)) {
        return "saga_eval.tag must be a hash tag like {prd:1}";
    }
    if (call->call->gid.len == 0) {
        return "a plain request has no barrier: use saga_redis_eval";
    }
    return call->barriers == BARRIERS_MAX ? "too many scripts in one call" : NULL;
}

struct numbers {
    char barrier_id[16];
    char started_ms[24];
};

/* KEYS[1…], then ARGV[1…], in one run of slices. */
static struct slice *fill(struct saga_call *call, const struct saga_eval *eval,
                          struct numbers *numbers)
{
    struct saga *saga = call->saga;
    const struct wire_call *c = call->call;
    snprintf(numbers->barrier_id, sizeof(numbers->barrier_id), "%02d", call->barriers);
    snprintf(numbers->started_ms, sizeof(numbers->started_ms), "%" PRId64,
             c->started_ms > 0 ? c->started_ms : 0);
    buf_clear(&saga->key);
    buf_add_str(&saga->key, eval->tag);
    buf_add_str(&saga->key, ":br:");
    buf_add_slice(&saga->key, c->gid);
    buf_add_str(&saga->key, ":");
    buf_add_slice(&saga->key, c->branch_id);

    struct slice *all = scratch_slices(saga, 1 + eval->key_count + GATE_ARGS + eval->arg_count);
    struct slice *at = all;
    *at++ = buf_slice(&saga->key);
    for (size_t i = 0; i < eval->key_count; i++) {
        *at++ = slice_of(eval->keys[i]);
    }
    const struct slice fixed[GATE_ARGS] = {c->trans_type,
                                           c->gid,
                                           c->branch_id,
                                           c->op,
                                           slice_str(numbers->barrier_id),
                                           slice_str(saga->ttl_text),
                                           slice_str(numbers->started_ms)};
    memcpy(at, fixed, sizeof(fixed));
    at += GATE_ARGS;
    for (size_t i = 0; i < eval->arg_count; i++) {
        *at++ = slice_of(eval->args[i]);
    }
    return all;
}

void saga_call_eval(struct saga_call *call, const struct saga_eval *eval)
{
    struct saga *saga = call->saga;
    check(call->request && !call->evaluating);
    call->evaluating = true;
    call->done = eval->done;
    call->done_arg = eval->arg;
    saga->pending++;
    call->broken = why_refused(call, eval);
    if (call->broken) {
        loop_defer(saga->loop, &call->task, on_refused, call);
        return;
    }
    struct numbers numbers;
    call->barriers++;
    call->script = eval->script->script;
    call->script.keys = (int)eval->key_count + 1;
    const struct slice *all = fill(call, eval, &numbers);
    struct redis_eval run = {.script = &call->script,
                             .keys = all,
                             .args = all + 1 + eval->key_count,
                             .arg_count = GATE_ARGS + eval->arg_count};
    int64_t deadline_ms = loop_now_ms(saga->loop) + saga->timeout_ms;
    redis_eval(saga->redis, deadline_ms < call->deadline_ms ? deadline_ms : call->deadline_ms, &run,
               on_reply, call);
}
