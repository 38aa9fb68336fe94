/* The topics as the hash has them, and what becomes of a msg to them. */
#include "coordinator/topic_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct slice fields[] = {
    SLICE_LIT("t:two"),   SLICE_LIT("2 1000 2000\nhttp://a/x remark of it\nhttp://b/y"),
    SLICE_LIT("version"), SLICE_LIT("5-77"),
    SLICE_LIT("t:none"),  SLICE_LIT("4 1000 2000"),
    SLICE_LIT("bytes"),   SLICE_LIT("99"),
    SLICE_LIT("t:one"),   SLICE_LIT("1 1000 1000\ntcp://h:1/p.S/M"),
    SLICE_LIT("t:wrong"), SLICE_LIT("1 1000 1000\nnot a url"),
};

static struct topic_book *book_make(void)
{
    struct slice damaged;
    struct topic_book *book = topic_book_new(fields, sizeof(fields) / sizeof(fields[0]), &damaged);
    assert_true(slice_eq_str(damaged, "t:wrong"));
    return book;
}

static void test_hash_is_read(void **state)
{
    (void)state;
    struct topic_book *book = book_make();
    assert_true(slice_eq_str(topic_book_version(book), "5-77"));
    assert_int_equal(topic_book_count(book), 3);
    assert_true(slice_eq_str(topic_book_at(book, 0)->name, "none"));
    const struct topic *topic = topic_book_find(book, slice_str("two"));
    assert_int_equal(topic->version, 2);
    assert_int_equal(topic->created_ms, 1000);
    assert_int_equal(topic->updated_ms, 2000);
    assert_int_equal(topic->subscriber_count, 2);
    assert_true(slice_eq_str(topic->subscribers[0].remark, "remark of it"));
    assert_true(slice_eq_str(topic->subscribers[1].url, "http://b/y"));
    assert_null(topic_book_find(book, slice_str("tw")));
    assert_null(topic_book_find(book, slice_str("wrong")));
    assert_int_equal(topic_book_after(book, slice_str("")), 0);
    assert_int_equal(topic_book_after(book, slice_str("one")), 2);
    assert_int_equal(topic_book_after(book, slice_str("z")), 3);
    topic_book_free(book);
}

/* "01 URL, 02-01 URL" */
static const char *expanded(const char *const *urls, size_t count, enum err *err,
                            struct reason *reason)
{
    static char text[1000];
    struct topic_book *book = book_make();
    struct arena arena = {0};
    struct txn_step *steps = arena_alloc(&arena, count * sizeof(*steps));
    for (size_t i = 0; i < count; i++) {
        steps[i].urls[OP_ACTION] = slice_str(urls[i]);
        steps[i].payload = slice_str(i == 0 ? "p" : "q");
    }
    struct txn_spec spec = {.trans_type = slice_str("msg"), .steps = steps, .step_count = count};
    text[0] = '\0';
    *err = topics_are_named(&spec) ? topics_expand(book, &spec, &arena, reason) : ERR_OK;
    for (size_t i = 0; i < spec.step_count && i < 5; i++) {
        const struct txn_step *step = &spec.steps[i];
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, "%.*s %.*s %.*s;", SLICE_ARG(step->id),
                 SLICE_ARG(step->urls[OP_ACTION]), SLICE_ARG(step->payload));
    }
    arena_fini(&arena);
    topic_book_free(book);
    return text;
}

static void test_topics_become_branches(void **state)
{
    (void)state;
    enum err err;
    struct reason reason;
    const char *const urls[] = {"topic://two", "http://c", "topic://one"};
    assert_string_equal(
        expanded(urls, 3, &err, &reason),
        "01-01 http://a/x p;01-02 http://b/y p;02 http://c q;03 tcp://h:1/p.S/M q;");
    assert_int_equal(err, ERR_OK);
    const char *const plain[] = {"http://c"};
    assert_string_equal(expanded(plain, 1, &err, &reason), " http://c p;");
}

static void test_what_cannot_be_sent_is_told(void **state)
{
    (void)state;
    enum err err;
    struct reason reason;
    const char *const unknown[] = {"topic://two", "topic://three"};
    expanded(unknown, 2, &err, &reason);
    assert_int_equal(err, ERR_NOT_FOUND);
    assert_string_equal(reason.text, "topic not found: three");
    const char *const empty[] = {"topic://none"};
    expanded(empty, 1, &err, &reason);
    assert_int_equal(err, ERR_NOT_FOUND);
    assert_string_equal(reason.text, "nobody has subscribed to topic: none");
    const char *many[TXN_BRANCHES_MAX];
    for (size_t i = 0; i < TXN_BRANCHES_MAX; i++) {
        many[i] = "topic://one";
    }
    expanded(many, TXN_BRANCHES_MAX, &err, &reason);
    assert_int_equal(err, ERR_OK);
    many[7] = "topic://two";
    expanded(many, TXN_BRANCHES_MAX, &err, &reason);
    assert_int_equal(err, ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_read),
        cmocka_unit_test(test_topics_become_branches),
        cmocka_unit_test(test_what_cannot_be_sent_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
