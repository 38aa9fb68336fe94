/*
 * The body of prepare and submit, until it is a checked transaction. One that is sent to topics may
 * have to wait (topic_lookup.h).
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

static void refuse(struct api_call *call)
{
    const struct topic_lookup *lookup = &call->lookup;
    if (lookup->err == ERR_NOT_FOUND) {
        api_reply_failure(call, "%s", lookup->why.text);
    } else {
        api_reply_error(call, lookup->err == ERR_LIMIT ? 400 : 503, "%s", lookup->why.text);
    }
}

static void topics_step(void *arg)
{
    struct api_call *call = arg;
    struct submit_request *request = call->submit;
    switch (topic_lookup_run(&call->lookup, &request->spec, &request->arena)) {
    case TOPIC_LOOKUP_DONE: request_go(call); return;
    case TOPIC_LOOKUP_ASKS: return;
    case TOPIC_LOOKUP_REFUSED: refuse(call); return;
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
    call->lookup = (struct topic_lookup){.topics = call->api->env.topics,
                                         .archive = call->api->env.archive,
                                         .again = topics_step,
                                         .arg = call};
    topics_step(call);
}
