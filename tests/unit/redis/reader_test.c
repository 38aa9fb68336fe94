/* Pure parts: replies out of bytes, bytes of commands, values, crc16. */
#include "fixture.h"

#include "base/buf.h"
#include "redis/command.h"
#include "redis/reader.h"

static void every_split_of_the_bytes_gives_the_same_replies(void **state)
{
    const char bytes[] =
        "*3\r\n$3\r\nabc\r\n*2\r\n:-5\r\n$-1\r\n*-1\r\n+OK\r\n-ERR no\r\n$0\r\n\r\n";
    (void)state;
    for (size_t cut = 0; cut < sizeof(bytes); cut++) {
        struct reader *reader = reader_new();
        const struct redis_value *v;
        int replies = 0;
        size_t ends[] = {cut, sizeof(bytes) - 1};
        for (size_t from = 0, i = 0; i < 2; from = ends[i], i++) {
            reader_feed(reader, slice_make(bytes + from, ends[i] - from));
            while (reader_next(reader, &v) == ERR_OK) {
                replies++;
                if (replies == 1) {
                    assert_int_equal(redis_value_count(v), 3);
                    assert_true(slice_eq_str(redis_value_str(redis_value_at(v, 0)), "abc"));
                    assert_int_equal(redis_value_int(redis_value_at(redis_value_at(v, 1), 0)), -5);
                    assert_int_equal(redis_value_type(redis_value_at(redis_value_at(v, 1), 1)),
                                     REDIS_NIL);
                    assert_int_equal(redis_value_type(redis_value_at(v, 2)), REDIS_NIL);
                } else {
                    assert_int_equal(redis_value_type(v),
                                     replies == 4 ? REDIS_STRING : REDIS_STATUS);
                    assert_int_equal(v->is_error, replies == 3);
                }
            }
            assert_int_equal(reader_next(reader, &v), ERR_UNAVAILABLE);
        }
        assert_int_equal(replies, 4);
        reader_free(reader);
    }
}

static void what_is_no_protocol_is_refused_for_good(void **state)
{
    static const char *const cases[] = {"GET / HTTP/1.1\r\n", "*99999999999\r\n", "\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reader *reader = reader_new();
        const struct redis_value *v;
        reader_feed(reader, slice_str(cases[i]));
        assert_int_equal(reader_next(reader, &v), ERR_PROTOCOL);
        assert_null(v);
        reader_feed(reader, slice_str("+OK\r\n"));
        assert_int_equal(reader_next(reader, &v), ERR_PROTOCOL);
        assert_true(strlen(reader_error(reader)) > 0);
        reader_free(reader);
    }
}

static void arrays_in_arrays_cannot_take_all_memory(void **state)
{
    struct reader *reader = reader_new();
    const struct redis_value *v;
    enum err err = ERR_UNAVAILABLE;
    (void)state;
    reader_feed(reader, slice_str("*1000000\r\n"));
    for (int i = 0; i < 100 && err == ERR_UNAVAILABLE; i++) {
        reader_feed(reader, slice_str("*1000000\r\n"));
        err = reader_next(reader, &v);
    }
    assert_int_equal(err, ERR_PROTOCOL);
    reader_free(reader);
}

static void a_reply_larger_than_the_scratch_memory_is_whole(void **state)
{
    struct reader *reader = reader_new();
    struct buf bytes = {0};
    const struct redis_value *v;
    (void)state;
    for (int round = 0; round < 3; round++) {
        buf_add_str(&bytes, "*5000\r\n");
        for (int i = 0; i < 5000; i++) {
            buf_printf(&bytes, "$8\r\nnum%05d\r\n", i);
        }
    }
    reader_feed(reader, buf_slice(&bytes));
    for (int round = 0; round < 3; round++) {
        assert_int_equal(reader_next(reader, &v), ERR_OK);
        assert_int_equal(redis_value_count(v), 5000);
        assert_true(slice_eq_str(redis_value_str(redis_value_at(v, 0)), "num00000"));
        assert_true(slice_eq_str(redis_value_str(redis_value_at(v, 4999)), "num04999"));
    }
    assert_int_equal(reader_next(reader, &v), ERR_UNAVAILABLE);
    reader_free(reader);
    buf_fini(&bytes);
}

static void accessors_are_safe_on_every_type(void **state)
{
    struct redis_value items[] = {
        {.type = REDIS_STRING, .str = SLICE_LIT("name")},
        {.type = REDIS_STRING, .str = SLICE_LIT("12")},
        {.type = REDIS_STRING, .str = SLICE_LIT("odd")},
    };
    struct redis_value array = {.type = REDIS_ARRAY, .items = items, .count = 3};
    struct redis_value nil = {.type = REDIS_NIL};
    (void)state;
    assert_int_equal(redis_value_int(redis_value_field(&array, "name")), 12);
    assert_null(redis_value_field(&array, "12"));  /* a value is no name */
    assert_null(redis_value_field(&array, "odd")); /* nothing behind it */
    assert_null(redis_value_at(&array, 3));
    assert_int_equal(redis_value_int(&items[0]), 0);
    assert_int_equal(redis_value_int(&array), 0);
    assert_int_equal(redis_value_str(&array).len, 0);
    assert_int_equal(redis_value_count(&nil), 0);
    assert_null(redis_value_at(&nil, 0));
    assert_null(redis_value_field(&nil, "name"));
}

static void commands_are_written_as_redis_reads_them(void **state)
{
    struct slice keys[] = {SLICE_LIT("k1"), SLICE_LIT("k2")};
    struct slice arg = {"a\r\nb", 4};
    struct redis_script script = {"s", "return 1", 8, "0123456789012345678901234567890123456789",
                                  2};
    struct redis_eval eval = {&script, keys, &arg, 1, false};
    struct command_pool pool = {0};
    struct command *command = command_take(&pool);
    struct buf out = {0};
    (void)state;
    command_add_count(&out, 2);
    command_add_words(&out, (struct slice[]){SLICE_LIT("GET"), {NULL, 0}}, 2);
    assert_string_equal(out.data, "*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    buf_clear(&out);
    command_keep_eval(command, &eval);
    command_write(command, &out);
    assert_string_equal(out.data, "*6\r\n$7\r\nEVALSHA\r\n$40\r\n"
                                  "0123456789012345678901234567890123456789\r\n"
                                  "$1\r\n2\r\n$2\r\nk1\r\n$2\r\nk2\r\n$4\r\na\r\nb\r\n");
    buf_clear(&out);
    command->as_text = true;
    command_write(command, &out);
    assert_string_equal(out.data, "*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n"
                                  "$1\r\n2\r\n$2\r\nk1\r\n$2\r\nk2\r\n$4\r\na\r\nb\r\n");
    command_release(&pool, command);
    assert_ptr_equal(command_take(&pool), command); /* pooled, and empty again */
    assert_null(command->script);
    assert_int_equal(command->bytes.len, 0);
    command_release(&pool, command);
    command_pool_fini(&pool);
    buf_fini(&out);
}

/* Redis Cluster specification: "123456789" gives 31C3. The slots are what CLUSTER KEYSLOT says. */
static void crc16_is_that_of_redis_cluster(void **state)
{
    (void)state;
    assert_int_equal(redis_crc16(slice_str("123456789")), 0x31c3);
    assert_int_equal(redis_crc16(slice_str("")), 0);
    assert_int_equal(redis_crc16(slice_str("foo")) % 16384, 12182);
    assert_int_equal(redis_crc16(slice_str("user1000")) % 16384, 3443);
    assert_int_equal(redis_crc16(slice_make("\xff\x00\x80", 3)), 0x5eeb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_of_the_bytes_gives_the_same_replies),
        cmocka_unit_test(what_is_no_protocol_is_refused_for_good),
        cmocka_unit_test(arrays_in_arrays_cannot_take_all_memory),
        cmocka_unit_test(a_reply_larger_than_the_scratch_memory_is_whole),
        cmocka_unit_test(accessors_are_safe_on_every_type),
        cmocka_unit_test(commands_are_written_as_redis_reads_them),
        cmocka_unit_test(crc16_is_that_of_redis_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
