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
    for (size_t i = 0; i < txn->branch_count; i++) {
        bytes += OP_TEXT_BYTES + txn->branches[i].payload.len;
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            bytes += 2 * OP_TEXT_BYTES + txn->branches[i].ops[op].url.len;
        }
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

/* "action URL compensate URL payload BYTES": what never changes. What is empty is left out. */
static void add_branch(struct scratch *scratch, const struct txn_branch *branch)
{
    struct buf *text = &scratch->text;
    size_t begin = text->len;
    scratch_add(scratch, branch->id);
    for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
        if (branch->ops[op].url.len > 0) {
            buf_add_str(text, text->len > begin ? " " : "");
            buf_add_str(text, txn_op_name((enum txn_op)op));
            buf_add_slice(text, space);
            buf_add_slice(text, branch->ops[op].url);
        }
    }
    if (branch->payload.len > 0) {
        buf_add_str(text, text->len > begin ? " " : "");
        buf_add_slice(text, payload_word);
        buf_add_slice(text, branch->payload);
    }
    scratch_add_made(scratch, begin);
}

static void add_op_status(struct scratch *scratch, const struct txn_branch *branch, enum txn_op op)
{
    scratch_add_joined(scratch, branch->id, dot, slice_str(txn_op_name(op)));
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
    for (size_t i = 0; i < options->header_count; i++) {
        scratch_add_joined(scratch, header_prefix, options->headers[i].name, nothing);
        scratch_add(scratch, options->headers[i].value);
    }
}

void record_add_all(struct scratch *scratch, const struct txn *txn)
{
    add_options(scratch, &txn->options);
    add_number(scratch, "attempts", txn->attempts);
    add_number(scratch, "retries", txn->retry_count);
    add_number(scratch, "doubt", !txn->sure);
    add_text(scratch, "rollback_reason", txn->rollback_reason);
    add_text(scratch, "custom_data", txn->custom_data);
    for (size_t i = 0; i < txn->branch_count; i++) {
        add_branch(scratch, &txn->branches[i]);
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (txn->branches[i].ops[op].status != OP_PREPARED) {
                add_op_status(scratch, &txn->branches[i], (enum txn_op)op);
            }
        }
    }
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
    for (size_t i = 0; i < txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            if (txn->branches[i].ops[op].dirty) {
                add_op_status(scratch, &txn->branches[i], (enum txn_op)op);
            }
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

/* ---- reading ---- */

/* "01" or "01.action". */
struct branch_name {
    size_t index; /* 0 … TXN_BRANCHES_MAX - 1 */
    bool has_op;  /* the status of `op`; else the branch itself */
    enum txn_op op;
};

/* False when it is the name of something else. */
static bool branch_name_is(struct slice name)
{
    return name.len > 0 && name.ptr[0] >= '0' && name.ptr[0] <= '9';
}

static bool branch_name_parse(struct slice name, struct branch_name *out)
{
    const char *at = memchr(name.ptr, '.', name.len);
    size_t digits = at ? (size_t)(at - name.ptr) : name.len;
    int64_t number;
    if (digits < 2 || digits > 3 || !slice_to_int64(slice_make(name.ptr, digits), &number) ||
        number < 1 || number > TXN_BRANCHES_MAX || (digits == 3) != (number >= 100)) {
        return false;
    }
    *out = (struct branch_name){.index = (size_t)number - 1, .has_op = at != NULL};
    return !at || txn_op_parse(slice_make(at + 1, name.len - digits - 1), &out->op) == ERR_OK;
}

static enum err field_error(struct reason *reason, struct slice name, struct slice value,
                            const char *wanted)
{
    char shown_name[64], shown_value[64];
    return reason_set(reason, ERR_INVALID, "field %s is \"%s\", wanted %s",
                      slice_printable(name, shown_name, sizeof(shown_name)),
                      slice_printable(value, shown_value, sizeof(shown_value)), wanted);
}

struct shape {
    size_t branches, headers;
};

/* How many branches and headers there are, and that no branch is missing. */
static enum err shape_parse(const struct slice *fields, size_t count, struct shape *shape,
                            struct reason *reason)
{
    bool seen[TXN_BRANCHES_MAX] = {false};
    *shape = (struct shape){0};
    for (size_t i = 0; i < count; i += 2) {
        struct branch_name name;
        if (slice_has_prefix(fields[i], header_prefix.ptr)) {
            shape->headers++;
        } else if (branch_name_is(fields[i])) {
            if (!branch_name_parse(fields[i], &name)) {
                return field_error(reason, fields[i], fields[i + 1], "a name like 01 or 01.action");
            }
            seen[name.index] |= !name.has_op;
            shape->branches = name.index >= shape->branches ? name.index + 1 : shape->branches;
        }
    }
    for (size_t i = 0; i < shape->branches; i++) {
        if (!seen[i]) {
            return reason_set(reason, ERR_INVALID, "field %02zu is missing", i + 1);
        }
    }
    if (shape->headers > TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_INVALID, "%zu headers, at most %d are possible",
                          shape->headers, TXN_HEADERS_MAX);
    }
    return ERR_OK;
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

static enum err branch_parse(struct txn *txn, struct txn_branch *branch, struct slice name,
                             struct slice value, struct reason *reason)
{
    struct slice rest = value;
    while (rest.len > 0) {
        enum txn_op op;
        if (slice_has_prefix(rest, payload_word.ptr)) {
            struct slice payload = {rest.ptr + payload_word.len, rest.len - payload_word.len};
            branch->payload = arena_copy(&txn->arena, payload);
            return ERR_OK;
        }
        struct slice word = word_take(&rest), url = word_take(&rest);
        if (txn_op_parse(word, &op) != ERR_OK || url.len == 0) {
            return field_error(reason, name, value, "ops with their urls, and a payload");
        }
        branch->ops[op].url = arena_copy(&txn->arena, url);
    }
    return ERR_OK;
}

static enum err branch_field_parse(struct txn *txn, struct slice name, struct slice value,
                                   struct reason *reason)
{
    struct branch_name at;
    bool good = branch_name_parse(name, &at);
    check(good && at.index < txn->branch_count); /* shape_parse has seen it */
    struct txn_branch *branch = &txn->branches[at.index];
    if (!at.has_op) {
        return branch_parse(txn, branch, name, value, reason);
    }
    if (op_status_parse(value, &branch->ops[at.op].status) != ERR_OK) {
        return field_error(reason, name, value, "prepared, succeed or failed");
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
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (slice_eq_str(name, numbers[i].name)) {
            return numbers[i].at;
        }
    }
    return NULL;
}

static enum err word_field_parse(struct txn *txn, struct slice name, struct slice value,
                                 struct reason *reason)
{
    if (slice_eq_str(name, "type") && txn_type_parse(value, &txn->type) != ERR_OK) {
        return field_error(reason, name, value, "a transaction type");
    }
    if (slice_eq_str(name, "status") && txn_status_parse(value, &txn->status) != ERR_OK) {
        return field_error(reason, name, value, "a status");
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
    } else if (slice_eq_str(name, "wait_result")) {
        txn->options.wait_result = slice_eq_str(value, "1");
    } else if (slice_has_prefix(name, header_prefix.ptr)) {
        struct slice bare = {name.ptr + header_prefix.len, name.len - header_prefix.len};
        struct txn_header *header = &txn->options.headers[txn->options.header_count++];
        header->name = arena_copy(&txn->arena, bare);
        header->value = arena_copy(&txn->arena, value);
    }
    return ERR_OK; /* others belong to the operator, or to a newer version */
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

static enum err required_check(const struct slice *fields, size_t count, struct reason *reason)
{
    static const char *const required[] = {"type", "status", "lease", "created"};
    for (size_t r = 0; r < sizeof(required) / sizeof(required[0]); r++) {
        size_t i = 0;
        while (i < count && !slice_eq_str(fields[i], required[r])) {
            i += 2;
        }
        if (i >= count) {
            return reason_set(reason, ERR_INVALID, "field %s is missing", required[r]);
        }
    }
    return ERR_OK;
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
    enum err err = required_check(fields, count, reason);
    if (err == ERR_OK) {
        err = shape_parse(fields, count, &shape, reason);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct txn *txn = txn_new_blank(gid, shape.branches);
    txn->sure = true; /* until a field says otherwise */
    txn->options.header_count = 0;
    if (shape.headers > 0) {
        txn->options.headers =
            arena_alloc(&txn->arena, shape.headers * sizeof(*txn->options.headers));
    }
    for (size_t i = 0; i < count && err == ERR_OK; i += 2) {
        err = field_parse(txn, fields[i], fields[i + 1], reason);
    }
    if (err != ERR_OK) {
        txn_free(txn);
        return err;
    }
    txn->updated_ms = last_change_ms(txn);
    *out = txn;
    return ERR_OK;
}
