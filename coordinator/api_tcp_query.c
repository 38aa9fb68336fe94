#include "coordinator/api_tcp_call.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert((int)WIRE_BRANCH_OPS_MAX == (int)TXN_BRANCHES_MAX * (int)TXN_BRANCH_OPS,
               "a query reply has room for every op");

/* What one op and one line of history take at most, without what is counted in all. */
enum {
    NOTE_MAX = 256, /* store.h */
    OP_BYTES = TXN_BRANCH_ID_MAX + TXN_BRANCH_OP_MAX + 64,
    HISTORY_BYTES = WIRE_HISTORY_MAX * (OP_BYTES + NOTE_MAX),
    HEAD_BYTES = 4 * TXN_GID_CHARS_MAX + TXN_REASON_MAX + 64 * 1024,
};
_Static_assert(TXN_PAYLOADS_MAX + TXN_PAYLOAD_MAX + WIRE_BRANCH_OPS_MAX * OP_BYTES + HISTORY_BYTES +
                       HEAD_BYTES <
                   API_TCP_FRAME_LEAST,
               "an answer about a workflow, with its result, or about registered branches fits");
_Static_assert(WIRE_BRANCH_OPS_MAX *(OP_BYTES + TXN_URL_MAX) + TXN_BRANCHES_MAX * TXN_RESULT_MAX +
                       HISTORY_BYTES + HEAD_BYTES <
                   API_TCP_FRAME_LEAST,
               "an answer about submitted branches, with what they answered, fits");

static enum wire_status wire_status_of_op(enum op_status status)
{
    switch (status) {
    case OP_PREPARED:
    case OP_STARTED: return WIRE_STATUS_PREPARED;
    case OP_SUCCEED: return WIRE_STATUS_SUCCEED;
    case OP_FAILED: return WIRE_STATUS_FAILED;
    }
    return WIRE_STATUS_UNSPECIFIED;
}

/* DTM's order: the way back first. Returns how many there are. */
static size_t list_ops(const struct txn *txn, struct wire_branch_op *ops)
{
    size_t count = 0;
    for (size_t i = 0; i < txn->branch_count * TXN_BRANCH_OPS; i++) {
        const struct txn_branch *branch = &txn->branches[i / TXN_BRANCH_OPS];
        enum txn_op op = (enum txn_op)(TXN_BRANCH_OPS - 1 - i % TXN_BRANCH_OPS);
        const char *name = txn_op_name(txn->type, op);
        /* a try that the client calls by itself: nothing is known of it */
        bool own = op == OP_ACTION && txn->type == TXN_TCC && !txn->options.declared;
        if (name && !own) {
            ops[count++] = (struct wire_branch_op){
                .branch_id = branch->id,
                .op = slice_str(name),
                .url = branch->ops[op].url,
                .status = wire_status_of_op(branch->ops[op].status),
                .result = op == OP_ACTION ? branch->result : (struct slice){0}};
        }
    }
    for (size_t i = 0; i < txn->progress_count && count < WIRE_BRANCH_OPS_MAX; i++) {
        const struct txn_progress *progress = &txn->progress[i];
        ops[count++] = (struct wire_branch_op){.branch_id = progress->id,
                                               .op = progress->op,
                                               .status = wire_status_of_op(progress->status),
                                               .result = progress->data};
    }
    return count;
}

static void reply_record(struct rpc_request *request, const struct archive_record *record,
                         size_t lines_max)
{
    const struct txn *txn = record->txn;
    size_t lines = record->line_count < lines_max ? record->line_count : lines_max;
    size_t skipped = record->line_count - lines; /* the oldest ones */
    struct wire_branch_op *ops =
        mem_zalloc((txn->branch_count * TXN_BRANCH_OPS + txn->progress_count + 1) * sizeof(*ops));
    size_t op_count = list_ops(txn, ops);
    struct wire_history_entry *history = mem_zalloc((lines + 1) * sizeof(*history));
    for (size_t i = 0; i < lines; i++) {
        const struct archive_line *line = &record->lines[skipped + i];
        history[i] = (struct wire_history_entry){line->time_ms, line->op, line->result,
                                                 line->duration_ms, line->note};
    }
    struct buf parked = {0};
    txn_add_parked(&parked, txn);
    struct wire_message reply = {.kind = WIRE_QUERY_REPLY,
                                 .query_reply = {.found = true,
                                                 .gid = txn->gid,
                                                 .trans_type = slice_str(txn_type_name(txn->type)),
                                                 .status = tcp_status_of(txn->status),
                                                 .rollback_reason = txn->rollback_reason,
                                                 .create_time_ms = txn->created_ms,
                                                 .update_time_ms = txn->updated_ms,
                                                 .branches = ops,
                                                 .branch_count = op_count,
                                                 .history = history,
                                                 .history_count = lines,
                                                 .result = txn->result,
                                                 .parked = buf_slice(&parked),
                                                 .parked_since_ms = txn->parked_ms}};
    rpc_request_reply(request, &reply);
    buf_fini(&parked);
    free(ops);
    free(history);
}

static void on_record(void *arg, const struct archive_record *record)
{
    struct rpc_request *request = arg;
    if (record->status == STORE_OK) {
        reply_record(request, record, WIRE_HISTORY_MAX);
    } else if (record->status == STORE_NOT_FOUND) {
        struct wire_message reply = {
            .kind = WIRE_QUERY_REPLY,
            .query_reply = {.gid = rpc_request_message(request)->query_gid}};
        rpc_request_reply(request, &reply);
    } else {
        tcp_fail(request, WIRE_ERROR_UNAVAILABLE, record->message);
    }
}

/* The client goes on from here: what was tried when is not its concern. */
static void on_workflow(void *arg, const struct archive_record *record)
{
    struct rpc_request *request = arg;
    char why[64];
    if (record->status != STORE_OK) {
        tcp_fail(request, WIRE_ERROR_UNAVAILABLE, record->message);
    } else if (record->txn->type != TXN_WORKFLOW) {
        snprintf(why, sizeof(why), "trans_type is '%s'", txn_type_name(record->txn->type));
        tcp_fail(request, WIRE_ERROR_CONFLICT, why);
    } else {
        reply_record(request, record, 0);
    }
}

void tcp_workflow_read(struct tcp_call *call)
{
    struct archive *archive = call->api->env.archive;
    struct rpc_request *request = call->request;
    free(call);
    archive->ops->read(archive, rpc_request_message(request)->workflow.gid, on_workflow, request);
}

void tcp_handle_query(struct api_tcp *api, struct rpc_request *request)
{
    struct slice gid = rpc_request_message(request)->query_gid;
    struct reason reason;
    if (txn_gid_check(gid, &reason)) {
        tcp_fail_invalid(request, &reason);
        return;
    }
    api->env.archive->ops->read(api->env.archive, gid, on_record, request);
}
