/* Scripts under the barrier of a branch: what lua/barrier/gate.lua and msg_check.lua want, and what
 * they answer. */
#include "base/fault.h"
#include "base/log.h"
#include "saga_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const struct redis_script script_msg_check;

enum {
    GATE_ARGS = 7, /* in front of the body's */
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

static void on_reply(void *arg, const struct redis_result *result)
{
    struct gate_run *run = arg;
    struct redis_result lost = {.err = ERR_CLOSED};
    if (FAULT("participant.after_script")) {
        lost.message = "fault point";
        result = &lost;
    }
    if (result->err == ERR_OK) {
        struct saga_outcome outcome = outcome_of(result->value);
        run->ended(run->owner, &outcome);
        return;
    }
    char text[TEXT_MAX];
    snprintf(text, sizeof(text), "redis: %s%s%s", err_text(result->err),
             result->message[0] ? ": " : "", result->message);
    if (result->err == ERR_SCRIPT || result->err == ERR_DENIED) {
        gate_log(run->branch, "script failed", slice_str(text)); /* repeating will hardly help */
    }
    struct saga_outcome outcome = broken(text);
    run->ended(run->owner, &outcome);
}

static void on_refused(void *arg)
{
    struct gate_run *run = arg;
    struct saga_outcome outcome = broken(run->refused);
    run->ended(run->owner, &outcome);
}

/* ---- start ---- */

static const char *tag_wrong(const char *tag)
{
    size_t len = tag ? strlen(tag) : 0;
    bool good = len > 2 && tag[0] == '{' && strchr(tag, '}') == tag + len - 1;
    return good ? NULL : "the tag must be a hash tag like {prd:1}";
}

/* False: refused, the callback comes later. */
static bool run_begins(struct gate_run *run, const char *wrong)
{
    run->refused = run->saga->closing  ? "the participant is shutting down"
                   : !run->saga->redis ? "this participant has no Redis (saga_conf.redis)"
                                       : wrong;
    if (run->refused) {
        loop_defer(run->saga->loop, &run->task, on_refused, run);
    }
    return !run->refused;
}

static struct slice barrier_key(struct saga *saga, const char *tag, const struct wire_call *branch)
{
    buf_clear(&saga->key);
    buf_add_str(&saga->key, tag);
    buf_add_str(&saga->key, ":br:");
    buf_add_slice(&saga->key, branch->gid);
    buf_add_str(&saga->key, ":");
    buf_add_slice(&saga->key, branch->branch_id);
    return buf_slice(&saga->key);
}

struct numbers {
    char barrier_id[16];
    char started_ms[24];
};

static void numbers_set(struct numbers *numbers, const struct gate_run *run)
{
    int64_t started_ms = run->branch->started_ms;
    snprintf(numbers->barrier_id, sizeof(numbers->barrier_id), "%02d", run->barrier);
    snprintf(numbers->started_ms, sizeof(numbers->started_ms), "%" PRId64,
             started_ms > 0 ? started_ms : 0);
}

/* KEYS[1…], then ARGV[1…], in one run of slices. */
static struct slice *fill(struct gate_run *run, const struct saga_eval *eval,
                          const struct numbers *numbers)
{
    struct saga *saga = run->saga;
    const struct wire_call *branch = run->branch;
    struct slice *all = scratch_slices(saga, 1 + eval->key_count + GATE_ARGS + eval->arg_count);
    struct slice *at = all;
    *at++ = barrier_key(saga, eval->tag, branch);
    for (size_t i = 0; i < eval->key_count; i++) {
        *at++ = slice_of(eval->keys[i]);
    }
    const struct slice fixed[GATE_ARGS] = {branch->trans_type,
                                           branch->gid,
                                           branch->branch_id,
                                           branch->op,
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

static void run_send(struct gate_run *run, const struct slice *all, size_t arg_count,
                     int64_t deadline_ms)
{
    struct redis_eval eval = {
        .script = &run->script,
        .keys = all,
        .args = all + run->script.keys,
        .arg_count = arg_count,
        .is_durable = true,
    };
    int64_t latest_ms = loop_now_ms(run->saga->loop) + run->saga->timeout_ms;
    redis_eval(run->saga->redis, deadline_ms < latest_ms ? deadline_ms : latest_ms, &eval, on_reply,
               run);
}

void gate_start(struct gate_run *run, const struct saga_eval *eval, const char *wrong,
                int64_t deadline_ms)
{
    wrong = wrong                  ? wrong
            : !eval->script->gated ? "the script has no gate: make it with saga_script_new"
                                   : tag_wrong(eval->tag);
    wrong = FAULT("participant.before_script") ? "fault point" : wrong;
    if (!run_begins(run, wrong)) {
        return;
    }
    struct numbers numbers;
    numbers_set(&numbers, run);
    run->script = eval->script->script;
    run->script.keys = (int)eval->key_count + 1;
    run_send(run, fill(run, eval, &numbers), GATE_ARGS + eval->arg_count, deadline_ms);
}

void gate_check_start(struct gate_run *run, const char *tag, const char *wrong, int64_t deadline_ms)
{
    if (!run_begins(run, wrong ? wrong : tag_wrong(tag))) {
        return;
    }
    struct numbers numbers;
    numbers_set(&numbers, run);
    run->script = script_msg_check;
    struct slice *all = scratch_slices(run->saga, 3);
    all[0] = barrier_key(run->saga, tag, run->branch);
    all[1] = slice_str(run->saga->ttl_text);
    all[2] = slice_str(numbers.started_ms);
    run_send(run, all, 2, deadline_ms);
}

/* ---- log ---- */

void gate_log(const struct wire_call *branch, const char *what, struct slice why)
{
    char gid[TEXT_MAX], id[TEXT_MAX], op[64], text[TEXT_MAX];
    log_error("saga", "msg=\"%s\" gid=\"%s\" branch=\"%s\" op=\"%s\" why=\"%s\"", what,
              log_text(branch->gid, gid, sizeof(gid)), log_text(branch->branch_id, id, sizeof(id)),
              log_text(branch->op, op, sizeof(op)), log_text(why, text, sizeof(text)));
}
