/* What a client does before its submit: prepare, registerBranch, prepareWorkflow. */
#include "coordinator/api_http_call.h"

#include "coordinator/api_http_submit.h"
#include "coordinator/api_http_view.h"

/* ---- prepare ---- */

static void on_prepared(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err == ERR_CONFLICT && answer->status != TXN_PREPARED) {
        api_reply_failure(call, "current status '%s', cannot prepare.",
                          txn_status_name(answer->status));
    } else if (answer->err) {
        api_reply_engine_error(call, answer);
    } else {
        api_reply_success(call, NULL);
    }
}

static void prepare_go(struct api_call *call, const struct submit_request *prepare)
{
    engine_prepare(call->api->env.engine, &prepare->spec, on_prepared, call);
}

void api_handle_prepare(struct api_call *call)
{
    api_read_submit(call, true, prepare_go);
}

/* ---- prepareWorkflow ---- */

static void on_workflow_record(void *arg, const struct archive_record *record)
{
    struct api_call *call = arg;
    if (record->status != STORE_OK) {
        api_reply_store_error(call, record->status, record->message);
        return;
    }
    if (record->txn->type != TXN_WORKFLOW) {
        api_reply_failure(call, "trans_type is '%s'", txn_type_name(record->txn->type));
        return;
    }
    struct buf body = {0};
    view_workflow(&body, record->txn);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

/* New or known, in whatever state: the client is told all that it needs to go on. */
static void on_workflow_prepared(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err && answer->err != ERR_CONFLICT) {
        api_reply_engine_error(call, answer);
        return;
    }
    struct archive *archive = call->api->env.archive;
    archive->ops->read(archive, call->gid, on_workflow_record, call);
}

static void prepare_workflow_go(struct api_call *call, const struct submit_request *prepare)
{
    if (prepare->type == TXN_WORKFLOW) {
        engine_prepare(call->api->env.engine, &prepare->spec, on_workflow_prepared, call);
    } else {
        api_reply_error(call, 400, "field 'trans_type': must be workflow");
    }
}

void api_handle_prepare_workflow(struct api_call *call)
{
    api_read_submit(call, true, prepare_workflow_go);
}

/* ---- registerBranch ---- */

static void on_registered(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err == ERR_CONFLICT) {
        api_reply_failure(call, "%s", answer->message);
    } else if (answer->err == ERR_NOT_FOUND) {
        api_reply_failure(call, "no trans with gid: %.*s status: prepared found",
                          SLICE_ARG(call->gid));
    } else if (answer->err) {
        api_reply_engine_error(call, answer);
    } else {
        api_reply_success(call, NULL);
    }
}

/* The urls of the ops that a branch of this type has; DTM's xa gives one for both. */
static enum err branch_urls_decode(const struct json *body, struct store_branch *branch,
                                   struct reason *reason)
{
    enum err err = ERR_OK;
    for (size_t op = OP_CONFIRM; op < TXN_BRANCH_OPS && !err; op++) {
        const char *field =
            branch->type == TXN_XA ? "url" : txn_op_name(branch->type, (enum txn_op)op);
        struct slice *url = &branch->urls[op];
        err = json_read_string(body, field, url, reason);
        if (!err) {
            err = txn_url_check(*url, field, reason);
        }
    }
    return err;
}

/* What a workflow tells of a step that it has done itself. */
static enum err branch_report_decode(const struct json *body, struct store_branch *branch,
                                     struct reason *reason)
{
    struct slice status = {0};
    enum err err = json_read_string(body, "op", &branch->op, reason);
    if (!err) {
        err = json_read_string(body, "status", &status, reason);
    }
    if (!err && txn_branch_op_check(branch->op)) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'op': must be 1 to 32 letters, digits, '-' or '_'");
    }
    if (!err && (op_status_parse(status, &branch->status) || branch->status < OP_SUCCEED)) {
        err = reason_set(reason, ERR_INVALID, "field 'status': must be succeed or failed");
    }
    return err;
}

static enum err branch_decode(const struct json *body, struct store_branch *branch,
                              struct reason *reason)
{
    struct slice type = {0};
    enum err err = json_read_string(body, "trans_type", &type, reason);
    if (!err) {
        err = json_read_string(body, "branch_id", &branch->id, reason);
    }
    if (!err) {
        err = json_read_string(body, "data", &branch->payload, reason);
    }
    if (!err) {
        err = txn_branch_id_check(branch->id, reason);
    }
    if (!err && (txn_type_parse(type, &branch->type) || branch->type == TXN_SAGA ||
                 branch->type == TXN_MSG)) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'trans_type': must be tcc, xa or workflow; others have steps");
    }
    if (!err && branch->payload.len > TXN_PAYLOAD_MAX) {
        err = reason_set(reason, ERR_LIMIT, "field 'data': has %zu bytes; at most %d",
                         branch->payload.len, TXN_PAYLOAD_MAX);
    }
    if (err) {
        return err;
    }
    return branch->type == TXN_WORKFLOW ? branch_report_decode(body, branch, reason)
                                        : branch_urls_decode(body, branch, reason);
}

void api_handle_register(struct api_call *call)
{
    struct json *body;
    if (!api_read_gid_body(call, &body)) {
        return;
    }
    struct reason reason;
    struct store_branch branch = {0};
    if (branch_decode(body, &branch, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else {
        engine_register(call->api->env.engine, call->gid, &branch, on_registered, call);
    }
    json_free(body);
}
