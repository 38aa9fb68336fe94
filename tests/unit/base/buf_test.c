#include "base/arena.h"
#include "base/buf.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_buffer_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_add_str(&buf, "");
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++) {
        buf_printf(&buf, "%03d", i);
        assert_int_equal(buf.len, 3 * (i + 1));
        assert_int_equal(buf.data[buf.len], '\0');
    }
    assert_memory_equal(buf.data + 2997, "999", 4);
    buf_clear(&buf);
    buf_add(&buf, NULL, 0);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
    assert_null(buf.data);
}

static void the_front_can_be_dropped(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_drop_front(&buf, 0);
    buf_add_str(&buf, "hello world");
    buf_drop_front(&buf, 6);
    assert_string_equal(buf.data, "world");
    buf_drop_front(&buf, 5);
    assert_string_equal(buf.data, "");
    buf_fini(&buf);
}

/* RFC 4648, section 10. */
static const char *const vectors[][2] = {{"", ""},
                                         {"f", "Zg=="},
                                         {"fo", "Zm8="},
                                         {"foo", "Zm9v"},
                                         {"foob", "Zm9vYg=="},
                                         {"fooba", "Zm9vYmE="},
                                         {"foobar", "Zm9vYmFy"}};

static void base64_agrees_with_the_rfc_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct buf text = {0};
        struct buf data = {0};
        buf_add_base64(&text, slice_str(vectors[i][0]));
        assert_true(slice_eq_str(buf_slice(&text), vectors[i][1]));
        assert_int_equal(buf_add_base64_decoded(&data, slice_str(vectors[i][1])), ERR_OK);
        assert_true(slice_eq_str(buf_slice(&data), vectors[i][0]));
        buf_fini(&text);
        buf_fini(&data);
    }
}

static void base64_keeps_any_bytes(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4648);
    struct buf text = {0};
    struct buf back = {0};
    for (size_t len = 0; len < 300; len++) {
        unsigned char data[300];
        for (size_t i = 0; i < len; i++) {
            data[i] = (unsigned char)rng_next(&rng);
        }
        buf_clear(&text);
        buf_clear(&back);
        buf_add_base64(&text, slice_make(data, len));
        assert_int_equal(text.len, (len + 2) / 3 * 4);
        assert_int_equal(buf_add_base64_decoded(&back, buf_slice(&text)), ERR_OK);
        assert_true(slice_eq(buf_slice(&back), slice_make(data, len)));
    }
    buf_fini(&text);
    buf_fini(&back);
}

static void malformed_base64_is_refused_and_adds_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",      "Zg",       "Zg=",  "=",    "====",  "Zg==Zg==", "Zm=v",     "=m9v",   "Z===",
        "Zm9v\n", "Zm9v Zg=", "Zm9-", "Zm9_", "Zm9vZ", "Zm9vZg=a", "Zg==Zm9v", "Zm9\xC3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = {0};
        buf_add_str(&out, "before");
        assert_int_equal(buf_add_base64_decoded(&out, slice_str(bad[i])), ERR_INVALID);
        assert_string_equal(out.data, "before");
        buf_fini(&out);
    }
    struct buf out = {0};
    assert_int_equal(buf_add_base64_decoded(&out, slice_make("Zm\0v", 4)), ERR_INVALID);
    buf_fini(&out);
}

/* Two texts for one value would let a signed or compared text be changed unseen. */
static void base64_with_bits_that_mean_nothing_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"Zh==", "Zm9=", "Zm+="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = {0};
        assert_int_equal(buf_add_base64_decoded(&out, slice_str(bad[i])), ERR_INVALID);
        buf_fini(&out);
    }
}

static void an_arena_gives_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct arena arena = {0};
    for (size_t size = 1; size < 3000; size += 37) {
        unsigned char *ptr = arena_alloc(&arena, size);
        assert_int_equal((uintptr_t)ptr % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(ptr[i], 0);
        }
        memset(ptr, 0xFF, size);
    }
    struct slice copy = arena_copy(&arena, slice_make("abcdef", 3));
    assert_string_equal(copy.ptr, "abc");
    assert_string_equal(arena_copy(&arena, slice_str(NULL)).ptr, "");
    arena_fini(&arena);
    assert_null(arena.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_and_stays_terminated),
        cmocka_unit_test(the_front_can_be_dropped),
        cmocka_unit_test(base64_agrees_with_the_rfc_both_ways),
        cmocka_unit_test(base64_keeps_any_bytes),
        cmocka_unit_test(malformed_base64_is_refused_and_adds_nothing),
        cmocka_unit_test(base64_with_bits_that_mean_nothing_is_refused),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
