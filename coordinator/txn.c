#include "coordinator/txn.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {
    [TXN_SAGA] = "saga", [TXN_TCC] = "tcc",           [TXN_MSG] = "msg",
    [TXN_XA] = "xa",     [TXN_WORKFLOW] = "workflow",
};
static const char *const status_names[] = {
    [TXN_PREPARED] = "prepared", [TXN_SUBMITTED] = "submitted", [TXN_ABORTING] = "aborting",
    [TXN_SUCCEED] = "succeed",   [TXN_FAILED] = "failed",
};
static const char *const op_names[][TXN_BRANCH_OPS] = {
    [TXN_SAGA] = {[OP_ACTION] = "action", [OP_UNDO] = "compensate"},
    [TXN_TCC] = {[OP_ACTION] = "try", [OP_CONFIRM] = "confirm", [OP_UNDO] = "cancel"},
    [TXN_MSG] = {[OP_ACTION] = "action"},
    [TXN_XA] = {[OP_CONFIRM] = "commit", [OP_UNDO] = "rollback"},
    [TXN_WORKFLOW] = {NULL},
};
static const char *const op_status_names[] = {
    [OP_PREPARED] = "prepared",
    [OP_STARTED] = "started",
    [OP_SUCCEED] = "succeed",
    [OP_FAILED] = "failed",
};

static const char *const park_names[] = {
    [PARK_NOT] = NULL,
    [PARK_ATTEMPTS] = "attempts",
    [PARK_CONFLICT] = "conflict",
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static enum err name_parse(const char *const *names, size_t count, struct slice name, size_t *out)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i] && slice_eq_str(name, names[i])) {
            *out = i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

const char *txn_type_name(enum txn_type type)
{
    return type_names[type];
}

const char *txn_status_name(enum txn_status status)
{
    return status_names[status];
}

const char *txn_op_name(enum txn_type type, enum txn_op op)
{
    return op_names[type][op];
}

const char *op_status_name(enum op_status status)
{
    return op_status_names[status];
}

enum err txn_type_parse(struct slice name, enum txn_type *out)
{
    size_t i = 0;
    enum err err = name_parse(type_names, COUNT_OF(type_names), name, &i);
    *out = (enum txn_type)i;
    return err;
}

enum err txn_status_parse(struct slice name, enum txn_status *out)
{
    size_t i = 0;
    enum err err = name_parse(status_names, COUNT_OF(status_names), name, &i);
    *out = (enum txn_status)i;
    return err;
}

enum err txn_op_parse(enum txn_type type, struct slice name, enum txn_op *out)
{
    size_t i = 0;
    enum err err = name_parse(op_names[type], TXN_BRANCH_OPS, name, &i);
    *out = (enum txn_op)i;
    return err;
}

enum err op_status_parse(struct slice name, enum op_status *out)
{
    size_t i = 0;
    enum err err = name_parse(op_status_names, COUNT_OF(op_status_names), name, &i);
    *out = (enum op_status)i;
    return err;
}

const char *txn_park_name(enum txn_park park)
{
    return park_names[park];
}

enum err txn_park_parse(struct slice name, enum txn_park *out)
{
    size_t i = 0;
    enum err err = name_parse(park_names, COUNT_OF(park_names), name, &i);
    *out = (enum txn_park)i;
    return err;
}

bool txn_status_is_final(enum txn_status status)
{
    switch (status) {
    case TXN_PREPARED:
    case TXN_SUBMITTED:
    case TXN_ABORTING: return false;
    case TXN_SUCCEED:
    case TXN_FAILED: return true;
    }
    unreachable("transaction status");
}

/* "01", "02", … "100", as DTM numbers the steps of a saga. */
static struct slice branch_id(struct arena *arena, size_t index)
{
    size_t number = index + 1;
    size_t len = number < 100 ? 2 : 3;
    char *text = arena_alloc(arena, len + 1);
    for (size_t i = len; i > 0; i--) {
        text[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    return slice_make(text, len);
}

struct txn *txn_new_blank(struct slice gid, size_t branch_count)
{
    check(branch_count <= TXN_BRANCHES_MAX);
    struct txn *txn = mem_new(struct txn);
    txn->gid = arena_copy(&txn->arena, gid);
    txn->branches = arena_alloc(&txn->arena, (branch_count + 1) * sizeof(struct txn_branch));
    txn->branch_count = branch_count;
    for (size_t i = 0; i < branch_count; i++) {
        txn->branches[i].id = branch_id(&txn->arena, i);
    }
    txn_check_branch(txn)->id = slice_str("00");
    txn->run.inherited = true;
    txn->run.timeout_at_ms = INT64_MAX;
    return txn;
}

struct txn_branch *txn_check_branch(struct txn *txn)
{
    return &txn->branches[txn->branch_count];
}

struct slice txn_check_url(const struct txn *txn)
{
    return txn->branches[txn->branch_count].ops[OP_ACTION].url;
}

const char *txn_op_label(const struct txn *txn, const struct txn_branch *branch, enum txn_op op)
{
    if (branch == &txn->branches[txn->branch_count]) {
        return txn->type == TXN_MSG ? "msg" : "resume";
    }
    return op_names[txn->type][op];
}

void txn_add_parked(struct buf *text, const struct txn *txn)
{
    bool first = true;
    for (size_t i = 0; i < (txn->branch_count + 1) * TXN_BRANCH_OPS; i++) {
        const struct txn_branch *branch = &txn->branches[i / TXN_BRANCH_OPS];
        enum txn_op op = (enum txn_op)(i % TXN_BRANCH_OPS);
        if (branch->ops[op].parked) {
            buf_add_str(text, first ? txn_park_name(branch->ops[op].parked) : "");
            buf_add_str(text, first ? " " : ",");
            buf_add_slice(text, branch->id);
            buf_add_str(text, ".");
            buf_add_str(text, txn_op_label(txn, branch, op));
            first = false;
        }
    }
}

static struct txn_header *headers_copy(struct arena *arena, const struct txn_header *from,
                                       size_t count)
{
    struct txn_header *to = arena_alloc(arena, (count + 1) * sizeof(*to));
    for (size_t i = 0; i < count; i++) {
        to[i].name = arena_copy(arena, from[i].name);
        to[i].value = arena_copy(arena, from[i].value);
    }
    return to;
}

static void options_copy(struct arena *arena, struct txn_options *to,
                         const struct txn_options *from)
{
    *to = *from;
    to->headers = headers_copy(arena, from->headers, from->header_count);
}

static void branch_copy(struct arena *arena, struct txn_branch *to, const struct txn_step *from)
{
    to->payload = arena_copy(arena, from->payload);
    if (from->id.len > 0) {
        to->id = arena_copy(arena, from->id);
    }
    for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
        to->ops[op].url = arena_copy(arena, from->urls[op]);
    }
    to->request_timeout_ms = from->request_timeout_ms;
    to->retry_interval_ms = from->retry_interval_ms;
    to->headers = headers_copy(arena, from->headers, from->header_count);
    to->header_count = from->header_count;
    to->after = arena_alloc(arena, from->after_count + 1);
    to->after_count = from->after_count;
    if (from->after_count > 0) {
        memcpy(to->after, from->after, from->after_count);
    }
}

struct txn *txn_new(const struct txn_spec *spec)
{
    struct txn *txn = txn_new_blank(spec->gid, spec->step_count);
    enum err err = txn_type_parse(spec->trans_type, &txn->type);
    check(err == ERR_OK); /* the spec was checked */
    txn->status = spec->prepare || spec->options.declared ? TXN_PREPARED : TXN_SUBMITTED;
    txn->epoch = 1;
    txn->custom_data = arena_copy(&txn->arena, spec->custom_data);
    options_copy(&txn->arena, &txn->options, &spec->options);
    for (size_t i = 0; i < spec->step_count; i++) {
        branch_copy(&txn->arena, &txn->branches[i], &spec->steps[i]);
    }
    txn_check_branch(txn)->ops[OP_ACTION].url = arena_copy(&txn->arena, spec->query_prepared);
    txn_check_branch(txn)->payload = arena_copy(&txn->arena, spec->workflow_data);
    txn_set_workflow(txn, spec->workflow);
    txn->sure = true;
    txn->run.inherited = false;
    return txn;
}

void txn_free(struct txn *txn)
{
    if (txn) {
        arena_fini(&txn->arena);
        free(txn);
    }
}

void txn_set_workflow(struct txn *txn, struct slice name)
{
    if (name.len > 0) {
        char *copy = arena_alloc(&txn->arena, name.len + 1);
        memcpy(copy, name.ptr, name.len);
        txn->workflow = copy;
    }
}

void txn_set_reason(struct txn *txn, struct slice reason)
{
    size_t len = reason.len;
    if (len > TXN_REASON_MAX) {
        len = TXN_REASON_MAX;
        while (len > 0 && ((unsigned char)reason.ptr[len] & 0xC0) == 0x80) {
            len--;
        }
    }
    txn->rollback_reason = arena_copy(&txn->arena, slice_make(reason.ptr, len));
}
