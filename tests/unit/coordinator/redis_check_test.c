/* The look at Redis: every wrong configuration is refused with what to change, on real servers. */
#include "coordinator/redis_check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "harness/test_redis.h"
#include "harness/wait_for.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOOD                                                                                       \
    "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\n"                          \
    "stream-node-max-bytes 256\n"

struct seen {
    int count;
    enum err err;
    char refusal[1024], warnings[1024];
};

static void seen_set(struct seen *seen, const struct redis_verdict *verdict)
{
    seen->count++;
    seen->err = verdict->err;
    snprintf(seen->refusal, sizeof(seen->refusal), "%.*s", SLICE_ARG(buf_slice(&verdict->refusal)));
    snprintf(seen->warnings, sizeof(seen->warnings), "%.*s",
             SLICE_ARG(buf_slice(&verdict->warnings)));
}

static void on_verdict(void *arg, const struct redis_verdict *verdict)
{
    seen_set(arg, verdict);
}

static struct seen look_at(struct test_redis *server, struct redis_promise promise,
                           const char *user)
{
    struct seen seen = {0};
    struct loop *loop = loop_new();
    struct redis_conf conf = {.address = test_redis_unix(server),
                              .user = user,
                              .password = user ? "pw" : NULL,
                              .connect_timeout_ms = 5000,
                              .queue_max = 100};
    struct redis *redis = redis_open(loop, &conf);
    redis_check(redis, loop_now_ms(loop) + 20000, promise, on_verdict, &seen);
    assert_int_equal(seen.count, 0); /* never from inside the call */
    wait_for(loop, seen.count == 1);
    redis_close(redis);
    loop_turn(loop, 0);
    loop_free(loop);
    return seen;
}

static struct seen look_as(const char *extra, enum durability durability, const char *user)
{
    struct test_redis *server = test_redis_start(extra);
    struct seen seen = look_at(server, (struct redis_promise){durability, 0}, user);
    test_redis_stop(server);
    return seen;
}

static void assert_refused(struct seen seen, const char *why, const char *remedy)
{
    assert_int_equal(seen.err, ERR_CONFLICT);
    assert_non_null(strstr(seen.refusal, why));
    assert_non_null(strstr(seen.refusal, remedy));
}

static void test_good_ones(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD, DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_string_equal(seen.refusal, "");
    assert_string_equal(seen.warnings, "");
    seen = look_as(GOOD "appendfsync always\n", DURABILITY_ALWAYS, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_string_equal(seen.warnings, "");
    seen = look_as(GOOD "appendfsync always\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
}

static void test_no_append_only_file(void **state)
{
    (void)state;
    assert_refused(look_as(GOOD "appendonly no\n", DURABILITY_EVERYSEC, NULL), "appendonly is no",
                   "CONFIG SET appendonly yes");
    assert_refused(look_as(GOOD "appendonly no\n", DURABILITY_ALWAYS, NULL), "durability = always",
                   "durability = memory");
}

static void test_weak_fsync(void **state)
{
    (void)state;
    assert_refused(look_as(GOOD, DURABILITY_ALWAYS, NULL), "appendfsync everysec is weaker",
                   "CONFIG SET appendfsync always");
    assert_refused(look_as(GOOD "appendfsync no\n", DURABILITY_EVERYSEC, NULL),
                   "appendfsync no is weaker", "CONFIG SET appendfsync everysec");
    assert_refused(look_as(GOOD "appendfsync no\n", DURABILITY_ALWAYS, NULL),
                   "appendfsync no is weaker", "CONFIG SET appendfsync always");
}

/* While Redis rewrites its file it then fsyncs nothing, under appendfsync always neither. */
static void test_fsync_that_rests_during_a_rewrite(void **state)
{
    (void)state;
    assert_refused(look_as(GOOD "appendfsync always\nno-appendfsync-on-rewrite yes\n",
                           DURABILITY_ALWAYS, NULL),
                   "no-appendfsync-on-rewrite yes", "CONFIG SET no-appendfsync-on-rewrite no");
    struct seen seen = look_as(GOOD "no-appendfsync-on-rewrite yes\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "no-appendfsync-on-rewrite yes"));
    assert_non_null(strstr(seen.warnings, "CONFIG SET no-appendfsync-on-rewrite no"));
    seen = look_as(GOOD "no-appendfsync-on-rewrite yes\n", DURABILITY_MEMORY, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_null(strstr(seen.warnings, "no-appendfsync-on-rewrite"));
}

static void test_memory_is_allowed_and_said(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD "appendonly no\n", DURABILITY_MEMORY, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "may be lost"));
}

static void test_eviction(void **state)
{
    (void)state;
    assert_refused(
        look_as(GOOD "maxmemory 100mb\nmaxmemory-policy allkeys-lru\n", DURABILITY_EVERYSEC, NULL),
        "maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction");
    assert_refused(
        look_as(GOOD "maxmemory 100mb\nmaxmemory-policy volatile-ttl\n", DURABILITY_MEMORY, NULL),
        "maxmemory-policy volatile-ttl", "noeviction");
    struct seen seen = look_as(GOOD "maxmemory-policy allkeys-lru\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "maxmemory-policy is allkeys-lru"));
    seen = look_as(GOOD "maxmemory 100mb\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_string_equal(seen.warnings, "");
}

static void test_large_stream_nodes_are_warned_of(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD "stream-node-max-bytes 4096\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "stream-node-max-bytes is 4096"));
    assert_non_null(strstr(seen.warnings, "CONFIG SET stream-node-max-bytes 256"));
}

static void test_forbidden_commands_are_warned_of(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD "user bob on >pw ~* +@all -config\n", DURABILITY_ALWAYS, "bob");
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "CONFIG GET is not permitted"));
    seen = look_as(GOOD "user bob on >pw ~* +@all -config -info\n", DURABILITY_EVERYSEC, "bob");
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "INFO is not permitted"));
    /* INFO alone still tells that there is no append-only file. */
    seen = look_as(GOOD "appendonly no\nuser bob on >pw ~* +@all -config\n", DURABILITY_EVERYSEC,
                   "bob");
    assert_refused(seen, "appendonly is no", "appendonly yes");
}

/* Not taken for a command that is forbidden: that would send the operator to the wrong place. */
static void test_a_wrong_password_is_told_as_such(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD "user bob on >other ~* +@all\n", DURABILITY_EVERYSEC, "bob");
    assert_int_not_equal(seen.err, ERR_OK);
    assert_null(strstr(seen.refusal, "permitted"));
    assert_null(strstr(seen.warnings, "permitted"));
    assert_true(strstr(seen.refusal, "WRONGPASS") || strstr(seen.refusal, "AUTH"));
}

static void test_replica_is_warned_of(void **state)
{
    (void)state;
    struct seen seen = look_as(GOOD "replicaof 127.0.0.1 1\n", DURABILITY_EVERYSEC, NULL);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "is a replica"));
}

static void test_missing_replicas_are_waited_for(void **state)
{
    (void)state;
    const struct redis_promise promise = {DURABILITY_EVERYSEC, 1};
    struct test_redis *server = test_redis_start(GOOD);
    struct seen seen = look_at(server, promise, NULL);
    assert_int_equal(seen.err, ERR_UNAVAILABLE);
    assert_non_null(strstr(seen.refusal, "wait_replicas = 1, but only 0 replicas are connected"));
    char extra[64];
    snprintf(extra, sizeof(extra), "replicaof 127.0.0.1 %d\n", test_redis_port(server));
    struct test_redis *replica = test_redis_start(extra);
    int64_t end_ms = clock_mono_ms() + 20000;
    do {
        seen = look_at(server, promise, NULL);
    } while (seen.err == ERR_UNAVAILABLE && clock_mono_ms() < end_ms);
    assert_int_equal(seen.err, ERR_OK);
    test_redis_stop(replica);
    test_redis_stop(server);
}

static void judge(const char *info, struct seen *seen)
{
    struct redis_facts facts = {.aof_enabled = -1, .maxmemory_bytes = -1, .stream_node_bytes = -1};
    struct redis_verdict verdict = {0};
    redis_facts_add_info(&facts, slice_str(info));
    redis_facts_judge(&facts, (struct redis_promise){DURABILITY_EVERYSEC, 0}, &verdict);
    seen_set(seen, &verdict);
    redis_verdict_fini(&verdict);
}

static void test_versions(void **state)
{
    (void)state;
    static const struct {
        const char *info;
        bool good;
    } cases[] = {
        {"# Server\r\nredis_version:7.0.0\r\naof_enabled:1\r\n", true},
        {"redis_version:10.2.1", true},
        {"redis_version:8.0-rc1\r\n", true},
        {"xredis_version:1\r\nredis_version:7.4.9\r\n", true},
        {"redis_version:6.2.14\r\n", false},
        {"redis_version:3\r\n", false},
        {"redis_version:seven\r\n", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = {0};
        judge(cases[i].info, &seen);
        assert_int_equal(seen.err, cases[i].good ? ERR_OK : ERR_CONFLICT);
        assert_true(cases[i].good || strstr(seen.refusal, "install Redis 7.0 or newer"));
    }
}

static void test_every_reason_is_told(void **state)
{
    (void)state;
    struct seen seen = {0};
    judge("redis_version:6.0.1\r\naof_enabled:0\r\nmaxmemory:5\r\nmaxmemory_policy:allkeys-lfu\r\n",
          &seen);
    assert_non_null(strstr(seen.refusal, "too old"));
    assert_non_null(strstr(seen.refusal, "appendonly is no"));
    assert_non_null(strstr(seen.refusal, "allkeys-lfu"));
}

static void test_one_that_is_loading_is_not_judged(void **state)
{
    (void)state;
    struct seen seen = {0};
    judge("redis_version:7.0.0\r\nloading:1\r\naof_enabled:0\r\n", &seen);
    assert_int_equal(seen.err, ERR_UNAVAILABLE);
    assert_non_null(strstr(seen.refusal, "it is loading its data"));
    judge("redis_version:7.0.0\r\nloading:0\r\naof_enabled:0\r\n", &seen);
    assert_int_equal(seen.err, ERR_CONFLICT);
}

static void test_a_failed_write_to_the_file_is_warned_of(void **state)
{
    (void)state;
    struct seen seen = {0};
    judge("redis_version:7.0.0\r\naof_enabled:1\r\naof_last_write_status:err\r\n", &seen);
    assert_int_equal(seen.err, ERR_OK);
    assert_non_null(strstr(seen.warnings, "BGREWRITEAOF"));
    judge("redis_version:7.0.0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n", &seen);
    assert_null(strstr(seen.warnings, "BGREWRITEAOF"));
}

static void test_silent_server(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct loop *loop = loop_new();
    struct redis_conf conf = {
        .address = "unix:/nonexistent/redis.sock", .connect_timeout_ms = 100, .queue_max = 100};
    struct redis *redis = redis_open(loop, &conf);
    redis_check(redis, loop_now_ms(loop) + 200, (struct redis_promise){DURABILITY_EVERYSEC, 0},
                on_verdict, &seen);
    wait_for(loop, seen.count == 1);
    assert_int_not_equal(seen.err, ERR_OK);
    assert_int_not_equal(seen.err, ERR_CONFLICT);
    assert_non_null(strstr(seen.refusal, "cannot look at Redis"));
    redis_close(redis);
    loop_turn(loop, 0);
    loop_free(loop);
}

static void test_names_of_durability(void **state)
{
    (void)state;
    enum durability durability;
    assert_int_equal(durability_parse(slice_str("always"), &durability), ERR_OK);
    assert_int_equal(durability, DURABILITY_ALWAYS);
    assert_int_equal(durability_parse(slice_str("memory"), &durability), ERR_OK);
    assert_int_equal(durability, DURABILITY_MEMORY);
    assert_int_equal(durability_parse(slice_str("often"), &durability), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones),
        cmocka_unit_test(test_no_append_only_file),
        cmocka_unit_test(test_weak_fsync),
        cmocka_unit_test(test_fsync_that_rests_during_a_rewrite),
        cmocka_unit_test(test_memory_is_allowed_and_said),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_large_stream_nodes_are_warned_of),
        cmocka_unit_test(test_forbidden_commands_are_warned_of),
        cmocka_unit_test(test_a_wrong_password_is_told_as_such),
        cmocka_unit_test(test_replica_is_warned_of),
        cmocka_unit_test(test_missing_replicas_are_waited_for),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_every_reason_is_told),
        cmocka_unit_test(test_one_that_is_loading_is_not_judged),
        cmocka_unit_test(test_a_failed_write_to_the_file_is_warned_of),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_names_of_durability),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
