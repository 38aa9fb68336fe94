#include "coordinator/payload.h"

#include <stdio.h>
#include <string.h>

static const struct slice mark_begin = SLICE_LIT("${");
static const struct slice mark_end = SLICE_LIT(".result}");

/* The end of the id that begins here, or NULL. No further away than an id may be long: a payload of
 * nothing but beginnings would be read to its end for each of them. */
static const char *mark_end_find(const char *name, const char *end)
{
    size_t len = (size_t)(end - name), most = TXN_BRANCH_ID_MAX + mark_end.len;
    return memmem(name, len < most ? len : most, mark_end.ptr, mark_end.len);
}

/* Cuts the text before the next reference and the id in it from the front of `rest`. False: there
 * is none, and `before` is all of it. */
static bool reference_next(struct slice *rest, struct slice *before, struct slice *id)
{
    const char *end = rest->ptr ? rest->ptr + rest->len : NULL;
    const char *at = rest->ptr;
    while (at && (at = memmem(at, (size_t)(end - at), mark_begin.ptr, mark_begin.len))) {
        const char *name = at + mark_begin.len;
        const char *close = mark_end_find(name, end);
        if (close &&
            txn_branch_id_check(slice_make(name, (size_t)(close - name)), NULL) == ERR_OK) {
            *before = slice_make(rest->ptr, (size_t)(at - rest->ptr));
            *id = slice_make(name, (size_t)(close - name));
            *rest = slice_make(close + mark_end.len, (size_t)(end - close) - mark_end.len);
            return true;
        }
        at = name;
    }
    *before = *rest;
    *rest = slice_str(NULL);
    return false;
}

/* ---- checking ---- */

/* Which step has this id; step_count when none. */
static size_t step_find(const struct txn_spec *spec, struct slice id)
{
    char own[24];
    size_t i = 0;
    for (; i < spec->step_count; i++) {
        snprintf(own, sizeof(own), "%02zu", i + 1);
        if (spec->steps[i].id.len > 0 ? slice_eq(spec->steps[i].id, id) : slice_eq_str(id, own)) {
            break;
        }
    }
    return i;
}

/* Everything that must have succeeded before `index`: marks it in `before`, until a round finds no
 * more. */
static void predecessors_mark(const struct txn_spec *spec, size_t index, bool *before)
{
    before[index] = true;
    for (bool found = true; found;) {
        found = false;
        for (size_t i = 0; i < spec->step_count; i++) {
            const struct txn_step *step = &spec->steps[i];
            for (size_t a = 0; before[i] && a < step->after_count; a++) {
                found = found || !before[step->after[a]];
                before[step->after[a]] = true;
            }
        }
    }
    before[index] = false; /* nothing comes before itself: the steps wait without a cycle */
}

static bool comes_before(const struct txn_spec *spec, size_t earlier, size_t later)
{
    bool before[TXN_BRANCHES_MAX] = {false};
    if (!spec->options.concurrent) {
        return earlier < later;
    }
    predecessors_mark(spec, later, before);
    return before[earlier];
}

static enum err step_check(const struct txn_spec *spec, enum txn_type type, size_t index,
                           struct reason *reason)
{
    struct slice rest = spec->steps[index].payload, before, id;
    for (int count = 1; reference_next(&rest, &before, &id); count++) {
        size_t named = step_find(spec, id);
        if (type == TXN_TCC || named == spec->step_count || !comes_before(spec, named, index)) {
            return reason_set(reason, ERR_INVALID,
                              "payloads[%zu]: refers to the result of %.*s, which is no step that "
                              "has succeeded before it begins",
                              index, SLICE_ARG(id));
        }
        if (count > PAYLOAD_REFERENCES_MAX) {
            return reason_set(reason, ERR_INVALID, "payloads[%zu]: has more than %d references",
                              index, PAYLOAD_REFERENCES_MAX);
        }
    }
    return ERR_OK;
}

enum err payload_check(const struct txn_spec *spec, enum txn_type type, struct reason *reason)
{
    enum err err = ERR_OK;
    for (size_t i = 0; spec->options.keep_results && i < spec->step_count && err == ERR_OK; i++) {
        err = step_check(spec, type, i, reason);
    }
    return err;
}

/* ---- expanding ---- */

static struct slice result_of(const struct txn *txn, struct slice id)
{
    for (size_t i = 0; i < txn->branch_count; i++) {
        if (slice_eq(txn->branches[i].id, id)) {
            return txn->branches[i].result;
        }
    }
    return slice_str(NULL);
}

void payload_expand(struct buf *out, const struct txn *txn, struct slice payload)
{
    struct slice before, id;
    while (reference_next(&payload, &before, &id)) {
        buf_add_slice(out, before);
        buf_add_slice(out, result_of(txn, id));
    }
    buf_add_slice(out, before);
}
