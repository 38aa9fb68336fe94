/* References in payloads: what may be named, and what is put in. */
#include "coordinator/payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { STEPS = 3 };

static struct txn_step steps[STEPS];

static struct txn_spec spec_of(const char *third)
{
    for (size_t i = 0; i < STEPS; i++) {
        steps[i] = (struct txn_step){.urls = {[OP_ACTION] = slice_str("tcp://p/P.S/Do")}};
    }
    steps[2].payload = slice_str(third);
    return (struct txn_spec){.gid = slice_str("g"),
                             .trans_type = slice_str("saga"),
                             .options.keep_results = true,
                             .steps = steps,
                             .step_count = STEPS};
}

static void expands_to(const char *payload, const char *want)
{
    struct txn_spec spec = spec_of(payload);
    struct txn *txn = txn_new(&spec);
    struct buf out = {0};
    txn->branches[0].result = slice_str("{\"id\":7}");
    txn->branches[1].result = slice_make("a\0b", 3);
    payload_expand(&out, txn, txn->branches[2].payload);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.data ? out.data : "", want, out.len);
    buf_fini(&out);
    txn_free(txn);
}

static void test_results_are_put_in_place_of_references(void **state)
{
    (void)state;
    expands_to("", "");
    expands_to("plain", "plain");
    expands_to("${01.result}", "{\"id\":7}");
    expands_to("{\"order\":${01.result},\"x\":1}", "{\"order\":{\"id\":7},\"x\":1}");
    expands_to("${01.result}${01.result}", "{\"id\":7}{\"id\":7}");
}

static void test_what_looks_different_is_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"${01}", "${01.result", "$ {01.result}", "${x.result}",
                                        "${}",   "${.result}",  "${01.Result}",  "${01 .result} ${",
                                        "$${"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        expands_to(texts[i], texts[i]);
    }
    expands_to("${${01.result}}", "${{\"id\":7}}");
}

static void test_only_steps_that_come_before_may_be_named(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        bool good;
    } cases[] = {
        {"${01.result} ${02.result}", true},
        {"${03.result}", false},
        {"${04.result}", false},
        {"${001.result}", false},
        {"nothing", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct txn_spec spec = spec_of(cases[i].payload);
        struct reason reason;
        enum err err = txn_spec_check(&spec, &reason);
        assert_int_equal(err, cases[i].good ? ERR_OK : ERR_INVALID);
        assert_true(err == ERR_OK || strstr(reason.text, "payloads[2]: refers to the result of 0"));
        spec.options.keep_results = false; /* then it is text */
        assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
    }
}

static void test_a_concurrent_saga_may_name_what_it_comes_after(void **state)
{
    (void)state;
    static const uint8_t first[] = {0}, second[] = {1};
    struct txn_spec spec = spec_of("${01.result}");
    spec.options.concurrent = true;
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_INVALID);
    steps[1].after = first;
    steps[2].after = second;
    steps[1].after_count = steps[2].after_count = 1;
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK); /* by way of the second */
    steps[1].after_count = 0;
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_INVALID);
}

static void test_number_of_references_is_bounded(void **state)
{
    (void)state;
    struct buf payload = {0};
    for (int i = 0; i < PAYLOAD_REFERENCES_MAX; i++) {
        buf_add_str(&payload, "${01.result}");
    }
    struct txn_spec spec = spec_of(payload.data);
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_OK);
    buf_add_str(&payload, "${01.result}");
    spec = spec_of(payload.data);
    assert_int_equal(txn_spec_check(&spec, NULL), ERR_INVALID);
    buf_fini(&payload);
}

/* All work waits while a payload is read. */
static void test_a_large_text_that_looks_like_references_is_read_in_no_time(void **state)
{
    (void)state;
    static const char *const parts[] = {"${", "${a}", "${01", "${-.result}"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct buf payload = {0};
        while (payload.len + strlen(parts[i]) < TXN_PAYLOAD_MAX) {
            buf_add_str(&payload, parts[i]);
        }
        struct txn_spec spec = spec_of(payload.data);
        clock_t begun = clock();
        assert_int_equal(payload_check(&spec, TXN_SAGA, NULL), ERR_OK);
        assert_true(clock() - begun < CLOCKS_PER_SEC / 5);
        buf_fini(&payload);
    }
}

/* Every step names as much as it may of all that come before it. */
static void test_many_references_in_a_dense_order_are_checked_in_no_time(void **state)
{
    (void)state;
    struct txn_step many[TXN_BRANCHES_MAX];
    uint8_t before[TXN_BRANCHES_MAX];
    struct buf payload = {0};
    for (int i = 0; i < PAYLOAD_REFERENCES_MAX; i++) {
        buf_add_str(&payload, "${01.result}");
    }
    for (size_t i = 0; i < TXN_BRANCHES_MAX; i++) {
        before[i] = (uint8_t)i;
        many[i] = (struct txn_step){.after = before, .after_count = i};
        many[i].payload = i > 0 ? buf_slice(&payload) : slice_str(NULL);
    }
    struct txn_spec spec = {
        .options = {.keep_results = true, .concurrent = true},
        .steps = many,
        .step_count = TXN_BRANCHES_MAX,
    };
    clock_t begun = clock();
    assert_int_equal(payload_check(&spec, TXN_SAGA, NULL), ERR_OK);
    assert_true(clock() - begun < CLOCKS_PER_SEC / 5);
    buf_fini(&payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_are_put_in_place_of_references),
        cmocka_unit_test(test_what_looks_different_is_text),
        cmocka_unit_test(test_only_steps_that_come_before_may_be_named),
        cmocka_unit_test(test_a_concurrent_saga_may_name_what_it_comes_after),
        cmocka_unit_test(test_number_of_references_is_bounded),
        cmocka_unit_test(test_a_large_text_that_looks_like_references_is_read_in_no_time),
        cmocka_unit_test(test_many_references_in_a_dense_order_are_checked_in_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
