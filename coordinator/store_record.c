#include "coordinator/store_record.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments ---- */

void scratch_begin(struct scratch *scratch, size_t text_bytes)
{
    buf_clear(&scratch->text);
    (void)buf_reserve(&scratch->text, text_bytes);
    scratch->argc = 0;
}

void scratch_fini(struct scratch *scratch)
{
    buf_fini(&scratch->text);
    free(scratch->argv);
    *scratch = (struct scratch){0};
}

void scratch_add(struct scratch *scratch, struct slice arg)
{
    if (scratch->argc == scratch->cap) {
        scratch->cap = scratch->cap ? 2 * scratch->cap : 64;
        scratch->argv = mem_resize(scratch->argv, scratch->cap * sizeof(*scratch->argv));
    }
    scratch->argv[scratch->argc++] = arg;
}

void scratch_add_str(struct scratch *scratch, const char *arg)
{
    scratch_add(scratch, slice_str(arg));
}

/* Ends an argument that was put together in `text` from `begin` on. */
static void scratch_add_made(struct scratch *scratch, size_t begin)
{
    scratch_add(scratch, slice_make(scratch->text.data + begin, scratch->text.len - begin));
}

void scratch_add_joined(struct scratch *scratch, struct slice a, struct slice b, struct slice c)
{
    size_t begin = scratch->text.len;
    check(scratch->text.cap - begin > a.len + b.len + c.len);
    buf_add_slice(&scratch->text, a);
    buf_add_slice(&scratch->text, b);
    buf_add_slice(&scratch->text, c);
    scratch_add_made(scratch, begin);
}

/* By hand: several numbers for each script of the hot path. */
static void add_digits(struct buf *text, int64_t value)
{
    char digits[SCRATCH_INT_BYTES];
    size_t at = sizeof(digits);
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    buf_add(text, digits + at, sizeof(digits) - at);
}

void scratch_add_int(struct scratch *scratch, int64_t value)
{
    size_t begin = scratch->text.len;
    check(scratch->text.cap - begin > SCRATCH_INT_BYTES);
    add_digits(&scratch->text, value);
    scratch_add_made(scratch, begin);
}

/* ---- writing ---- */

static const struct slice space = SLICE_LIT(" ");
static const struct slice dot = SLICE_LIT(".");
static const struct slice nothing = {NULL, 0};
static const struct slice header_prefix = SLICE_LIT("header:");
static const struct slice payload_word = SLICE_LIT("payload ");
static const struct slice after_word = SLICE_LIT("after");
static const struct slice result_word = SLICE_LIT("result");
static const struct slice query_word = SLICE_LIT("query");
static const struct slice seq_word = SLICE_LIT("seq ");

enum {
    OP_TEXT_BYTES = 32, /* " compensate ", "100.compensate" */
    LEASES_TEXT_BYTES = 2 * LEASE_BYTES_MAX,
    FIXED_TEXT_BYTES = 24 * SCRATCH_INT_BYTES + LEASES_TEXT_BYTES,
};

size_t record_text_bytes(const struct txn *txn)
{
    size_t bytes = FIXED_TEXT_BYTES;
    for (size_t i = 0; i < txn->options.header_count; i++) {
        bytes += header_prefix.len + txn->options.headers[i].name.len;
    }
    for (size_t i = 0; i <= txn->branch_count; i++) {
        const struct txn_branch *branch = &txn->branches[i];
        bytes += 4 * OP_TEXT_BYTES + branch->payload.len;
        bytes += TXN_BRANCH_OPS * (TXN_BRANCH_ID_MAX + OP_TEXT_BYTES); /* record_add_parked */
        bytes += (branch->after_count + 2) * (TXN_BRANCH_ID_MAX + 1);
        for (size_t h = 0; h < branch->header_count; h++) {
            bytes += TXN_BRANCH_ID_MAX + OP_TEXT_BYTES + branch->headers[h].name.len;
        }
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            bytes += TXN_BRANCH_ID_MAX + 2 * OP_TEXT_BYTES + branch->ops[op].url.len;
        }
    }
    for (size_t i = 0; i < txn->progress_count; i++) {
        const struct txn_progress *step = &txn->progress[i];
        bytes += step->id.len + step->op.len + OP_TEXT_BYTES + step->data.len;
    }
    return bytes;
}

void record_add_lease(struct scratch *scratch, int64_t epoch, int64_t revision, struct slice owner)
{
    size_t begin = scratch->text.len;
    check(scratch->text.cap - begin > LEASE_BYTES_MAX);
    add_digits(&scratch->text, epoch);
    buf_add_slice(&scratch->text, dot);
    add_digits(&scratch->text, revision);
    if (owner.len > 0) {
        buf_add_slice(&scratch->text, space);
        buf_add_slice(&scratch->text, owner);
    }
    scratch_add_made(scratch, begin);
}

/* Adds " WORD VALUE", without the space when it is the first. */
static void add_word(struct buf *text, size_t begin, struct slice word, struct slice value)
{
    if (text->len > begin) {
        buf_add_slice(text, space);
    }
    buf_add_slice(text, word);
    buf_add_slice(text, space);
    buf_add_slice(text, value);
}

static void add_word_number(struct buf *text, size_t begin, const char *word, int64_t value)
{
    if (value > 0) {
        add_word(text, begin, slice_str(word), slice_str(NULL));
        add_digits(text, value);
    }
}

static void add_payload(struct buf *text, size_t begin, struct slice payload)
{
    if (payload.len > 0) {
        buf_add_str(text, text->len > begin ? " " : "");
        buf_add_slice(text, payload_word);
        buf_add_slice(text, payload);
    }
}

/* "after 01,02": ids, because that is what a reader sees. */
static void add_after(struct buf *text, const struct txn *txn, const struct txn_branch *branch)
{
    for (size_t i = 0; i < branch->after_count; i++) {
        if (i == 0) {
            buf_add_slice(text, after_word);
        }
        buf_add_str(text, i == 0 ? " " : ",");
        buf_add_slice(text, txn->branches[branch->after[i]].id);
    }
}

/* As txn_register puts it in front. */
static void add_seq(struct buf *text, const struct txn_branch *branch)
{
    if (branch->seq > 0) {
        buf_add_slice(text, seq_word);
        add_digits(text, branch->seq);
        buf_add_slice(text, space);
    }
}

/* "seq 1 after 01,02 action URL compensate URL payload BYTES": what never changes. What is empty is
 * left out. */
static void add_branch(struct scratch *scratch, const struct txn *txn,
                       const struct txn_branch *branch)
{
    struct buf *text = &scratch->text;
    size_t whole = text->len;
    scratch_add(scratch, branch->id);
    add_seq(text, branch);
    size_t begin = text->len;
    add_after(text, txn, branch);
    add_word_number(text, begin, "timeout", branch->request_timeout_ms);
    add_word_number(text, begin, "interval", branch->retry_interval_ms);
    for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
        if (branch->ops[op].url.len > 0) {
            struct slice name = slice_str(txn_op_name(txn->type, (enum txn_op)op));
            add_word(text, begin, name, branch->ops[op].url);
        }
    }
    add_payload(text, begin, branch->payload);
    scratch_add_made(scratch, whole);
}

/* "query URL payload BYTES" */
static void add_check(struct scratch *scratch, const struct txn *txn)
{
    const struct txn_branch *check = &txn->branches[txn->branch_count];
    size_t begin = scratch->text.len;
    if (check->ops[OP_ACTION].url.len > 0 || check->payload.len > 0) {
        scratch_add(scratch, check->id);
        if (check->ops[OP_ACTION].url.len > 0) {
            add_word(&scratch->text, begin, query_word, check->ops[OP_ACTION].url);
        }
        add_payload(&scratch->text, begin, check->payload);
        scratch_add_made(scratch, begin);
    }
}

size_t record_branch_bytes(const struct store_branch *branch)
{
    size_t bytes = 2 * OP_TEXT_BYTES + branch->payload.len;
    for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
        bytes += OP_TEXT_BYTES + branch->urls[op].len;
    }
    return bytes;
}

/* "succeed DATA": what a workflow reports. */
static void add_report(struct buf *text, enum op_status status, struct slice data)
{
    buf_add_str(text, op_status_name(status));
    buf_add_slice(text, space);
    buf_add_slice(text, data);
}

void record_add_branch(struct scratch *scratch, const struct store_branch *branch)
{
    size_t begin = scratch->text.len;
    if (branch->op.len > 0) {
        add_report(&scratch->text, branch->status, branch->payload);
    } else {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (branch->urls[op].len > 0) {
                struct slice name = slice_str(txn_op_name(branch->type, (enum txn_op)op));
                add_word(&scratch->text, begin, name, branch->urls[op]);
            }
        }
        add_payload(&scratch->text, begin, branch->payload);
    }
    scratch_add_made(scratch, begin);
}

static void add_branch_headers(struct scratch *scratch, const struct txn_branch *branch)
{
    for (size_t i = 0; i < branch->header_count; i++) {
        size_t begin = scratch->text.len;
        buf_add_slice(&scratch->text, branch->id);
        buf_add_slice(&scratch->text, dot);
        buf_add_slice(&scratch->text, header_prefix);
        buf_add_slice(&scratch->text, branch->headers[i].name);
        scratch_add_made(scratch, begin);
        scratch_add(scratch, branch->headers[i].value);
    }
}

/* What the action of a branch answered, if that is kept. */
static void add_result(struct scratch *scratch, const struct txn_branch *branch)
{
    if (branch->result.len > 0) {
        scratch_add_joined(scratch, branch->id, dot, result_word);
        scratch_add(scratch, branch->result);
    }
}

static void add_op_status(struct scratch *scratch, const struct txn *txn,
                          const struct txn_branch *branch, enum txn_op op)
{
    scratch_add_joined(scratch, branch->id, dot, slice_str(txn_op_name(txn->type, op)));
    scratch_add_str(scratch, op_status_name(branch->ops[op].status));
}

static void add_number(struct scratch *scratch, const char *name, int64_t value)
{
    if (value != 0) {
        scratch_add_str(scratch, name);
        scratch_add_int(scratch, value);
    }
}

static void add_text(struct scratch *scratch, const char *name, struct slice value)
{
    if (value.len > 0) {
        scratch_add_str(scratch, name);
        scratch_add(scratch, value);
    }
}

static void add_options(struct scratch *scratch, const struct txn_options *options)
{
    add_number(scratch, "timeout_to_fail_ms", options->timeout_to_fail_ms);
    add_number(scratch, "retry_interval_ms", options->retry_interval_ms);
    add_number(scratch, "request_timeout_ms", options->request_timeout_ms);
    add_number(scratch, "retry_limit", options->retry_limit);
    add_number(scratch, "wait_result", options->wait_result);
    add_number(scratch, "concurrent", options->concurrent);
    add_number(scratch, "declared", options->declared);
    add_number(scratch, "keep_results", options->keep_results);
    add_number(scratch, "delay_ms", options->delay_ms);
    add_text(scratch, "protocol", slice_str(options->json_rpc ? "json-rpc" : NULL));
    for (size_t i = 0; i < options->header_count; i++) {
        scratch_add_joined(scratch, header_prefix, options->headers[i].name, nothing);
        scratch_add(scratch, options->headers[i].value);
    }
}

static void add_progress(struct scratch *scratch, const struct txn_progress *step)
{
    scratch_add_joined(scratch, step->id, dot, step->op);
    size_t begin = scratch->text.len;
    add_report(&scratch->text, step->status, step->data);
    scratch_add_made(scratch, begin);
}

void record_add_all(struct scratch *scratch, const struct txn *txn)
{
    add_options(scratch, &txn->options);
    add_number(scratch, "attempts", txn->attempts);
    add_number(scratch, "retries", txn->retry_count);
    add_number(scratch, "start_ms", txn->start_ms);
    add_number(scratch, "doubt", !txn->sure);
    add_text(scratch, "rollback_reason", txn->rollback_reason);
    add_text(scratch, "result", txn->result);
    add_text(scratch, "custom_data", txn->custom_data);
    add_text(scratch, "workflow", slice_str(txn->workflow));
    add_check(scratch, txn);
    for (size_t i = 0; i < txn->branch_count; i++) {
        add_branch(scratch, txn, &txn->branches[i]);
        add_branch_headers(scratch, &txn->branches[i]);
        add_result(scratch, &txn->branches[i]);
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (txn->branches[i].ops[op].status != OP_PREPARED) {
                add_op_status(scratch, txn, &txn->branches[i], (enum txn_op)op);
            }
        }
    }
    for (size_t i = 0; i < txn->progress_count; i++) {
        add_progress(scratch, &txn->progress[i]);
    }
    for (const struct txn_field *field = txn->others; field; field = field->next) {
        scratch_add(scratch, field->name);
        scratch_add(scratch, field->value);
    }
}

void record_add_parked(struct scratch *scratch, const struct txn *txn)
{
    size_t begin = scratch->text.len;
    txn_add_parked(&scratch->text, txn);
    scratch_add_made(scratch, begin);
}

void record_add_changes(struct scratch *scratch, const struct txn *txn, size_t *sets)
{
    size_t begin = scratch->argc;
    bool final = txn_status_is_final(txn->status);
    int64_t attempts = final ? 0 : txn->attempts; /* nobody asks for them any more */
    int64_t retries = final ? 0 : txn->retry_count;
    add_number(scratch, "attempts", attempts);
    add_number(scratch, "retries", retries);
    add_text(scratch, "rollback_reason", txn->rollback_reason);
    add_text(scratch, "result", txn->result);
    if (txn->options.delay_ms > 0) {
        add_number(scratch, "delay_ms", txn->options.delay_ms);
        add_number(scratch, "start_ms", txn->start_ms);
    }
    for (size_t i = 0; i < txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (txn->branches[i].ops[op].dirty) {
                add_op_status(scratch, txn, &txn->branches[i], (enum txn_op)op);
            }
        }
        if (txn->branches[i].ops[OP_ACTION].dirty) {
            add_result(scratch, &txn->branches[i]);
        }
    }
    *sets = (scratch->argc - begin) / 2;
    /* What was only created has neither: a short saga spares Redis a command. */
    bool may_have = txn->epoch > 1 || txn->revision > 1;
    if (attempts == 0 && may_have) {
        scratch_add_str(scratch, "attempts");
    }
    if (retries == 0 && may_have) {
        scratch_add_str(scratch, "retries");
    }
}
