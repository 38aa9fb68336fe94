/* The client against a real redis-server. */
#include "fixture.h"

#include "base/buf.h"
#include "base/log.h"
#include "harness/test_redis.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct server_fixture {
    struct test_redis *server;
    struct fixture f;
};

static struct server_fixture *with_server(void **state)
{
    return *state;
}

static int set_up(void **state)
{
    static struct server_fixture fixture;
    fixture.server = test_redis_start(NULL);
    fixture_init(&fixture.f, test_redis_unix(fixture.server));
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    fixture_fini(&with_server(state)->f);
    test_redis_stop(with_server(state)->server);
    return 0;
}

/* Instead of the plain server: one with further lines of configuration. */
static void reconfigure(void **state, const char *extra)
{
    struct server_fixture *s = with_server(state);
    test_redis_stop(s->server);
    s->server = test_redis_start(extra);
    s->f.conf.address = test_redis_unix(s->server);
}

static void replies_have_types(void **state)
{
    struct fixture *f = &with_server(state)->f;
    fixture_open(f);
    struct answer a = ask(f, "SET k v");
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(a.type, REDIS_STATUS);
    assert_string_equal(a.text, "OK");
    a = ask(f, "GET k");
    assert_int_equal(a.type, REDIS_STRING);
    assert_string_equal(a.text, "v");
    a = ask(f, "INCRBY n -7");
    assert_int_equal(a.type, REDIS_INTEGER);
    assert_int_equal(a.integer, -7);
    a = ask(f, "GET n");
    assert_int_equal(a.type, REDIS_STRING);
    assert_int_equal(a.integer, -7);
    assert_int_equal(ask(f, "GET none").type, REDIS_NIL);
}

struct tree {
    int count;
    bool as_expected;
};

static void on_tree(void *arg, const struct redis_result *result)
{
    struct tree *tree = arg;
    const struct redis_value *top = result->value;
    tree->count++;
    if (result->err || redis_value_type(top) != REDIS_ARRAY || redis_value_count(top) != 4) {
        return;
    }
    const struct redis_value *inner = redis_value_at(top, 1);
    const struct redis_value *none = redis_value_at(inner, 1);
    tree->as_expected = slice_eq_str(redis_value_str(redis_value_at(top, 0)), "name") &&
                        redis_value_count(inner) == 2 &&
                        redis_value_int(redis_value_at(inner, 0)) == 42 &&
                        redis_value_type(none) == REDIS_ARRAY && redis_value_count(none) == 0 &&
                        redis_value_type(redis_value_at(top, 2)) == REDIS_STATUS &&
                        slice_eq_str(redis_value_str(redis_value_at(top, 3)), "a\0b") == false &&
                        redis_value_str(redis_value_at(top, 3)).len == 3 &&
                        redis_value_field(top, "name") == inner &&
                        redis_value_field(top, "other") == NULL && redis_value_at(top, 4) == NULL;
}

static void arrays_are_trees_and_strings_are_binary(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct tree tree = {0};
    const char text[] = "return {'name', {42, {}}, redis.status_reply('fine'), ARGV[1]}";
    struct slice words[] = {SLICE_LIT("EVAL"), slice_str(text), SLICE_LIT("0"), {"a\0b", 3}};
    fixture_open(f);
    redis_command(f->redis, in_ms(f, 10000), words, 4, on_tree, &tree);
    wait_for(f->loop, tree.count);
    assert_true(tree.as_expected);
}

static void large_values_go_both_ways(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct answer set = {0};
    size_t len = 3 * 1024 * 1024;
    char *value = malloc(len);
    memset(value, 'x', len);
    struct slice words[] = {SLICE_LIT("SET"), SLICE_LIT("k"), {value, len}};
    fixture_open(f);
    redis_command(f->redis, in_ms(f, 10000), words, 3, on_answer, &set);
    free(value); /* arguments are copied */
    struct answer get = ask(f, "GET k");
    assert_int_equal(set.err, ERR_OK);
    assert_int_equal(strlen(get.text), sizeof(get.text) - 1);
    assert_int_equal(ask(f, "STRLEN k").integer, len);
}

static void errors_of_the_server_carry_its_text(void **state)
{
    struct fixture *f = &with_server(state)->f;
    fixture_open(f);
    ask(f, "LPUSH list a");
    struct answer a = ask(f, "INCR list");
    assert_int_equal(a.err, ERR_SCRIPT);
    assert_memory_equal(a.text, "WRONGTYPE ", 10);
}

struct order {
    int64_t last;
    int count;
    int wrong;
};

static void on_ordered(void *arg, const struct redis_result *result)
{
    struct order *order = arg;
    order->count++;
    order->wrong += result->err != ERR_OK || redis_value_int(result->value) != order->last + 1;
    order->last++;
}

static void ten_thousand_in_a_pipeline_come_back_in_order(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct slice words[] = {SLICE_LIT("INCR"), SLICE_LIT("n")};
    struct order order = {0};
    struct order observed = {0};
    fixture_open(f);
    redis_observe(f->redis, on_ordered, &observed);
    for (int i = 0; i < 10000; i++) {
        redis_command(f->redis, in_ms(f, 20000), words, 2, on_ordered, &order);
    }
    wait_for(f->loop, order.count == 10000);
    assert_int_equal(order.wrong, 0);
    assert_int_equal(observed.count, 10000);
    assert_int_equal(redis_round_trips(f->redis), 10000);
}

static const struct redis_script add = {
    .name = "add",
    .text = "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    .len = 45,
    .sha1 = "8cd00688c05c46bde4a2e60658ef20a2e5c0b248",
    .keys = 1,
};

static void script_flush_in_between_is_not_noticed(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct slice key = SLICE_LIT("n");
    struct slice one = SLICE_LIT("1");
    struct redis_eval call = {&add, &key, &one, 1, false};
    struct order order = {0};
    fixture_open(f);
    for (int i = 0; i < 300; i++) {
        if (i % 100 == 50) {
            tell(f, "SCRIPT FLUSH", NULL);
        }
        redis_eval(f->redis, in_ms(f, 10000), &call, on_ordered, &order);
    }
    wait_for(f->loop, order.count == 300);
    assert_int_equal(ask(f, "GET n").integer, 300);
    /* The first 50, 100 and 50 calls each found no script, and each went once more. */
    assert_true(redis_round_trips(f->redis) > 304);
    uint64_t before = redis_round_trips(f->redis);
    order = (struct order){.last = 300};
    redis_eval(f->redis, in_ms(f, 10000), &call, on_ordered, &order);
    wait_for(f->loop, order.count == 1);
    assert_int_equal(order.wrong, 0);
    assert_int_equal(redis_round_trips(f->redis), before + 1);
}

static void tcp_and_names_work_and_the_database_is_selected(void **state)
{
    struct server_fixture *s = with_server(state);
    struct fixture *f = &s->f;
    char by_name[64];
    snprintf(by_name, sizeof(by_name), "localhost:%d", test_redis_port(s->server));
    f->conf.address = by_name;
    f->conf.db = 7;
    fixture_open(f);
    assert_int_equal(ask(f, "SET k seven").err, ERR_OK);
    assert_string_equal(test_redis_ask(s->server, "GET k"), "");
    redis_close(f->redis);
    f->conf.address = test_redis_tcp(s->server);
    fixture_open(f);
    assert_string_equal(ask(f, "GET k").text, "seven");
}

/* Standard error goes to a file from here to log_read. */
static int log_capture(const char *path)
{
    int saved = dup(STDERR_FILENO);
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    assert_true(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    close(fd);
    return saved;
}

static void log_read(const char *path, int saved, struct buf *out)
{
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(buf_reserve(out, 65536), 1, 65536, file);
    buf_grow(out, n);
    fclose(file);
}

static void a_user_with_a_password_is_let_in(void **state)
{
    struct fixture *f = &with_server(state)->f;
    reconfigure(state, "user bob on >open_sesame ~bob:* +@all");
    f->conf.user = "bob";
    f->conf.password = "open_sesame";
    fixture_open(f);
    assert_string_equal(ask(f, "ACL WHOAMI").text, "bob");
    assert_int_equal(ask(f, "SET bob:k v").err, ERR_OK);
    struct answer a = ask(f, "SET eve:k v");
    assert_int_equal(a.err, ERR_DENIED);
    assert_memory_equal(a.text, "NOPERM ", 7);
}

static void a_password_alone_is_for_the_default_user(void **state)
{
    struct fixture *f = &with_server(state)->f;
    fixture_open(f);
    assert_int_equal(ask(f, "CONFIG SET requirepass open_sesame").err, ERR_OK);
    redis_close(f->redis);
    fixture_open(f);
    assert_int_equal(ask(f, "PING").err, ERR_DENIED); /* NOAUTH */
    redis_close(f->redis);
    f->conf.password = "open_sesame";
    fixture_open(f);
    assert_int_equal(ask(f, "PING").err, ERR_OK);
}

static void a_wrong_password_is_denied_and_never_logged(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct buf log = {0};
    char path[128];
    reconfigure(state, "user bob on >open_sesame ~* +@all");
    snprintf(path, sizeof(path), "%s/stderr", test_redis_dir(with_server(state)->server));
    f->conf.user = "bob";
    f->conf.password = "xyzzy_is_wrong";
    int saved = log_capture(path);
    log_set_level(LOG_DEBUG);
    fixture_open(f);
    struct answer first = ask(f, "GET k");
    struct answer again = ask(f, "GET k");
    log_set_level(LOG_ERROR);
    log_read(path, saved, &log);
    assert_int_equal(first.err, ERR_DENIED);
    assert_non_null(strstr(first.text, "WRONGPASS"));
    assert_int_equal(again.err, ERR_DENIED);
    assert_non_null(strstr(log.data, "WRONGPASS"));
    assert_null(strstr(log.data, "xyzzy"));
    buf_fini(&log);
}

static void commands_wait_while_the_server_is_away(void **state)
{
    struct server_fixture *s = with_server(state);
    struct fixture *f = &s->f;
    reconfigure(state, "appendonly yes\nappendfsync always");
    fixture_open(f);
    assert_int_equal(ask(f, "INCRBY n 5").integer, 5);
    test_redis_kill(s->server);
    wait_for(f->loop, !redis_is_connected(f->redis));
    struct answer waiting[20] = {0};
    for (int i = 0; i < 20; i++) {
        tell(f, "INCR n", &waiting[i]);
    }
    struct slice key = SLICE_LIT("n");
    struct slice one = SLICE_LIT("1");
    struct redis_eval call = {&add, &key, &one, 1, false};
    struct answer script = {0};
    redis_eval(f->redis, in_ms(f, 10000), &call, on_answer, &script);
    loop_turn(f->loop, 60);
    assert_int_equal(waiting[0].count, 0);
    test_redis_restart(s->server);
    wait_for(f->loop, script.count);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(waiting[i].count, 1);
        assert_int_equal(waiting[i].integer, 6 + i);
    }
    assert_int_equal(script.integer, 26);
}

static void a_stopped_server_is_left_and_found_again(void **state)
{
    struct server_fixture *s = with_server(state);
    struct fixture *f = &s->f;
    struct answer lost = {0};
    fixture_open(f);
    ask(f, "PING");
    test_redis_pause(s->server);
    tell_until(f, "PING", in_ms(f, 250), &lost);
    wait_for(f->loop, lost.count);
    test_redis_resume(s->server);
    assert_int_equal(lost.err, ERR_TIMEOUT);
    assert_false(redis_is_connected(f->redis));
    assert_int_equal(ask(f, "PING").err, ERR_OK);
}

static void out_of_memory_is_unavailable(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct slice key = SLICE_LIT("n");
    struct slice one = SLICE_LIT("1");
    struct redis_eval call = {&add, &key, &one, 1, false};
    struct answer script = {0};
    reconfigure(state, "maxmemory 1\nmaxmemory-policy noeviction");
    fixture_open(f);
    struct answer a = ask(f, "SET k v");
    assert_int_equal(a.err, ERR_UNAVAILABLE);
    assert_memory_equal(a.text, "OOM ", 4);
    redis_eval(f->redis, in_ms(f, 10000), &call, on_answer, &script);
    wait_for(f->loop, script.count);
    assert_int_equal(script.err, ERR_UNAVAILABLE);
    assert_int_equal(ask(f, "GET k").type, REDIS_NIL);
}

static void failing_persistence_is_unavailable(void **state)
{
    struct fixture *f = &with_server(state)->f;
    char line[256];
    char dir[128];
    reconfigure(state, "save 3600 1\nenable-protected-configs yes");
    snprintf(dir, sizeof(dir), "%s/away", test_redis_dir(with_server(state)->server));
    snprintf(line, sizeof(line), "CONFIG SET dir %s", dir);
    fixture_open(f);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(ask(f, line).err, ERR_OK);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(ask(f, "BGSAVE").err, ERR_OK);
    struct answer a = {0};
    wait_for(f->loop, (a = ask(f, "SET k v")).err != ERR_OK);
    assert_int_equal(a.err, ERR_UNAVAILABLE);
    assert_memory_equal(a.text, "MISCONF ", 8);
}

static void a_busy_server_is_unavailable(void **state)
{
    struct server_fixture *s = with_server(state);
    struct fixture *f = &s->f;
    struct answer endless = {0};
    struct answer a = {0};
    reconfigure(state, "busy-reply-threshold 1");
    fixture_open(f);
    struct slice words[] = {SLICE_LIT("EVAL"), SLICE_LIT("while true do end"), SLICE_LIT("0")};
    redis_command(f->redis, in_ms(f, 60000), words, 3, on_answer, &endless);
    wait_for(f->loop, redis_round_trips(f->redis) == 1);
    struct redis *busy = f->redis;
    fixture_open(f); /* another connection */
    wait_for(f->loop, (a = ask(f, "GET k")).err != ERR_OK);
    assert_int_equal(a.err, ERR_UNAVAILABLE);
    assert_memory_equal(a.text, "BUSY ", 5);
    assert_int_equal(ask(f, "SCRIPT KILL").err, ERR_OK);
    wait_for(f->loop, endless.count);
    assert_int_equal(endless.err, ERR_SCRIPT);
    redis_close(busy);
}

static void a_replica_is_left_until_it_is_a_master_again(void **state)
{
    struct server_fixture *s = with_server(state);
    struct fixture *f = &s->f;
    fixture_open(f);
    ask(f, "PING");
    test_redis_ask(s->server, "REPLICAOF 127.0.0.1 1");
    struct answer a = ask(f, "SET k v");
    assert_int_equal(a.err, ERR_UNAVAILABLE);
    assert_memory_equal(a.text, "READONLY ", 9);
    assert_false(redis_is_connected(f->redis));
    test_redis_ask(s->server, "REPLICAOF NO ONE");
    assert_int_equal(ask(f, "SET k v").err, ERR_OK);
}

static void an_address_that_is_none_fails_its_commands(void **state)
{
    struct fixture *f = &with_server(state)->f;
    struct answer a = {0};
    f->conf.address = "nonsense";
    fixture_open(f);
    tell_until(f, "PING", in_ms(f, 30), &a);
    wait_for(f->loop, a.count);
    assert_int_equal(a.err, ERR_CONNECT);
    assert_non_null(strstr(a.text, "nonsense"));
}

static void elapsed_time_is_measured(void **state)
{
    struct fixture *f = &with_server(state)->f;
    fixture_open(f);
    ask(f, "PING");
    struct answer a = ask(f, "BLPOP none 0.05");
    assert_int_equal(a.type, REDIS_NIL);
    assert_in_range(a.elapsed_us, 40000, PATIENCE_MS * 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replies_have_types),
        TEST(arrays_are_trees_and_strings_are_binary),
        TEST(large_values_go_both_ways),
        TEST(errors_of_the_server_carry_its_text),
        TEST(ten_thousand_in_a_pipeline_come_back_in_order),
        TEST(script_flush_in_between_is_not_noticed),
        TEST(tcp_and_names_work_and_the_database_is_selected),
        TEST(a_user_with_a_password_is_let_in),
        TEST(a_password_alone_is_for_the_default_user),
        TEST(a_wrong_password_is_denied_and_never_logged),
        TEST(commands_wait_while_the_server_is_away),
        TEST(a_stopped_server_is_left_and_found_again),
        TEST(out_of_memory_is_unavailable),
        TEST(failing_persistence_is_unavailable),
        TEST(a_busy_server_is_unavailable),
        TEST(a_replica_is_left_until_it_is_a_master_again),
        TEST(an_address_that_is_none_fails_its_commands),
        TEST(elapsed_time_is_measured),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
