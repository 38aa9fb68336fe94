#include "coordinator/api_http_view.h"

#include "base/clock.h"
#include "coordinator/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MS_PER_S = 1000 };

static void put_time(struct json_writer *w, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    json_put_text(w, name, clock_format(wall_ms, text));
}

static void put_seconds(struct json_writer *w, const char *name, int64_t ms)
{
    if (ms > 0) {
        json_put_int(w, name, (ms + MS_PER_S - 1) / MS_PER_S);
    }
}

static void put_options(struct json_writer *w, const struct txn_options *options)
{
    if (options->wait_result) {
        json_put_bool(w, "wait_result", true);
    }
    put_seconds(w, "timeout_to_fail", options->timeout_to_fail_ms);
    put_seconds(w, "request_timeout", options->request_timeout_ms);
    put_seconds(w, "retry_interval", options->retry_interval_ms);
    if (options->retry_limit > 0) {
        json_put_int(w, "retry_limit", options->retry_limit);
    }
    if (options->header_count > 0) {
        json_open_object(w, "branch_headers");
        for (size_t i = 0; i < options->header_count; i++) {
            char *name = slice_dup(options->headers[i].name);
            json_put_string(w, name, options->headers[i].value);
            free(name);
        }
        json_close_object(w);
    }
    json_put_bool(w, "concurrent", options->concurrent);
}

/* DTM shows the options a second time, as JSON in a string. */
static void put_options_text(struct json_writer *w, const struct txn_options *options)
{
    struct buf text = {0};
    struct json_writer inner;
    json_writer_init(&inner, &text);
    json_open_object(&inner, NULL);
    put_options(&inner, options);
    json_close_object(&inner);
    json_put_string(w, "options", buf_slice(&text));
    buf_fini(&text);
}

/* Since when and why, and the ops that wait. */
static void put_parked(struct json_writer *w, const struct txn *txn)
{
    const char *why = NULL;
    json_open_object(w, "parked");
    put_time(w, "since", txn->parked_ms);
    json_open_array(w, "ops");
    for (size_t i = 0; i < (txn->branch_count + 1) * TXN_BRANCH_OPS; i++) {
        const struct txn_branch *branch = &txn->branches[i / TXN_BRANCH_OPS];
        enum txn_op op = (enum txn_op)(i % TXN_BRANCH_OPS);
        if (branch->ops[op].parked) {
            char name[TXN_BRANCH_ID_MAX + TXN_BRANCH_OP_MAX];
            int len = snprintf(name, sizeof(name), "%.*s.%s", SLICE_ARG(branch->id),
                               txn_op_label(txn, branch, op));
            json_put_string(w, NULL, slice_make(name, (size_t)len));
            why = why ? why : txn_park_name(branch->ops[op].parked);
        }
    }
    json_close_array(w);
    json_put_text(w, "reason", why);
    json_close_object(w);
}

static void put_transaction(struct json_writer *w, const char *name, const struct txn *txn)
{
    json_open_object(w, name);
    json_put_int(w, "id", 0);
    put_time(w, "create_time", txn->created_ms);
    put_time(w, "update_time", txn->updated_ms);
    json_put_string(w, "gid", txn->gid);
    json_put_text(w, "trans_type", txn_type_name(txn->type));
    json_put_text(w, "status", txn_status_name(txn->status));
    json_put_text(w, "protocol", txn->options.json_rpc ? "json-rpc" : "http");
    if (txn->finished_ms > 0) {
        put_time(w, txn->status == TXN_FAILED ? "rollback_time" : "finish_time", txn->finished_ms);
    }
    if (txn->rollback_reason.len > 0) {
        json_put_string(w, "rollback_reason", txn->rollback_reason);
    }
    if (txn->parked_ms > 0) {
        put_parked(w, txn);
    }
    if (txn->custom_data.len > 0) {
        json_put_string(w, "custom_data", txn->custom_data);
    }
    if (txn->result.len > 0) {
        struct buf result = {0};
        buf_add_base64(&result, txn->result);
        json_put_string(w, "result", buf_slice(&result));
        buf_fini(&result);
    }
    if (txn->workflow) {
        json_put_text(w, "workflow", txn->workflow);
    }
    if (txn_check_url(txn).len > 0) {
        json_put_string(w, "query_prepared", txn_check_url(txn));
    }
    put_options_text(w, &txn->options);
    put_options(w, &txn->options);
    if (txn->retry_count > 0) {
        json_put_int(w, "retry_count", txn->retry_count);
    }
    json_close_object(w);
}

/* When the op got its last result, by the history; 0 when it is not known. */
static int64_t op_end_ms(const struct archive_record *record, const struct txn_branch *branch,
                         enum txn_op op)
{
    const char *op_name = txn_op_name(record->txn->type, op);
    int64_t at = 0;
    for (size_t i = 0; i < record->line_count; i++) {
        struct slice name = record->lines[i].op;
        if (name.len == branch->id.len + 1 + strlen(op_name) &&
            memcmp(name.ptr, branch->id.ptr, branch->id.len) == 0 &&
            name.ptr[branch->id.len] == '.' &&
            memcmp(name.ptr + branch->id.len + 1, op_name, strlen(op_name)) == 0) {
            at = record->lines[i].time_ms;
        }
    }
    return at;
}

static void put_branch(struct json_writer *w, const struct archive_record *record,
                       const struct txn_branch *branch, enum txn_op op)
{
    const struct txn_op_record *state = &branch->ops[op];
    int64_t end_ms = op_end_ms(record, branch, op);
    struct buf payload = {0};
    buf_add_base64(&payload, branch->payload);
    json_open_object(w, NULL);
    json_put_int(w, "id", 0);
    put_time(w, "create_time", record->txn->created_ms);
    put_time(w, "update_time", end_ms > 0 ? end_ms : record->txn->created_ms);
    json_put_string(w, "gid", record->txn->gid);
    json_put_string(w, "url", state->url);
    json_put_string(w, "bin_data", buf_slice(&payload));
    json_put_string(w, "branch_id", branch->id);
    json_put_text(w, "op", txn_op_name(record->txn->type, op));
    if (op == OP_ACTION && branch->result.len > 0) {
        struct buf result = {0};
        buf_add_base64(&result, branch->result);
        json_put_string(w, "result", buf_slice(&result));
        buf_fini(&result);
    }
    /* SDKs know three; one that was started may have been done or not. */
    bool open = state->status == OP_PREPARED || state->status == OP_STARTED;
    json_put_text(w, "status", op_status_name(open ? OP_PREPARED : state->status));
    if (!open && end_ms > 0) {
        put_time(w, "finish_time", end_ms);
    }
    json_close_object(w);
    buf_fini(&payload);
}

/* In DTM's order: the way back first. */
static void put_ops(struct json_writer *w, const struct archive_record *record,
                    const struct txn_branch *branch)
{
    static const enum txn_op order[] = {OP_UNDO, OP_CONFIRM, OP_ACTION};
    const struct txn *txn = record->txn;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        bool own = order[i] == OP_ACTION && txn->type == TXN_TCC && !txn->options.declared;
        if (!own && txn_op_name(txn->type, order[i])) {
            put_branch(w, record, branch, order[i]);
        }
    }
}

static void put_progress(struct json_writer *w, const struct txn_progress *progress)
{
    struct buf data = {0};
    buf_add_base64(&data, progress->data);
    json_open_object(w, NULL);
    json_put_string(w, "branch_id", progress->id);
    json_put_string(w, "op", progress->op);
    json_put_text(w, "status", op_status_name(progress->status));
    json_put_string(w, "bin_data", buf_slice(&data));
    json_close_object(w);
    buf_fini(&data);
}

static void put_progresses(struct json_writer *w, const char *name, const struct txn *txn)
{
    json_open_array(w, name);
    for (size_t i = 0; i < txn->progress_count; i++) {
        put_progress(w, &txn->progress[i]);
    }
    json_close_array(w);
}

void view_workflow(struct buf *out, const struct txn *txn)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    put_transaction(&w, "transaction", txn);
    put_progresses(&w, "progresses", txn);
    json_close_object(&w);
}

static void put_line(struct json_writer *w, const struct archive_line *line)
{
    json_open_object(w, NULL);
    put_time(w, "time", line->time_ms);
    json_put_string(w, "op", line->op);
    json_put_string(w, "result", line->result);
    json_put_int(w, "duration_ms", line->duration_ms);
    json_put_string(w, "note", line->note);
    json_close_object(w);
}

/* Where an operator finds it in Redis; `history` is the one of these keys that holds it. */
static void put_keys(struct json_writer *w, const struct archive_record *record)
{
    struct slice gid = record->txn->gid;
    struct buf tx = {0}, log = {0}, due = {0}, recent = {0}, parked = {0};
    keys_add_tx(&tx, record->partition, gid);
    keys_add_log(&log, record->partition, gid);
    keys_add_due(&due, record->partition);
    keys_add_recent(&recent, record->partition);
    keys_add_parked(&parked, record->partition);
    json_open_object(w, "keys");
    json_put_string(w, "tx", buf_slice(&tx));
    json_put_string(w, "log", buf_slice(&log));
    json_put_string(w, "due", buf_slice(&due));
    json_put_string(w, "recent", buf_slice(&recent));
    json_put_string(w, "parked", buf_slice(&parked));
    json_put_string(w, "history", buf_slice(record->history_short ? &tx : &log));
    json_close_object(w);
    buf_fini(&tx);
    buf_fini(&log);
    buf_fini(&due);
    buf_fini(&recent);
    buf_fini(&parked);
}

void view_record(struct buf *out, const struct archive_record *record)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    if (record->txn) {
        put_transaction(&w, "transaction", record->txn);
    } else {
        json_put_null(&w, "transaction");
    }
    if (record->txn && record->txn->type == TXN_WORKFLOW) {
        put_progresses(&w, "branches", record->txn);
    } else {
        json_open_array(&w, "branches");
        for (size_t i = 0; record->txn && i < record->txn->branch_count; i++) {
            put_ops(&w, record, &record->txn->branches[i]);
        }
        json_close_array(&w);
    }
    json_open_array(&w, "history");
    for (size_t i = 0; i < record->line_count; i++) {
        put_line(&w, &record->lines[i]);
    }
    json_close_array(&w);
    if (record->txn) {
        put_keys(&w, record);
    }
    json_close_object(&w);
}

void view_page(struct buf *out, const struct archive_page *page)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    json_open_array(&w, "transactions");
    for (size_t i = 0; i < page->count; i++) {
        put_transaction(&w, NULL, page->txns[i]);
    }
    json_close_array(&w);
    json_put_string(&w, "next_position", page->next_position);
    json_close_object(&w);
}
