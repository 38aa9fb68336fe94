/* What a coordinator stores anew, because the store went back in time, is what was lost: any record
 * that the scripts can have made, read and written back, has the same fields with the same values.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "coordinator/store_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    ROUNDS = 3000,
    STEPS_MAX = 6,
    FIELDS_MAX = 256,
    CREATE_FIELDS = 8, /* type, status, lease and created, which txn_create writes itself */
};

/* A record that is being made up. */
struct made {
    struct rng rng;
    struct arena arena;
    struct buf text; /* the value that is put together */
    enum txn_type type;
    struct slice fields[FIELDS_MAX];
    size_t count;
};

static bool maybe(struct made *made)
{
    return rng_below(&made->rng, 2) == 0;
}

static void field(struct made *made, const char *name, struct slice value)
{
    assert_true(made->count + 2 <= FIELDS_MAX);
    made->fields[made->count++] = arena_copy(&made->arena, slice_str(name));
    made->fields[made->count++] = arena_copy(&made->arena, value);
}

static void field_of(struct made *made, const char *id, const char *word, struct slice value)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.%s", id, word);
    field(made, name, value);
}

static void field_end(struct made *made, const char *name)
{
    field(made, name, buf_slice(&made->text));
    buf_clear(&made->text);
}

static struct slice any_text(struct made *made)
{
    static const struct slice texts[] = {SLICE_LIT("x"), SLICE_LIT("a payload b"),
                                         SLICE_LIT("\xff\0 z "), SLICE_LIT("seq 9 succeed")};
    return texts[rng_below(&made->rng, sizeof(texts) / sizeof(texts[0]))];
}

static const char *any_status(struct made *made)
{
    static const char *const statuses[] = {"started", "succeed", "failed"};
    return statuses[rng_below(&made->rng, 3)];
}

static void add_options(struct made *made)
{
    static const char *const numbers[] = {
        "timeout_to_fail_ms", "retry_interval_ms", "request_timeout_ms", "retry_limit",
        "delay_ms",           "start_ms",          "attempts",           "retries"};
    static const char *const flags[] = {"wait_result", "concurrent", "keep_results", "doubt"};
    static const char *const texts[] = {"rollback_reason", "custom_data",   "header:X-A",
                                        "header:x b",      "noted by hand", "of_a_later_version"};
    char number[32];
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (maybe(made)) {
            snprintf(number, sizeof(number), "%d", 1 + (int)rng_below(&made->rng, 1000000));
            field(made, numbers[i], slice_str(number));
        }
    }
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (maybe(made)) {
            field(made, flags[i], slice_str("1"));
        }
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (maybe(made)) {
            field(made, texts[i], any_text(made));
        }
    }
    if (maybe(made)) {
        field(made, "protocol", slice_str("json-rpc"));
    }
}

static void add_check(struct made *made)
{
    if (made->type == TXN_MSG || made->type == TXN_WORKFLOW) {
        buf_add_str(&made->text, "query http://h/check?a=1+2 payload ");
        buf_add_slice(&made->text, any_text(made));
        field_end(made, "00");
    }
}

/* "confirm URL cancel URL payload BYTES", as it is registered; any of it may be missing. */
static void put_words(struct made *made)
{
    const char *gap = "";
    for (int op = 0; op < TXN_BRANCH_OPS; op++) {
        const char *name = txn_op_name(made->type, (enum txn_op)op);
        if (name && maybe(made)) {
            buf_printf(&made->text, "%s%s tcp://a/b.C/%s", gap, name, name);
            gap = " ";
        }
    }
    if (maybe(made)) {
        buf_printf(&made->text, "%spayload ", gap);
        buf_add_slice(&made->text, any_text(made));
    }
}

static void add_progress(struct made *made, const char *id)
{
    for (int op = 0; op < TXN_BRANCH_OPS; op++) {
        const char *name = txn_op_name(made->type, (enum txn_op)op);
        if (name && maybe(made)) {
            field_of(made, id, name, slice_str(any_status(made)));
        }
    }
    if (maybe(made)) {
        field_of(made, id, "header:X-B", any_text(made));
    }
    if (maybe(made)) {
        field_of(made, id, "result", any_text(made));
    }
}

static void add_count(struct made *made, size_t count, size_t bytes)
{
    if (count > 0) {
        buf_printf(&made->text, "%zu %zu", count, bytes);
        field_end(made, "branches");
    }
}

/* In an order that their ids do not tell. */
static void add_registered(struct made *made)
{
    static const char *const ids[STEPS_MAX] = {"0101", "01", "7", "02-1", "100", "1_a"};
    size_t count = rng_below(&made->rng, STEPS_MAX + 1);
    size_t first = rng_below(&made->rng, STEPS_MAX), step = maybe(made) ? 1 : STEPS_MAX - 1;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const char *id = ids[(first + i * step) % STEPS_MAX];
        buf_printf(&made->text, "seq %zu ", i + 1);
        size_t begin = made->text.len;
        put_words(made);
        bytes += made->text.len - begin;
        field_end(made, id);
        add_progress(made, id);
    }
    add_count(made, count, bytes);
}

static void add_declared(struct made *made)
{
    size_t count = 1 + rng_below(&made->rng, STEPS_MAX);
    for (size_t i = 1; i <= count; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%02zu", i);
        if (i > 2 && maybe(made)) {
            buf_add_str(&made->text, "after 02,01 ");
        }
        buf_add_str(&made->text, maybe(made) ? "timeout 17 " : "");
        buf_add_str(&made->text, maybe(made) ? "interval 4 " : "");
        buf_printf(&made->text, "%s http://h/%zu payload ", txn_op_name(made->type, OP_ACTION), i);
        buf_add_slice(&made->text, any_text(made));
        field_end(made, id);
        add_progress(made, id);
    }
}

static void add_reported(struct made *made)
{
    size_t count = rng_below(&made->rng, STEPS_MAX + 1), bytes = 0;
    for (size_t i = 1; i <= count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%02zu.%s", (i + 1) / 2, i % 2 ? "action" : "compensate");
        buf_printf(&made->text, "%s ", any_status(made));
        if (maybe(made)) {
            buf_add_slice(&made->text, any_text(made));
        }
        bytes += made->text.len;
        field_end(made, name);
    }
    add_count(made, count, bytes);
    field(made, "workflow", slice_str("ship it"));
    if (maybe(made)) {
        field(made, "result", any_text(made));
    }
}

static void make(struct made *made, uint64_t seed)
{
    rng_seed(&made->rng, seed);
    made->count = 0;
    made->type = (enum txn_type)(seed % (TXN_WORKFLOW + 1));
    field(made, "type", slice_str(txn_type_name(made->type)));
    field(made, "status", slice_str("submitted"));
    field(made, "lease", slice_str("3.17 A"));
    field(made, "created", slice_str("1700000000000"));
    add_options(made);
    add_check(made);
    if (made->type == TXN_WORKFLOW) {
        add_reported(made);
    } else if (made->type == TXN_XA || (made->type == TXN_TCC && maybe(made))) {
        add_registered(made);
    } else {
        add_declared(made);
        if (made->type == TXN_TCC) {
            field(made, "declared", slice_str("1"));
        }
    }
}

static int field_compare(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->ptr, y->ptr, len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* "NAME = VALUE", or "nothing" behind the last one. */
static const char *shown(const struct slice *fields, size_t count, size_t at, char out[256])
{
    char name[64], value[128];
    if (at >= count) {
        return "nothing";
    }
    snprintf(out, 256, "%s = \"%s\"", slice_printable(fields[at], name, sizeof(name)),
             slice_printable(fields[at + 1], value, sizeof(value)));
    return out;
}

static void assert_same_fields(struct slice *lost, size_t lost_count, struct slice *anew,
                               size_t anew_count, uint64_t seed)
{
    char a[256], b[256];
    qsort(lost, lost_count / 2, 2 * sizeof(*lost), field_compare);
    qsort(anew, anew_count / 2, 2 * sizeof(*anew), field_compare);
    for (size_t i = 0; i < lost_count || i < anew_count; i += 2) {
        if (i >= lost_count || i >= anew_count || !slice_eq(lost[i], anew[i]) ||
            !slice_eq(lost[i + 1], anew[i + 1])) {
            fail_msg("seed %d: %s was lost, %s was stored", (int)seed,
                     shown(lost, lost_count, i, a), shown(anew, anew_count, i, b));
        }
    }
}

static void test_what_is_stored_anew_is_what_was_lost(void **state)
{
    (void)state;
    static struct made made;
    struct scratch scratch = {0};
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        make(&made, seed);
        struct txn *txn;
        struct reason reason = {""};
        if (record_parse(slice_str("g"), made.fields, made.count, &txn, &reason) != ERR_OK) {
            fail_msg("seed %d: %s", (int)seed, reason.text);
        }
        size_t room = record_text_bytes(txn);
        scratch_begin(&scratch, room);
        record_add_all(&scratch, txn);
        assert_true(scratch.text.len <= room);
        assert_same_fields(made.fields + CREATE_FIELDS, made.count - CREATE_FIELDS, scratch.argv,
                           scratch.argc, seed);
        txn_free(txn);
        arena_fini(&made.arena);
        made.arena = (struct arena){0};
    }
    scratch_fini(&scratch);
    buf_fini(&made.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_stored_anew_is_what_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
