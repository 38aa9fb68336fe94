/* Records without a server: round trip, and whatever somebody may have done to one. */
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

enum { FIELDS_MAX = 64 };

struct record {
    struct slice fields[FIELDS_MAX];
    size_t count;
};

static void add(struct record *record, const char *name, const char *value)
{
    record->fields[record->count++] = slice_str(name);
    record->fields[record->count++] = slice_str(value);
}

static struct record good(void)
{
    struct record record = {0};
    add(&record, "type", "saga");
    add(&record, "status", "aborting");
    add(&record, "lease", "3.17 A");
    add(&record, "created", "1700000000000");
    add(&record, "updated", "1700000000005");
    add(&record, "attempts", "2");
    add(&record, "retries", "4");
    add(&record, "rollback_reason", "no stock");
    add(&record, "custom_data", "{}");
    add(&record, "timeout_to_fail_ms", "35000");
    add(&record, "retry_limit", "9");
    add(&record, "wait_result", "1");
    add(&record, "header:X-Tenant", "t1");
    add(&record, "01", "action tcp://a/b.C/D payload abc payload d");
    add(&record, "01.action", "succeed");
    add(&record, "02", "action http://h/p?x=1+2 compensate http://h/q");
    add(&record, "02.action", "failed");
    add(&record, "03", "");
    return record;
}

static enum err parse(const struct record *record, struct txn **txn, struct reason *reason)
{
    return record_parse(slice_str("g"), record->fields, record->count, txn, reason);
}

static void test_reads_every_field(void **state)
{
    (void)state;
    struct record record = good();
    struct txn *txn;
    struct reason reason;
    assert_int_equal(parse(&record, &txn, &reason), ERR_OK);
    assert_int_equal(txn->status, TXN_ABORTING);
    assert_int_equal(txn->epoch, 3);
    assert_int_equal(txn->revision, 17);
    assert_false(txn->released);
    assert_true(txn->sure);
    assert_int_equal(txn->attempts, 2);
    assert_int_equal(txn->retry_count, 4);
    assert_true(slice_eq_str(txn->rollback_reason, "no stock"));
    assert_true(txn->options.wait_result);
    assert_int_equal(txn->options.timeout_to_fail_ms, 35000);
    assert_int_equal(txn->options.header_count, 1);
    assert_true(slice_eq_str(txn->options.headers[0].name, "X-Tenant"));
    assert_int_equal(txn->branch_count, 3);
    assert_true(slice_eq_str(txn->branches[0].payload, "abc payload d"));
    assert_int_equal(txn->branches[0].ops[OP_ACTION].status, OP_SUCCEED);
    assert_int_equal(txn->branches[0].ops[OP_UNDO].url.len, 0);
    assert_true(slice_eq_str(txn->branches[1].ops[OP_ACTION].url, "http://h/p?x=1+2"));
    assert_true(slice_eq_str(txn->branches[1].ops[OP_UNDO].url, "http://h/q"));
    assert_int_equal(txn->branches[1].ops[OP_UNDO].status, OP_PREPARED);
    txn_free(txn);
}

static void test_unknown_fields_are_left_alone(void **state)
{
    (void)state;
    struct record record = good();
    struct txn *txn;
    add(&record, "note", "looked at by Ann");
    add(&record, "history", "+1 succeed");
    assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
    txn_free(txn);
}

static void test_a_later_version_is_not_guessed_at(void **state)
{
    (void)state;
    struct record record = good();
    struct txn *txn;
    struct reason reason;
    add(&record, "v", "1");
    assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
    txn_free(txn);
    record.fields[record.count - 1] = slice_str("2");
    assert_int_equal(parse(&record, &txn, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "field v is \"2\", wanted 1: a later sagad wrote it"));
    for (size_t i = 0; i < record.count; i += 2) { /* what has ended is only looked at */
        if (slice_eq_str(record.fields[i], "status")) {
            record.fields[i + 1] = slice_str("failed");
        }
    }
    assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
    txn_free(txn);
}

static void test_owner_is_nobody_when_empty(void **state)
{
    (void)state;
    struct record record = good();
    struct txn *txn;
    record.fields[5] = slice_str("3.17");
    assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
    assert_true(txn->released);
    txn_free(txn);
}

/* Whatever the mark says, it is safer to believe it. */
static void test_mark_of_doubt(void **state)
{
    (void)state;
    static const char *const values[] = {"1", "", "0"};
    for (size_t i = 0; i < 3; i++) {
        struct record record = good();
        struct txn *txn;
        add(&record, "doubt", values[i]);
        assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
        assert_false(txn->sure);
        txn_free(txn);
    }
}

static void test_what_is_parked(void **state)
{
    (void)state;
    struct record record = good();
    struct txn *txn;
    struct scratch scratch = {0};
    add(&record, "parked", "1700000000001 attempts 02.compensate,03.compensate,00.msg");
    assert_int_equal(parse(&record, &txn, NULL), ERR_OK);
    assert_int_equal(txn->parked_ms, 1700000000001);
    assert_int_equal(txn->branches[0].ops[OP_UNDO].parked, PARK_NOT);
    assert_int_equal(txn->branches[1].ops[OP_UNDO].parked, PARK_ATTEMPTS);
    assert_int_equal(txn->branches[1].ops[OP_ACTION].parked, PARK_NOT);
    assert_int_equal(txn->branches[2].ops[OP_UNDO].parked, PARK_ATTEMPTS);
    assert_int_equal(txn->branches[1].ops[OP_UNDO].attempts, 2);
    txn_check_branch(txn)->ops[OP_ACTION].parked = PARK_NOT; /* a saga has none */
    scratch_begin(&scratch, record_text_bytes(txn));
    record_add_parked(&scratch, txn);
    assert_true(slice_eq_str(scratch.argv[0], "attempts 02.compensate,03.compensate"));
    scratch_fini(&scratch);
    txn_free(txn);
}

static void test_damage_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *says;
    } cases[] = {
        {"type", "dance", "field type is \"dance\""},
        {"status", "", "field status"},
        {"lease", "three.1 A", "field lease is \"three.1 A\""},
        {"lease", "3.-1 A", "field lease is \"3.-1 A\""},
        {"lease", "3 A", "field lease"},
        {"lease", "", "field lease"},
        {"created", "1e12", "field created"},
        {"attempts", "99999999999999999999", "field attempts"},
        {"01.action", "maybe", "field 01.action is \"maybe"},
        {"02.action", "", "field 02.action"},
        {"02", "action", "field 02 is \"action\""},
        {"02", "act http://h", "field 02 is \"act http://h\""},
        {"02", " ", "field 02"},
        {"parked", "", "field parked"},
        {"parked", "1700000000001 bored 01.compensate", "field parked"},
        {"parked", "soon conflict 01.compensate", "field parked"},
        {"parked", "1700000000001 conflict", "field parked"},
        {"parked", "1700000000001 conflict 04.compensate", "field parked"},
        {"parked", "1700000000001 conflict 01.cancel", "field parked"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record record = good();
        struct reason reason;
        struct txn *txn = NULL;
        add(&record, "parked", "1700000000001 conflict 02.compensate");
        for (size_t f = 0; f < record.count; f += 2) {
            if (slice_eq_str(record.fields[f], cases[i].name)) {
                record.fields[f + 1] = slice_str(cases[i].value);
            }
        }
        assert_int_equal(parse(&record, &txn, &reason), ERR_INVALID);
        assert_null(txn);
        assert_non_null(strstr(reason.text, cases[i].says));
    }
}

static void test_wrong_shapes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says;
    } cases[] = {
        {"00", "00"},
        {"00.action", "00.action"},
        {"101.action", "101.action"},
        {"1.action", "1.action"},
        {"001.action", "001.action"},
        {"02.try", "02.try"},
        {"02.payload", "02.payload"},
        {"04.action", "field 04.action is"},
        {"100", "field 04 is missing"},
        {"02.", "field 02."},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record record = good();
        struct reason reason;
        struct txn *txn;
        add(&record, cases[i].name, "prepared");
        assert_int_equal(parse(&record, &txn, &reason), ERR_INVALID);
        assert_non_null(strstr(reason.text, cases[i].says));
    }
}

static void test_missing_fields_are_named(void **state)
{
    (void)state;
    static const char *const names[] = {"type", "status", "lease", "created"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct record record = good();
        struct reason reason;
        struct txn *txn;
        for (size_t f = 0; f < record.count; f += 2) {
            if (slice_eq_str(record.fields[f], names[i])) {
                record.fields[f] = slice_str("other");
            }
        }
        assert_int_equal(parse(&record, &txn, &reason), ERR_INVALID);
        assert_non_null(strstr(reason.text, names[i]));
    }
}

static void test_too_many_headers(void **state)
{
    (void)state;
    struct slice fields[2 * (4 + TXN_HEADERS_MAX + 1)];
    struct record base = good();
    struct reason reason;
    struct txn *txn;
    char names[TXN_HEADERS_MAX + 1][32];
    memcpy(fields, base.fields, 8 * sizeof(fields[0]));
    for (size_t i = 0; i <= TXN_HEADERS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "header:%zu", i);
        fields[8 + 2 * i] = slice_str(names[i]);
        fields[9 + 2 * i] = slice_str("v");
    }
    size_t count = 8 + 2 * (TXN_HEADERS_MAX + 1);
    assert_int_equal(record_parse(slice_str("g"), fields, count, &txn, &reason), ERR_INVALID);
    assert_int_equal(record_parse(slice_str("g"), fields, count - 2, &txn, &reason), ERR_OK);
    assert_int_equal(txn->options.header_count, TXN_HEADERS_MAX);
    txn_free(txn);
}

/* Any bytes anywhere: a whole transaction or an error, never a crash (run under asan). Each text is
 * copied into memory of its own, so that reading one byte too far is noticed. */
static void test_mangled_records(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 20240607);
    int whole = 0;
    for (int round = 0; round < 20000; round++) {
        struct record record = good();
        char *copies[FIELDS_MAX];
        for (size_t i = 0; i < record.count; i++) {
            size_t len = record.fields[i].len;
            copies[i] = mem_alloc(len + 1);
            memcpy(copies[i], record.fields[i].ptr, len);
            copies[i] = mem_resize(copies[i], len > 0 ? len : 1);
            record.fields[i].ptr = copies[i];
        }
        for (uint64_t hits = 1 + rng_below(&rng, 3); hits > 0; hits--) {
            struct slice *field = &record.fields[rng_below(&rng, record.count)];
            if (field->len > 0 && rng_below(&rng, 2) == 0) {
                copies[field - record.fields][rng_below(&rng, field->len)] =
                    (char)rng_below(&rng, 256);
            } else {
                field->len = rng_below(&rng, field->len + 1);
            }
        }
        size_t copied = record.count;
        if (rng_below(&rng, 20) == 0) {
            record.count -= 1 + rng_below(&rng, record.count - 1);
        }
        struct txn *txn;
        struct reason reason = {""};
        enum err err = parse(&record, &txn, &reason);
        assert_true(err == ERR_OK ? txn != NULL : txn == NULL && reason.text[0] != '\0');
        whole += err == ERR_OK;
        txn_free(txn);
        for (size_t i = 0; i < copied; i++) {
            free(copies[i]);
        }
    }
    assert_true(whole > 100 && whole < 19900); /* both ways are exercised */
}

static void test_numbers_as_text(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 7, -1, 1234567890123, INT64_MAX, INT64_MIN};
    struct scratch scratch = {0};
    scratch_begin(&scratch, sizeof(values) / sizeof(values[0]) * SCRATCH_INT_BYTES);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[32];
        scratch_add_int(&scratch, values[i]);
        snprintf(text, sizeof(text), "%lld", (long long)values[i]);
        assert_true(slice_eq_str(scratch.argv[i], text));
    }
    scratch_fini(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_field),
        cmocka_unit_test(test_unknown_fields_are_left_alone),
        cmocka_unit_test(test_a_later_version_is_not_guessed_at),
        cmocka_unit_test(test_owner_is_nobody_when_empty),
        cmocka_unit_test(test_mark_of_doubt),
        cmocka_unit_test(test_what_is_parked),
        cmocka_unit_test(test_damage_is_named),
        cmocka_unit_test(test_wrong_shapes_are_named),
        cmocka_unit_test(test_missing_fields_are_named),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_mangled_records),
        cmocka_unit_test(test_numbers_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
