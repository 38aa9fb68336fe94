/* Requests of clients: newGid, submit, abort, query. */
#include "coordinator/api_http_call.h"

#include "base/rng.h"
#include "coordinator/api_http_submit.h"
#include "coordinator/api_http_view.h"

void api_handle_version(struct api_call *call)
{
    struct buf body = {0};
    buf_printf(&body, "{\"version\":\"v%s\"}", call->api->version);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

void api_handle_new_gid(struct api_call *call)
{
    char gid[GID_TEXT_SIZE];
    struct buf body = {0};
    buf_printf(&body, "{\"dtm_result\":\"SUCCESS\",\"gid\":\"%s\"}", rng_gid(gid));
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

/* ---- submit ---- */

/* A client that waits is told the result of the transaction, new or known. */
static void reply_result(struct api_call *call, const struct engine_answer *answer)
{
    switch (answer->status) {
    case TXN_SUCCEED: api_reply_success(call, "succeed"); return;
    case TXN_FAILED: api_reply_failure(call, "%.*s", SLICE_ARG(answer->rollback_reason)); return;
    case TXN_PREPARED:
    case TXN_SUBMITTED:
    case TXN_ABORTING:
        api_reply_ongoing(call, "the transaction is '%s' and goes on; ask with query.",
                          txn_status_name(answer->status));
        return;
    }
}

/* A client that does not wait is told whether it is stored. What was turned round will never
 * succeed: that is no success, whoever came first. */
static void reply_stored(struct api_call *call, const struct engine_answer *answer)
{
    const char *status = txn_status_name(answer->status);
    switch (answer->status) {
    case TXN_PREPARED:
    case TXN_SUBMITTED:
    case TXN_SUCCEED: api_reply_success(call, status); return;
    case TXN_ABORTING:
    case TXN_FAILED: api_reply_failure(call, "current status '%s', cannot submit.", status); return;
    }
}

static void on_submitted(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err) {
        api_reply_engine_error(call, answer);
        return;
    }
    if (call->waits) {
        reply_result(call, answer);
    } else {
        reply_stored(call, answer);
    }
}

/* The end of a workflow, told by its client; told again it is fine. */
static void on_workflow_finished(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err == ERR_CONFLICT && txn_status_is_final(answer->status)) {
        api_reply_failure(call, "current status '%s', cannot submit.",
                          txn_status_name(answer->status));
    } else if (answer->err) {
        api_reply_engine_error(call, answer);
    } else {
        api_reply_success(call, txn_status_name(answer->status));
    }
}

static void submit_go(struct api_call *call, const struct submit_request *submit)
{
    struct engine *engine = call->api->env.engine;
    call->waits = submit->wait.mode != ENGINE_WAIT_STORED;
    call->type = submit->type;
    if (submit->type == TXN_WORKFLOW) {
        engine_finish(engine, call->gid, &submit->finish, on_workflow_finished, call);
    } else {
        engine_submit(engine, &submit->spec, submit->wait, on_submitted, call);
    }
}

void api_handle_submit(struct api_call *call)
{
    api_read_submit(call, false, submit_go);
}

/* ---- abort ---- */

static void on_aborted(void *arg, const struct engine_answer *answer)
{
    struct api_call *call = arg;
    if (answer->err == ERR_CONFLICT) {
        api_reply_failure(call, "trans type: '%s' current status '%s', cannot abort.",
                          txn_type_name(answer->type), txn_status_name(answer->status));
    } else if (answer->err) {
        api_reply_engine_error(call, answer);
    } else if (call->waits && answer->status == TXN_ABORTING) {
        api_reply_ongoing(call, "the transaction is 'aborting' and goes on; ask with query.");
    } else {
        api_reply_success(call, txn_status_name(answer->status));
    }
}

static enum err abort_decode(const struct json *body, struct api_call *call,
                             struct slice *rollback_reason, struct reason *reason)
{
    struct slice type_name = {0};
    enum err err = json_read_string(body, "trans_type", &type_name, reason);
    if (!err) {
        err = json_read_bool(body, "wait_result", &call->waits, reason);
    }
    if (!err && type_name.len > 0 && txn_type_parse(type_name, &call->type)) {
        char shown[64];
        return reason_set(reason, ERR_INVALID,
                          "field 'trans_type': '%s' is not supported; allowed: saga, tcc, msg, xa",
                          slice_printable(type_name, shown, sizeof(shown)));
    }
    return err ? err : json_read_string(body, "rollback_reason", rollback_reason, reason);
}

void api_handle_abort(struct api_call *call)
{
    struct json *body;
    if (!api_read_gid_body(call, &body)) {
        return;
    }
    struct reason reason;
    struct slice why = SLICE_LIT("aborted by request");
    if (abort_decode(body, call, &why, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else {
        engine_abort_wait(call->api->env.engine, call->gid, why,
                          call->waits ? ENGINE_WAIT_SETTLE : ENGINE_WAIT_STORED, on_aborted, call);
    }
    json_free(body);
}

/* ---- query ---- */

static void on_record(void *arg, const struct archive_record *record)
{
    struct api_call *call = arg;
    if (record->status != STORE_OK && record->status != STORE_NOT_FOUND) {
        api_reply_store_error(call, record->status, record->message);
        return;
    }
    struct buf body = {0};
    view_record(&body, record);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

void api_handle_query(struct api_call *call)
{
    struct reason reason;
    struct slice gid = slice_str(http_request_query(call->request, "gid"));
    if (txn_gid_check(gid, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
        return;
    }
    struct archive *archive = call->api->env.archive;
    archive->ops->read(archive, gid, on_record, call);
}
