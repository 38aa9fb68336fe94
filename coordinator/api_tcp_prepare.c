/* What a client tells of a transaction that is prepared: its branches; of a workflow its begin, its
 * steps and its end. */
#include "coordinator/api_tcp_call.h"

/* Clients look before they do what they could not report. */
_Static_assert((int)WIRE_BRANCH_ID_MAX == (int)TXN_BRANCH_ID_MAX &&
                   (int)WIRE_OP_MAX == (int)TXN_BRANCH_OP_MAX &&
                   (int)WIRE_STEPS_MAX == (int)TXN_BRANCHES_MAX &&
                   (int)WIRE_SECOND_PHASE_MAX == (int)TXN_SECOND_PHASE_MAX &&
                   (int)WIRE_PAYLOAD_MAX == (int)TXN_PAYLOAD_MAX &&
                   (int)WIRE_PAYLOADS_MAX == (int)TXN_PAYLOADS_MAX,
               "what a client may report is kept");
_Static_assert((int)WIRE_STEPS_MAX + (int)WIRE_SECOND_PHASE_MAX <= (int)WIRE_BRANCH_OPS_MAX,
               "an answer tells of every report");

/* ---- register_branch ---- */

static enum err branch_urls_of(const struct wire_register *from, struct store_branch *out,
                               struct reason *reason)
{
    if (from->op.len > 0 || from->status != WIRE_STATUS_UNSPECIFIED) {
        return reason_set(reason, ERR_INVALID, "%s: only of a workflow; a %s is called later",
                          from->op.len > 0 ? "op" : "status", txn_type_name(out->type));
    }
    out->urls[OP_CONFIRM] = from->confirm;
    out->urls[OP_UNDO] = from->cancel;
    enum err err = txn_url_check(from->confirm, "confirm", reason);
    return err ? err : txn_url_check(from->cancel, "cancel", reason);
}

static enum err ended_of(enum wire_status status, struct reason *reason)
{
    return status == WIRE_STATUS_SUCCEED || status == WIRE_STATUS_FAILED
               ? ERR_OK
               : reason_set(reason, ERR_INVALID, "status: must be succeed or failed");
}

/* A step that a workflow has done itself. */
static enum err branch_report_of(const struct wire_register *from, struct store_branch *out,
                                 struct reason *reason)
{
    if (from->confirm.len > 0 || from->cancel.len > 0) {
        return reason_set(reason, ERR_INVALID, "%s: a workflow calls its branches itself",
                          from->confirm.len > 0 ? "confirm" : "cancel");
    }
    if (txn_branch_op_check(from->op)) {
        return reason_set(reason, ERR_INVALID,
                          "op: must be 1 to %d letters, digits, '-' or '_' of a workflow",
                          TXN_BRANCH_OP_MAX);
    }
    out->op = from->op;
    out->status = from->status == WIRE_STATUS_SUCCEED ? OP_SUCCEED : OP_FAILED;
    return ended_of(from->status, reason);
}

static enum err branch_of(const struct wire_register *from, struct store_branch *out,
                          struct reason *reason)
{
    *out = (struct store_branch){.id = from->branch_id, .payload = from->payload};
    enum err err = txn_gid_check(from->gid, reason);
    if (err) {
        return err;
    }
    if (txn_type_parse(from->trans_type, &out->type) || out->type == TXN_SAGA ||
        out->type == TXN_MSG) {
        return reason_set(reason, ERR_INVALID,
                          "trans_type: must be tcc, xa or workflow; others have steps");
    }
    if (from->payload.len > TXN_PAYLOAD_MAX) {
        return reason_set(reason, ERR_INVALID, "payload: has %zu bytes; at most %d",
                          from->payload.len, TXN_PAYLOAD_MAX);
    }
    err = txn_branch_id_check(from->branch_id, reason);
    if (err) {
        return err;
    }
    return out->type == TXN_WORKFLOW ? branch_report_of(from, out, reason)
                                     : branch_urls_of(from, out, reason);
}

void tcp_handle_register(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_register *from = &rpc_request_message(request)->register_branch;
    struct store_branch branch;
    struct reason reason;
    if (branch_of(from, &branch, &reason)) {
        tcp_fail_invalid(request, &reason);
        return;
    }
    engine_register(api->env.engine, from->gid, &branch, tcp_answer, tcp_call_new(api, request));
}

/* ---- workflow ---- */

/* New or known, in whatever state: the client is told all that it needs to go on. */
static void on_workflow_prepared(void *arg, const struct engine_answer *answer)
{
    struct tcp_call *call = arg;
    if (answer->err && answer->err != ERR_CONFLICT) {
        tcp_answer(call, answer);
        return;
    }
    tcp_workflow_read(call);
}

static enum err workflow_of(const struct wire_workflow *from, struct txn_header *headers,
                            struct txn_spec *out, struct reason *reason)
{
    const struct wire_options *options = &from->options;
    *out = (struct txn_spec){.prepare = true,
                             .gid = from->gid,
                             .trans_type = slice_str(txn_type_name(TXN_WORKFLOW)),
                             .options = {.retry_interval_ms = options->retry_interval_ms,
                                         .request_timeout_ms = options->request_timeout_ms,
                                         .headers = headers,
                                         .header_count = options->header_count},
                             .query_prepared = from->resume,
                             .workflow = from->name,
                             .workflow_data = from->data};
    tcp_headers_of(options->headers, options->header_count, headers);
    if (options->timeout_to_fail_ms > 0 || options->retry_limit > 0 || options->keep_results) {
        return reason_set(reason, ERR_INVALID, "options.%s: means nothing for a workflow",
                          options->timeout_to_fail_ms > 0 ? "timeout_to_fail_ms"
                          : options->retry_limit > 0      ? "retry_limit"
                                                          : "keep_results");
    }
    enum err err = txn_gid_check(from->gid, reason);
    if (!err) {
        err = txn_url_check(from->resume, "resume", reason);
    }
    return err ? err : txn_spec_check(out, reason);
}

void tcp_handle_workflow(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_workflow *from = &rpc_request_message(request)->workflow;
    struct txn_header headers[WIRE_HEADERS_MAX];
    struct txn_spec spec;
    struct reason reason;
    if (workflow_of(from, headers, &spec, &reason)) {
        tcp_fail_invalid(request, &reason);
        return;
    }
    engine_prepare(api->env.engine, &spec, on_workflow_prepared, tcp_call_new(api, request));
}

/* ---- finish ---- */

static enum err finish_of(const struct wire_finish *from, struct engine_finish *out,
                          struct reason *reason)
{
    *out = (struct engine_finish){.status = from->status == WIRE_STATUS_SUCCEED ? TXN_SUCCEED
                                                                                : TXN_FAILED,
                                  .reason = from->reason,
                                  .result = from->result};
    enum err err = txn_gid_check(from->gid, reason);
    if (!err) {
        err = ended_of(from->status, reason);
    }
    if (!err && from->reason.len > 0 && out->status == TXN_SUCCEED) {
        err = reason_set(reason, ERR_INVALID, "reason: what has succeeded needs none");
    }
    if (!err && from->result.len > TXN_PAYLOAD_MAX) {
        err = reason_set(reason, ERR_INVALID, "result: has %zu bytes; at most %d", from->result.len,
                         TXN_PAYLOAD_MAX);
    }
    return err;
}

void tcp_handle_finish(struct api_tcp *api, struct rpc_request *request)
{
    const struct wire_finish *from = &rpc_request_message(request)->finish;
    struct engine_finish finish;
    struct reason reason;
    if (finish_of(from, &finish, &reason)) {
        tcp_fail_invalid(request, &reason);
        return;
    }
    engine_finish(api->env.engine, from->gid, &finish, tcp_answer, tcp_call_new(api, request));
}
