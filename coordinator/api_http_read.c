/*
 * The body of prepare and submit, until it is a checked transaction. One that is sent to topics may
 * have to wait until these were read; one whose topics are gone may be known already, with the
 * branches that it got when it was prepared.
 */
#include "coordinator/api_http_call.h"

#include "base/mem.h"
#include "coordinator/api_http_submit.h"

#include <stdlib.h>

static void request_go(struct api_call *call)
{
    struct submit_request *request = call->submit;
    struct reason reason;
    call->submit = NULL;
    if (txn_spec_check(&request->spec, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else {
        call->go(call, request);
    }
    submit_request_fini(request);
    free(request);
}

static void refuse(struct api_call *call, enum err err)
{
    if (err == ERR_NOT_FOUND) {
        api_reply_failure(call, "%s", call->why.text);
    } else {
        api_reply_error(call, err == ERR_LIMIT ? 400 : 503, "%s", call->why.text);
    }
}

/* ---- a topic that is not there, or has grown too large ---- */

static void steps_take(struct submit_request *request, const struct txn *txn)
{
    struct arena *arena = &request->arena;
    struct txn_step *steps = arena_alloc(arena, (txn->branch_count + 1) * sizeof(*steps));
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct txn_branch *branch = &txn->branches[i];
        steps[i].id = arena_copy(arena, branch->id);
        steps[i].urls[OP_ACTION] = arena_copy(arena, branch->ops[OP_ACTION].url);
        steps[i].payload = arena_copy(arena, branch->payload);
    }
    request->spec.steps = steps;
    request->spec.step_count = txn->branch_count;
}

static void on_known(void *arg, const struct archive_record *record)
{
    struct api_call *call = arg;
    if (record->status == STORE_OK && record->txn->type == TXN_MSG) {
        steps_take(call->submit, record->txn);
        request_go(call);
    } else if (record->status == STORE_OK || record->status == STORE_NOT_FOUND) {
        refuse(call, call->why_err);
    } else {
        api_reply_store_error(call, record->status, record->message);
    }
}

/* ---- topics ---- */

static void topics_step(struct api_call *call);

static void on_refreshed(void *arg, enum err err, const char *message)
{
    struct api_call *call = arg;
    call->fresh = true;
    if (err) {
        api_reply_error(call, 503, "the topics cannot be read: %s", message);
    } else {
        topics_step(call);
    }
}

static void topics_step(struct api_call *call)
{
    struct api_env *env = &call->api->env;
    struct submit_request *request = call->submit;
    const struct topic_book *book = topics_book(env->topics);
    enum err err = book ? topics_expand(book, &request->spec, &request->arena, &call->why)
                        : reason_set(&call->why, ERR_UNAVAILABLE, "the topics cannot be read");
    if (!err) {
        request_go(call);
    } else if ((err == ERR_NOT_FOUND || err == ERR_UNAVAILABLE) && !call->fresh) {
        /* Another coordinator may have heard of the topic a moment ago. */
        topics_refresh(env->topics, on_refreshed, call);
    } else if (err == ERR_UNAVAILABLE) {
        refuse(call, err);
    } else {
        call->why_err = err;
        env->archive->ops->read(env->archive, call->gid, on_known, call);
    }
}

void api_read_submit(struct api_call *call, bool prepare,
                     void (*go)(struct api_call *call, const struct submit_request *request))
{
    struct submit_request request = {0};
    struct reason reason;
    struct json *body = NULL;
    enum err err = api_take_body(call, &body, &reason);
    if (!err) {
        err = submit_request_read(body, prepare, &request, &reason);
    }
    if (err) {
        submit_request_fini(&request);
        api_reply_error(call, 400, "%s", reason.text);
        return;
    }
    api_call_keep_gid(call, request.spec.gid);
    if (!topics_are_named(&request.spec)) {
        go(call, &request);
        submit_request_fini(&request);
        return;
    }
    call->go = go;
    call->submit = mem_new(struct submit_request);
    *call->submit = request;
    if (call->api->env.topics) {
        topics_step(call);
    } else {
        api_reply_error(call, 503, "there are no topics here");
    }
}
