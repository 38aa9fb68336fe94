/* The submit and prepare of a transaction with its steps, and the topics of a msg. */
#include "coordinator/api_tcp_call.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

enum { WAIT_TIMEOUT_MS_MAX = 600 * 1000 };

_Static_assert((int)WIRE_STEPS_MAX <= (int)TXN_BRANCHES_MAX, "a decoded submit fits");
_Static_assert((int)WIRE_HEADERS_MAX <= (int)TXN_HEADERS_MAX, "a decoded submit fits");

static enum err wait_of(const struct wire_submit *submit, struct engine_wait *out,
                        struct reason *reason)
{
    *out = (struct engine_wait){.mode = ENGINE_WAIT_STORED, .wait_ms = submit->wait_timeout_ms};
    if (submit->wait_timeout_ms > WAIT_TIMEOUT_MS_MAX) {
        return reason_set(reason, ERR_INVALID, "wait_timeout_ms: %u is over %d",
                          submit->wait_timeout_ms, WAIT_TIMEOUT_MS_MAX);
    }
    if (submit->wait_timeout_ms > 0 && !submit->wait_result) {
        return reason_set(reason, ERR_INVALID,
                          "wait_timeout_ms: means nothing without wait_result");
    }
    if (submit->wait_result) {
        out->mode = submit->wait_timeout_ms > 0 ? ENGINE_WAIT_END : ENGINE_WAIT_SETTLE;
    }
    return ERR_OK;
}

/* Urls that this type does not have are refused, not dropped: somebody meant something. */
static enum err step_of(const struct wire_step *from, enum txn_type type, size_t index,
                        struct txn_step *out, struct reason *reason)
{
    const struct {
        const char *name;
        struct slice url;
        enum txn_op op;
        bool of_tcc;
    } urls[] = {{"action", from->action, OP_ACTION, false},
                {"compensate", from->compensate, OP_UNDO, false},
                {"try_url", from->try_url, OP_ACTION, true},
                {"confirm", from->confirm, OP_CONFIRM, true},
                {"cancel", from->cancel, OP_UNDO, true}};
    *out = (struct txn_step){.payload = from->payload,
                             .request_timeout_ms = from->request_timeout_ms,
                             .retry_interval_ms = from->retry_interval_ms,
                             .after = from->after,
                             .after_count = from->after_count};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        bool known = urls[i].of_tcc == (type == TXN_TCC) && txn_op_name(type, urls[i].op);
        if (known) {
            out->urls[urls[i].op] = urls[i].url;
        } else if (urls[i].url.len > 0) {
            return reason_set(reason, ERR_INVALID, "steps[%zu].%s: a %s has no such op", index,
                              urls[i].name, txn_type_name(type));
        }
    }
    return ERR_OK;
}

/* The members that only some types have. */
static enum err specials_check(const struct wire_submit *submit, enum txn_type type, bool prepare,
                               struct reason *reason)
{
    bool ordered = false;
    for (size_t i = 0; i < submit->step_count; i++) {
        ordered = ordered || submit->steps[i].after_count > 0;
    }
    if (type == TXN_WORKFLOW) {
        return reason_set(reason, ERR_INVALID,
                          "trans_type: must be saga, tcc, msg or xa; a workflow is begun with "
                          "`workflow` and ended with `finish`");
    }
    if (submit->concurrent && type != TXN_SAGA && type != TXN_MSG) {
        return reason_set(reason, ERR_INVALID, "concurrent: means nothing for a %s",
                          txn_type_name(type));
    }
    if (ordered && (type != TXN_SAGA || !submit->concurrent)) {
        return reason_set(reason, ERR_INVALID, "steps.after: only for a concurrent saga");
    }
    if (type != TXN_MSG && (submit->delay_ms > 0 || submit->query_prepared.len > 0)) {
        return reason_set(reason, ERR_INVALID, "%s: only for a msg",
                          submit->delay_ms > 0 ? "delay_ms" : "query_prepared");
    }
    if (prepare &&
        (submit->wait_result || type == TXN_SAGA || (type == TXN_TCC && submit->step_count > 0))) {
        return reason_set(reason, ERR_INVALID, "%s",
                          submit->wait_result ? "wait_result: means nothing for prepare"
                          : type == TXN_SAGA
                              ? "trans_type: a saga is not prepared; must be tcc, msg or xa"
                              : "steps: a tcc with declared tries is not prepared but submitted");
    }
    return ERR_OK;
}

/* Room for what the spec points to. */
struct parts {
    struct txn_step steps[WIRE_STEPS_MAX];
    struct txn_header headers[WIRE_HEADERS_MAX];
    struct txn_header *step_headers; /* of all steps, or NULL */
    struct arena arena;              /* of the branches that stand for topics */
};

void tcp_headers_of(const struct wire_header *from, size_t count, struct txn_header *to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (struct txn_header){from[i].name, from[i].value};
    }
}

/* Few steps have some of their own. */
static void step_headers_of(const struct wire_submit *submit, struct parts *parts)
{
    size_t count = 0;
    for (size_t i = 0; i < submit->step_count; i++) {
        count += submit->steps[i].header_count;
    }
    parts->step_headers = count > 0 ? mem_alloc(count * sizeof(struct txn_header)) : NULL;
    struct txn_header *at = parts->step_headers;
    for (size_t i = 0; i < submit->step_count; i++) {
        const struct wire_step *step = &submit->steps[i];
        tcp_headers_of(step->headers, step->header_count, at);
        parts->steps[i].headers = at;
        parts->steps[i].header_count = step->header_count;
        at = step->header_count > 0 ? at + step->header_count : at;
    }
}

/* Without the checks that all ways to submit share: topics come first. */
static enum err spec_of(const struct wire_submit *submit, bool prepare, struct parts *parts,
                        struct txn_spec *out, struct reason *reason)
{
    const struct wire_options *options = &submit->options;
    *out = (struct txn_spec){
        .prepare = prepare,
        .gid = submit->gid,
        .trans_type = submit->trans_type,
        .options = {.timeout_to_fail_ms = options->timeout_to_fail_ms,
                    .retry_interval_ms = options->retry_interval_ms,
                    .request_timeout_ms = options->request_timeout_ms,
                    .retry_limit = options->retry_limit,
                    .concurrent = submit->concurrent,
                    .keep_results = options->keep_results,
                    .delay_ms = submit->delay_ms,
                    .headers = parts->headers,
                    .header_count = options->header_count},
        .steps = parts->steps,
        .step_count = submit->step_count,
        .custom_data = submit->custom_data,
        .query_prepared = submit->query_prepared,
    };
    tcp_headers_of(options->headers, options->header_count, parts->headers);
    enum txn_type type;
    if (txn_type_parse(submit->trans_type, &type)) {
        out->step_count = 0;
        return txn_spec_check(out, reason); /* has the words for it */
    }
    out->options.declared = type == TXN_TCC && submit->step_count > 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < submit->step_count && err == ERR_OK; i++) {
        err = step_of(&submit->steps[i], type, i, &parts->steps[i], reason);
    }
    if (err == ERR_OK) {
        step_headers_of(submit, parts);
        err = specials_check(submit, type, prepare, reason);
    }
    return err;
}

static void spec_go(struct tcp_call *call, const struct txn_spec *spec, struct engine_wait wait)
{
    struct engine *engine = call->api->env.engine;
    if (spec->prepare) {
        engine_prepare(engine, spec, tcp_answer, call);
    } else {
        engine_submit(engine, spec, wait, tcp_answer, call);
    }
}

/* ---- from the request to the engine ---- */

static void submit_step(void *arg);

/* Puts the subscribers in place of topics. False: answered, or to be done later. */
static bool topics_place(struct tcp_call *call, struct parts *parts, struct txn_spec *spec)
{
    struct topic_lookup *lookup = &call->lookup;
    lookup->topics = call->api->env.topics;
    lookup->archive = call->api->env.archive;
    lookup->again = submit_step;
    lookup->arg = call;
    switch (topic_lookup_run(lookup, spec, &parts->arena)) {
    case TOPIC_LOOKUP_DONE: return true;
    case TOPIC_LOOKUP_ASKS: return false;
    case TOPIC_LOOKUP_REFUSED:
        tcp_fail(call->request, tcp_error_code(lookup->err), lookup->why.text);
        free(call);
        return false;
    }
    unreachable("state of a lookup");
}

static enum err submit_decode(const struct tcp_call *call, struct parts *parts,
                              struct txn_spec *spec, struct engine_wait *wait,
                              struct reason *reason)
{
    const struct wire_message *message = rpc_request_message(call->request);
    enum err err = wait_of(&message->submit, wait, reason);
    return err ? err
               : spec_of(&message->submit, message->kind == WIRE_PREPARE, parts, spec, reason);
}

static void submit_parts(struct tcp_call *call, struct parts *parts)
{
    struct txn_spec spec;
    struct engine_wait wait;
    struct reason reason;
    enum err err = submit_decode(call, parts, &spec, &wait, &reason);
    if (!err && topics_are_named(&spec) && !topics_place(call, parts, &spec)) {
        return;
    }
    if (!err) {
        err = txn_spec_check(&spec, &reason);
    }
    if (err) {
        tcp_fail_invalid(call->request, &reason);
        free(call);
    } else {
        spec_go(call, &spec, wait);
    }
}

static void submit_step(void *arg)
{
    struct parts parts;
    parts.step_headers = NULL;
    parts.arena = (struct arena){0};
    submit_parts(arg, &parts);
    free(parts.step_headers);
    arena_fini(&parts.arena);
}

void tcp_handle_submit(struct api_tcp *api, struct rpc_request *request)
{
    submit_step(tcp_call_new(api, request));
}
