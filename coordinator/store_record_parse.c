/* Reading a record back: whatever somebody did to it, a whole transaction or a clear reason. */
#include "base/check.h"
#include "base/mem.h"
#include "coordinator/store_record.h"

#include <stdlib.h>
#include <string.h>

static const struct slice header_prefix = SLICE_LIT("header:");
static const struct slice payload_word = SLICE_LIT("payload ");
static const struct slice after_word = SLICE_LIT("after");
static const struct slice query_word = SLICE_LIT("query");
static const struct slice seq_word = SLICE_LIT("seq");

/* "01" or "01.action"; false when it is the name of something else. */
static bool branch_name_is(struct slice name)
{
    return name.len > 0 && name.ptr[0] >= '0' && name.ptr[0] <= '9';
}

/* Cuts "01.action" into id and op; without a dot the op is empty. */
static struct slice name_cut(struct slice name, struct slice *op)
{
    const char *at = memchr(name.ptr, '.', name.len);
    size_t len = at ? (size_t)(at - name.ptr) : name.len;
    *op = at ? slice_make(at + 1, name.len - len - 1) : slice_str(NULL);
    return slice_make(name.ptr, len);
}

static enum err field_error(struct reason *reason, struct slice name, struct slice value,
                            const char *wanted)
{
    char shown_name[64], shown_value[64];
    return reason_set(reason, ERR_INVALID, "field %s is \"%s\", wanted %s",
                      slice_printable(name, shown_name, sizeof(shown_name)),
                      slice_printable(value, shown_value, sizeof(shown_value)), wanted);
}

/* Takes the text before the first space, and the space, from the front of `rest`. */
static struct slice word_take(struct slice *rest)
{
    const char *gap = rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
    struct slice word = slice_make(rest->ptr, gap ? (size_t)(gap - rest->ptr) : rest->len);
    size_t skip = gap ? word.len + 1 : word.len;
    *rest = slice_make(rest->ptr ? rest->ptr + skip : NULL, rest->len - skip);
    return word;
}

/* What a record is made of, found before the transaction is made. */
struct shape {
    enum txn_type type;
    size_t headers, progress, branches;
    struct part { /* one branch, in the order of the transaction */
        struct slice id, value;
        int64_t order;
    } parts[TXN_BRANCHES_MAX];
};

/* The number of "seq 3 …", which a registered branch has; else that of its id: 1 for "01-02". */
static int64_t part_order(struct slice id, struct slice value)
{
    int64_t number = 0;
    struct slice word = word_take(&value);
    if (slice_eq(word, seq_word) && slice_to_int64(word_take(&value), &number)) {
        return number;
    }
    size_t digits = 0;
    while (digits < id.len && id.ptr[digits] >= '0' && id.ptr[digits] <= '9') {
        digits++;
    }
    return slice_to_int64(slice_make(id.ptr, digits), &number) ? number : 0;
}

static int part_compare(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    if (x->order != y->order) {
        return x->order < y->order ? -1 : 1;
    }
    size_t len = x->id.len < y->id.len ? x->id.len : y->id.len;
    int order = memcmp(x->id.ptr, y->id.ptr, len);
    return order != 0 ? order : (x->id.len > y->id.len) - (x->id.len < y->id.len);
}

static enum err part_add(struct shape *shape, struct slice name, struct slice value,
                         struct reason *reason)
{
    if (txn_branch_id_check(name, NULL) != ERR_OK) {
        return field_error(reason, name, value, "a name like 01 or 01.action");
    }
    if (shape->branches == TXN_BRANCHES_MAX) {
        return reason_set(reason, ERR_INVALID, "more than %d branches", TXN_BRANCHES_MAX);
    }
    shape->parts[shape->branches++] =
        (struct part){.id = name, .value = value, .order = part_order(name, value)};
    return ERR_OK;
}

/* Steps are numbered without a gap: a record that somebody has cut is not taken for a shorter one.
 */
static enum err gaps_check(const struct shape *shape, struct reason *reason)
{
    int64_t last = 0;
    for (size_t i = 0; i < shape->branches; i++) {
        int64_t order = shape->parts[i].order;
        if (order > last + 1 || order < 1) {
            return reason_set(reason, ERR_INVALID, "field %02d is missing", (int)last + 1);
        }
        last = order;
    }
    return ERR_OK;
}

static enum err shape_parse(const struct slice *fields, size_t count, struct shape *shape,
                            struct reason *reason)
{
    enum err err = ERR_OK;
    shape->headers = shape->progress = shape->branches = 0;
    for (size_t i = 0; i < count && err == ERR_OK; i += 2) {
        struct slice op;
        if (slice_has_prefix(fields[i], header_prefix.ptr)) {
            shape->headers++;
        } else if (!branch_name_is(fields[i]) || slice_eq_str(fields[i], "00")) {
            continue;
        } else if (shape->type == TXN_WORKFLOW) {
            shape->progress++;
        } else if (name_cut(fields[i], &op).len == fields[i].len) {
            err = part_add(shape, fields[i], fields[i + 1], reason);
        }
    }
    if (err == ERR_OK && shape->headers > TXN_HEADERS_MAX) {
        err = reason_set(reason, ERR_INVALID, "%zu headers, at most %d are possible",
                         shape->headers, TXN_HEADERS_MAX);
    }
    if (err == ERR_OK) {
        qsort(shape->parts, shape->branches, sizeof(shape->parts[0]), part_compare);
        err = gaps_check(shape, reason);
    }
    return err;
}

static struct txn_branch *branch_find(struct txn *txn, struct slice id)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        if (slice_eq(txn->branches[i].id, id)) {
            return &txn->branches[i];
        }
    }
    return NULL;
}

/* "01,03": indices of the branches with these ids. */
static bool after_parse(struct txn *txn, struct txn_branch *branch, struct slice list)
{
    branch->after = arena_alloc(&txn->arena, txn->branch_count);
    while (list.len > 0 && branch->after_count < txn->branch_count) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.ptr) : list.len;
        const struct txn_branch *before = branch_find(txn, slice_make(list.ptr, len));
        if (!before) {
            return false;
        }
        branch->after[branch->after_count++] = (uint8_t)(before - txn->branches);
        size_t skip = comma ? len + 1 : len;
        list = slice_make(list.ptr + skip, list.len - skip);
    }
    return list.len == 0;
}

static bool branch_word_parse(struct txn *txn, struct txn_branch *branch, struct slice word,
                              struct slice value)
{
    enum txn_op op;
    if (slice_eq(word, seq_word)) {
        return slice_to_int64(value, &branch->seq);
    }
    if (slice_eq(word, after_word)) {
        return after_parse(txn, branch, value);
    }
    if (slice_eq_str(word, "timeout")) {
        return slice_to_int64(value, &branch->request_timeout_ms);
    }
    if (slice_eq_str(word, "interval")) {
        return slice_to_int64(value, &branch->retry_interval_ms);
    }
    if (slice_eq(word, query_word) && branch == txn_check_branch(txn)) {
        op = OP_ACTION;
    } else if (txn_op_parse(txn->type, word, &op) != ERR_OK) {
        return false;
    }
    branch->ops[op].url = arena_copy(&txn->arena, value);
    return value.len > 0;
}

static enum err branch_parse(struct txn *txn, struct txn_branch *branch, struct slice value,
                             struct reason *reason)
{
    struct slice rest = value;
    while (rest.len > 0) {
        if (slice_has_prefix(rest, payload_word.ptr)) {
            struct slice payload = {rest.ptr + payload_word.len, rest.len - payload_word.len};
            branch->payload = arena_copy(&txn->arena, payload);
            return ERR_OK;
        }
        struct slice word = word_take(&rest), url = word_take(&rest);
        if (!branch_word_parse(txn, branch, word, url)) {
            return field_error(reason, branch->id, value, "ops with their urls, and a payload");
        }
    }
    return ERR_OK;
}

static enum err branches_parse(struct txn *txn, const struct shape *shape, struct reason *reason)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < shape->branches; i++) {
        txn->branches[i].id = arena_copy(&txn->arena, shape->parts[i].id);
    }
    for (size_t i = 0; i < shape->branches && err == ERR_OK; i++) {
        err = branch_parse(txn, &txn->branches[i], shape->parts[i].value, reason);
    }
    return err;
}

/* Of a workflow: "succeed DATA". */
static enum err progress_parse(struct txn *txn, struct slice name, struct slice value,
                               struct reason *reason)
{
    struct txn_progress *progress = &txn->progress[txn->progress_count++];
    struct slice op, id = name_cut(name, &op), rest = value;
    if (op_status_parse(word_take(&rest), &progress->status) != ERR_OK) {
        return field_error(reason, name, value, "succeed or failed, and data");
    }
    progress->id = arena_copy(&txn->arena, id);
    progress->op = arena_copy(&txn->arena, op);
    progress->data = arena_copy(&txn->arena, rest);
    return ERR_OK;
}

static enum err branch_header_parse(struct txn *txn, struct txn_branch *branch, struct slice word,
                                    struct slice value, struct reason *reason)
{
    if (branch->header_count == TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_INVALID, "branch %.*s has more than %d headers",
                          SLICE_ARG(branch->id), TXN_HEADERS_MAX);
    }
    if (!branch->headers) {
        branch->headers = arena_alloc(&txn->arena, TXN_HEADERS_MAX * sizeof(*branch->headers));
    }
    struct slice name = {word.ptr + header_prefix.len, word.len - header_prefix.len};
    branch->headers[branch->header_count++] =
        (struct txn_header){arena_copy(&txn->arena, name), arena_copy(&txn->arena, value)};
    return ERR_OK;
}

static enum err branch_field_parse(struct txn *txn, struct slice name, struct slice value,
                                   struct reason *reason)
{
    struct slice word, id = name_cut(name, &word);
    enum txn_op op;
    if (slice_eq_str(name, "00")) {
        return branch_parse(txn, txn_check_branch(txn), value, reason);
    }
    if (txn->type == TXN_WORKFLOW) {
        return progress_parse(txn, name, value, reason);
    }
    if (id.len == name.len) {
        return ERR_OK; /* branches_parse has read it */
    }
    struct txn_branch *branch = branch_find(txn, id);
    if (branch && slice_eq_str(word, "result")) {
        branch->result = arena_copy(&txn->arena, value);
        return ERR_OK;
    }
    if (branch && slice_has_prefix(word, header_prefix.ptr)) {
        return branch_header_parse(txn, branch, word, value, reason);
    }
    if (!branch || txn_op_parse(txn->type, word, &op) != ERR_OK) {
        return field_error(reason, name, value, "the op of a branch");
    }
    if (op_status_parse(value, &branch->ops[op].status) != ERR_OK) {
        return field_error(reason, name, value, "prepared, started, succeed or failed");
    }
    return ERR_OK;
}

static enum err lease_parse(struct txn *txn, struct slice name, struct slice value,
                            struct reason *reason)
{
    struct slice owner = value, numbers = word_take(&owner);
    const char *at = memchr(numbers.ptr ? numbers.ptr : "", '.', numbers.len);
    size_t digits = at ? (size_t)(at - numbers.ptr) : 0;
    if (!at || !slice_to_int64(slice_make(numbers.ptr, digits), &txn->epoch) ||
        !slice_to_int64(slice_make(at + 1, numbers.len - digits - 1), &txn->revision) ||
        txn->epoch < 0 || txn->revision < 0) {
        return field_error(reason, name, value, "EPOCH.REVISION OWNER");
    }
    txn->released = owner.len == 0;
    return ERR_OK;
}

/* "02.confirm" */
static bool parked_op_parse(struct txn *txn, struct slice name, enum txn_park park)
{
    struct slice word, id = name_cut(name, &word);
    struct txn_branch *check = txn_check_branch(txn);
    struct txn_branch *branch = slice_eq(id, check->id) ? check : branch_find(txn, id);
    enum txn_op op = OP_ACTION;
    if (!branch || (branch != check && txn_op_parse(txn->type, word, &op) != ERR_OK)) {
        return false;
    }
    branch->ops[op].parked = park;
    return true;
}

/* "1795270397794 conflict 02.confirm,03.confirm" */
static enum err parked_parse(struct txn *txn, struct slice name, struct slice value,
                             struct reason *reason)
{
    struct slice rest = value, since = word_take(&rest), why = word_take(&rest);
    enum txn_park park;
    bool good = slice_to_int64(since, &txn->parked_ms) && txn->parked_ms > 0 &&
                txn_park_parse(why, &park) == ERR_OK && rest.len > 0;
    while (good && rest.len > 0) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        size_t len = comma ? (size_t)(comma - rest.ptr) : rest.len;
        size_t skip = comma ? len + 1 : len;
        good = parked_op_parse(txn, slice_make(rest.ptr, len), park);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
    }
    return good ? ERR_OK
                : field_error(reason, name, value,
                              "MS, attempts or conflict, and ops like 01.action");
}

/* The number that a field holds, or NULL when it is no number. */
static int64_t *number_of(struct txn *txn, struct slice name)
{
    const struct {
        const char *name;
        int64_t *at;
    } numbers[] = {
        {"created", &txn->created_ms},
        {"updated", &txn->updated_ms},
        {"finished", &txn->finished_ms},
        {"attempts", &txn->attempts},
        {"retries", &txn->retry_count},
        {"timeout_to_fail_ms", &txn->options.timeout_to_fail_ms},
        {"retry_interval_ms", &txn->options.retry_interval_ms},
        {"request_timeout_ms", &txn->options.request_timeout_ms},
        {"retry_limit", &txn->options.retry_limit},
        {"delay_ms", &txn->options.delay_ms},
        {"start_ms", &txn->start_ms},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (slice_eq_str(name, numbers[i].name)) {
            return numbers[i].at;
        }
    }
    return NULL;
}

static void other_keep(struct txn *txn, struct slice name, struct slice value)
{
    struct txn_field *field = arena_alloc(&txn->arena, sizeof(*field));
    *field = (struct txn_field){txn->others, arena_copy(&txn->arena, name),
                                arena_copy(&txn->arena, value)};
    txn->others = field;
}

static enum err word_field_parse(struct txn *txn, struct slice name, struct slice value,
                                 struct reason *reason)
{
    if (slice_eq_str(name, "status")) {
        return txn_status_parse(value, &txn->status) == ERR_OK
                   ? ERR_OK
                   : field_error(reason, name, value, "a status");
    }
    if (slice_eq_str(name, "type") || slice_eq_str(name, "history")) {
        return ERR_OK; /* required_check has read the one, the archive shows the other */
    }
    if (slice_eq_str(name, "parked")) {
        return parked_parse(txn, name, value, reason);
    }
    if (slice_eq_str(name, "lease")) {
        return lease_parse(txn, name, value, reason);
    }
    if (slice_eq_str(name, "doubt")) {
        txn->sure = false;
    } else if (slice_eq_str(name, "rollback_reason")) {
        txn_set_reason(txn, value);
    } else if (slice_eq_str(name, "custom_data")) {
        txn->custom_data = arena_copy(&txn->arena, value);
    } else if (slice_eq_str(name, "result")) {
        txn->result = arena_copy(&txn->arena, value);
    } else if (slice_eq_str(name, "workflow")) {
        txn_set_workflow(txn, value);
    } else if (slice_eq_str(name, "wait_result")) {
        txn->options.wait_result = slice_eq_str(value, "1");
    } else if (slice_eq_str(name, "concurrent")) {
        txn->options.concurrent = slice_eq_str(value, "1");
    } else if (slice_eq_str(name, "declared")) {
        txn->options.declared = slice_eq_str(value, "1");
    } else if (slice_eq_str(name, "keep_results")) {
        txn->options.keep_results = slice_eq_str(value, "1");
    } else if (slice_eq_str(name, "protocol")) {
        txn->options.json_rpc = slice_eq_str(value, "json-rpc");
    } else if (slice_has_prefix(name, header_prefix.ptr)) {
        struct slice bare = {name.ptr + header_prefix.len, name.len - header_prefix.len};
        struct txn_header *header = &txn->options.headers[txn->options.header_count++];
        header->name = arena_copy(&txn->arena, bare);
        header->value = arena_copy(&txn->arena, value);
    } else {
        other_keep(txn, name, value);
    }
    return ERR_OK;
}

static enum err field_parse(struct txn *txn, struct slice name, struct slice value,
                            struct reason *reason)
{
    if (branch_name_is(name)) {
        return branch_field_parse(txn, name, value, reason);
    }
    int64_t *number = number_of(txn, name);
    if (!number) {
        return word_field_parse(txn, name, value, reason);
    }
    if (!slice_to_int64(value, number) || *number < 0) {
        return field_error(reason, name, value, "a number from 0");
    }
    return ERR_OK;
}

static struct slice field_find(const struct slice *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i += 2) {
        if (slice_eq_str(fields[i], name)) {
            return fields[i + 1];
        }
    }
    return slice_str(NULL);
}

/* A later version may add fields, which are left alone. What this one would misunderstand has a
 * field `v` above 1: nothing is done with it. One that has ended can be looked at. */
static enum err version_check(const struct slice *fields, size_t count, struct reason *reason)
{
    enum txn_status status;
    struct slice version = field_find(fields, count, "v");
    bool ended = txn_status_parse(field_find(fields, count, "status"), &status) == ERR_OK &&
                 txn_status_is_final(status);
    if (version.len == 0 || slice_eq_str(version, "1") || ended) {
        return ERR_OK;
    }
    return field_error(reason, slice_str("v"), version, "1: a later sagad wrote it");
}

static enum err required_check(const struct slice *fields, size_t count, struct shape *shape,
                               struct reason *reason)
{
    static const char *const required[] = {"status", "lease", "created", "type"};
    size_t i = 0;
    for (size_t r = 0; r < sizeof(required) / sizeof(required[0]); r++) {
        i = 0;
        while (i < count && !slice_eq_str(fields[i], required[r])) {
            i += 2;
        }
        if (i >= count) {
            return reason_set(reason, ERR_INVALID, "field %s is missing", required[r]);
        }
    }
    /* It tells what the other fields mean. */
    return txn_type_parse(fields[i + 1], &shape->type) == ERR_OK
               ? ERR_OK
               : field_error(reason, fields[i], fields[i + 1], "a transaction type");
}

/* How often an op was tried before is stored once for all of them. */
static void attempts_spread(struct txn *txn)
{
    if (txn->attempts == 0 && txn->parked_ms > 0) {
        txn->attempts = 1; /* somebody has removed the field */
    }
    for (size_t i = 0; txn->attempts > 0 && i <= txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            txn->branches[i].ops[op].attempts = txn->attempts;
        }
    }
}

/* The field `updated` is written by updates alone, and not by the last one. */
static int64_t last_change_ms(const struct txn *txn)
{
    int64_t at = txn->updated_ms > txn->created_ms ? txn->updated_ms : txn->created_ms;
    return txn->finished_ms > at ? txn->finished_ms : at;
}

enum err record_parse(struct slice gid, const struct slice *fields, size_t count, struct txn **out,
                      struct reason *reason)
{
    struct shape shape;
    *out = NULL;
    if (count % 2 != 0) {
        return reason_set(reason, ERR_INVALID, "a field has no value");
    }
    enum err err = version_check(fields, count, reason);
    if (err == ERR_OK) {
        err = required_check(fields, count, &shape, reason);
    }
    if (err == ERR_OK) {
        err = shape_parse(fields, count, &shape, reason);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct txn *txn = txn_new_blank(gid, shape.branches);
    txn->type = shape.type;
    txn->progress = arena_alloc(&txn->arena, (shape.progress + 1) * sizeof(*txn->progress));
    txn->sure = true; /* until a field says otherwise */
    txn->options.header_count = 0;
    if (shape.headers > 0) {
        txn->options.headers =
            arena_alloc(&txn->arena, shape.headers * sizeof(*txn->options.headers));
    }
    err = branches_parse(txn, &shape, reason);
    for (size_t i = 0; i < count && err == ERR_OK; i += 2) {
        err = field_parse(txn, fields[i], fields[i + 1], reason);
    }
    if (err != ERR_OK) {
        txn_free(txn);
        return err;
    }
    attempts_spread(txn);
    txn->updated_ms = last_change_ms(txn);
    *out = txn;
    return ERR_OK;
}
