#include "coordinator/outbox_entry.h"

#include <stdio.h>
#include <string.h>

enum { NAME_SHOWN = 48, STEP_NAME_SIZE = 16 };

static const char header_prefix[] = "header:";

static enum err field_unknown(struct slice name, const char *wanted, struct reason *reason)
{
    char shown[NAME_SHOWN];
    return reason_set(reason, ERR_INVALID, "field '%s': unknown or not in its place, wanted %s",
                      slice_printable(name, shown, sizeof(shown)), wanted);
}

/* ---- what stands for the whole entry ---- */

static bool is_header(struct slice name)
{
    return slice_has_prefix(name, header_prefix);
}

static enum err header_set(struct outbox_entry *entry, struct slice name, struct slice value,
                           struct reason *reason)
{
    struct txn_options *options = &entry->spec.options;
    size_t skip = strlen(header_prefix);
    if (options->header_count == TXN_HEADERS_MAX) {
        return reason_set(reason, ERR_LIMIT, "has more than %d headers", TXN_HEADERS_MAX);
    }
    options->headers = entry->headers;
    options->headers[options->header_count++] =
        (struct txn_header){slice_make(name.ptr + skip, name.len - skip), value};
    return ERR_OK;
}

static enum err number_read(struct slice name, struct slice value, int64_t max, int64_t *out,
                            struct reason *reason)
{
    char shown[NAME_SHOWN];
    if (slice_to_int64(value, out) && *out >= 0 && *out <= max) {
        return ERR_OK;
    }
    return reason_set(
        reason, ERR_INVALID, "field '%.*s': is '%s', must be a whole number from 0 to %lld",
        SLICE_ARG(name), slice_printable(value, shown, sizeof(shown)), (long long)max);
}

/* One of the optional ones. */
static enum err option_set(struct outbox_entry *entry, struct slice name, struct slice value,
                           struct reason *reason)
{
    struct txn_options *options = &entry->spec.options;
    int64_t concurrent = 0;
    const struct {
        const char *name;
        int64_t max, *out;
    } numbers[OUTBOX_OPTIONS] = {
        {"delay_ms", TXN_TIME_MAX_MS, &options->delay_ms},
        {"request_timeout_ms", TXN_TIME_MAX_MS, &options->request_timeout_ms},
        {"retry_interval_ms", TXN_TIME_MAX_MS, &options->retry_interval_ms},
        {"concurrent", 1, &concurrent},
    };
    for (size_t i = 0; i < OUTBOX_OPTIONS; i++) {
        if (slice_eq_str(name, numbers[i].name)) {
            enum err err = number_read(name, value, numbers[i].max, numbers[i].out, reason);
            options->concurrent |= concurrent == 1;
            return err;
        }
    }
    return is_header(name) ? header_set(entry, name, value, reason)
                           : field_unknown(name, "gid, trans_type, an option or 01.action", reason);
}

/* They may come in any order, before the steps. */
static enum err head_set(struct outbox_entry *entry, const struct slice *fields, size_t at,
                         struct reason *reason)
{
    struct slice name = fields[at], value = fields[at + 1];
    for (size_t i = 0; i < at; i += 2) {
        if (slice_eq(fields[i], name)) {
            char shown[NAME_SHOWN];
            return reason_set(reason, ERR_INVALID, "field '%s': given twice",
                              slice_printable(name, shown, sizeof(shown)));
        }
    }
    if (slice_eq_str(name, "gid")) {
        entry->spec.gid = value;
        return txn_gid_check(value, reason);
    }
    if (slice_eq_str(name, "trans_type")) {
        entry->spec.trans_type = value;
        return ERR_OK;
    }
    return option_set(entry, name, value, reason);
}

/* ---- steps ---- */

static bool is_step(struct slice name, size_t number, const char *what)
{
    char wanted[STEP_NAME_SIZE];
    snprintf(wanted, sizeof(wanted), "%02zu.%s", number, what);
    return slice_eq_str(name, wanted);
}

/* From `at` on there are steps alone. */
static enum err steps_read(struct outbox_entry *entry, const struct slice *fields, size_t count,
                           struct reason *reason)
{
    size_t steps = 0;
    for (size_t at = 0; at < count; at += 4) {
        char wanted[NAME_SHOWN];
        if (steps == TXN_BRANCHES_MAX) {
            return reason_set(reason, ERR_LIMIT, "has more than %d steps", TXN_BRANCHES_MAX);
        }
        snprintf(wanted, sizeof(wanted), "%02zu.action and %02zu.payload", steps + 1, steps + 1);
        if (!is_step(fields[at], steps + 1, "action")) {
            return field_unknown(fields[at], wanted, reason);
        }
        if (at + 4 > count) {
            return reason_set(reason, ERR_INVALID, "field '%02zu.payload': is missing", steps + 1);
        }
        if (!is_step(fields[at + 2], steps + 1, "payload")) {
            return field_unknown(fields[at + 2], wanted, reason);
        }
        entry->steps[steps].urls[OP_ACTION] = fields[at + 1];
        entry->steps[steps].payload = fields[at + 3];
        steps++;
    }
    entry->spec.steps = entry->steps;
    entry->spec.step_count = steps;
    return ERR_OK;
}

static enum err entry_check(const struct outbox_entry *entry, struct reason *reason)
{
    const struct txn_spec *spec = &entry->spec;
    if (spec->gid.len == 0 || spec->trans_type.len == 0) {
        return reason_set(reason, ERR_INVALID, "field '%s': is missing",
                          spec->gid.len > 0 ? "trans_type" : "gid");
    }
    if (!slice_eq_str(spec->trans_type, "msg")) {
        char shown[NAME_SHOWN];
        return reason_set(reason, ERR_INVALID, "field 'trans_type': is '%s', allowed is msg",
                          slice_printable(spec->trans_type, shown, sizeof(shown)));
    }
    if (spec->step_count == 0) {
        return reason_set(reason, ERR_INVALID, "field '01.action': is missing");
    }
    for (size_t i = 0; i < spec->step_count; i++) {
        if (entry->steps[i].urls[OP_ACTION].len == 0) {
            return reason_set(reason, ERR_INVALID, "field '%02zu.action': is empty", i + 1);
        }
    }
    return ERR_OK;
}

enum err outbox_entry_parse(const struct slice *fields, size_t count, struct outbox_entry *out,
                            struct reason *reason)
{
    size_t at = 0;
    memset(out, 0, sizeof(*out));
    if (count % 2 != 0) {
        return reason_set(reason, ERR_INVALID, "a field has no value");
    }
    while (at < count && !is_step(fields[at], 1, "action")) {
        enum err err = head_set(out, fields, at, reason);
        if (err) {
            return err;
        }
        at += 2;
    }
    enum err err = steps_read(out, fields + at, count - at, reason);
    return err ? err : entry_check(out, reason);
}
