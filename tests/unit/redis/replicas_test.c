/* Durable scripts: told when replicas have what they did and what they read. A master and a replica
 * for what Redis does, a scripted server for the order of things. */
#include "fixture.h"

#include "base/log.h"
#include "base/mem.h"
#include "harness/fake_server.h"
#include "harness/test_redis.h"

#include <stdlib.h>

static const struct redis_script add = {
    .name = "add",
    .text = "return {'OK', {redis.call('INCRBY', KEYS[1], ARGV[1])}}",
    .len = 55,
    .sha1 = "2e2400a4c6f0ee3aaad5977d2af97ed16155dcf3",
    .keys = 1,
};
static const struct redis_script look = {
    .name = "look",
    .text = "return {'OK', {redis.call('GET', KEYS[1])}}",
    .len = 43,
    .sha1 = "ed8e3c10cd50370ede865c9ade4514b53330f2da",
    .keys = 1,
};

/* What the callbacks of durable scripts saw, in their order. */
struct told {
    int count, ok;
    enum err err;
    int64_t number; /* in the last reply */
    char text[128];
};

static void on_told(void *arg, const struct redis_result *result)
{
    struct told *told = arg;
    told->count++;
    told->err = result->err;
    snprintf(told->text, sizeof(told->text), "%s", result->message);
    if (result->err == ERR_OK) {
        const struct redis_value *inner = redis_value_at(result->value, 1);
        assert_true(slice_eq_str(redis_value_str(redis_value_at(result->value, 0)), "OK"));
        told->number = redis_value_int(redis_value_at(inner, 0));
        told->ok++;
    }
}

static void run_on(struct fixture *f, const char *key, const struct redis_script *script,
                   int64_t deadline_ms, struct told *told)
{
    struct slice keys = slice_str(key);
    struct slice one = SLICE_LIT("1");
    struct redis_eval eval = {
        .script = script, .keys = &keys, .args = &one, .arg_count = 1, .is_durable = true};
    redis_eval(f->redis, deadline_ms, &eval, on_told, told);
}

static void run(struct fixture *f, const struct redis_script *script, int64_t deadline_ms,
                struct told *told)
{
    run_on(f, "n", script, deadline_ms, told);
}

/* ---- with a real replica ---- */

struct pair {
    struct fixture f;
    struct test_redis *master, *replica;
};

static void await_replica(const struct pair *pair)
{
    wait_for(pair->f.loop,
             strstr(test_redis_ask(pair->master, "INFO replication"), "state=online"));
}

static int set_up_pair(void **state)
{
    struct pair *pair = mem_new(struct pair);
    char extra[128];
    pair->master = test_redis_start("repl-diskless-sync-delay 0\n");
    snprintf(extra, sizeof(extra), "replicaof 127.0.0.1 %d\n", test_redis_port(pair->master));
    pair->replica = test_redis_start(extra);
    fixture_init(&pair->f, test_redis_unix(pair->master));
    pair->f.conf.wait_replicas = 1;
    pair->f.conf.wait_ms = PATIENCE_MS;
    await_replica(pair);
    *state = pair;
    return 0;
}

static int tear_down_pair(void **state)
{
    struct pair *pair = *state;
    test_redis_resume(pair->replica);
    fixture_fini(&pair->f);
    test_redis_stop(pair->replica);
    test_redis_stop(pair->master);
    free(pair);
    return 0;
}

static void a_script_is_told_when_the_replica_has_it(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    fixture_open(f);
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    assert_int_equal(told.ok, 1);
    assert_string_equal(test_redis_ask(pair->replica, "GET n"), "1");
    test_redis_pause(pair->replica);
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, strcmp(test_redis_ask(pair->master, "GET n"), "2") == 0);
    loop_turn(f->loop, 100);
    assert_int_equal(told.count, 1); /* the master has it, that is not enough */
    test_redis_resume(pair->replica);
    wait_for(f->loop, told.count == 2);
    assert_int_equal(told.ok, 2);
    assert_int_equal(told.number, 2);
    assert_string_equal(test_redis_ask(pair->replica, "GET n"), "2");
}

static void without_replicas_the_effect_is_unknown(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    f->conf.wait_ms = 100;
    fixture_open(f);
    test_redis_pause(pair->replica);
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_TIMEOUT));
    assert_string_equal(told.text, "only 0 of 1 replicas have confirmed it within 100 ms");
    assert_true(redis_is_connected(f->redis));
    test_redis_resume(pair->replica);
    do { /* it catches up */
        told = (struct told){0};
        run(f, &look, in_ms(f, PATIENCE_MS), &told);
        wait_for(f->loop, told.count == 1);
    } while (told.err != ERR_OK);
    assert_int_equal(told.number, 1);
}

/* What it reads, another connection has written. It writes nothing itself. */
static void a_reader_waits_for_what_others_have_written(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    f->conf.wait_ms = 500;
    fixture_open(f);
    do { /* it has just been connected */
        told = (struct told){0};
        run(f, &look, in_ms(f, PATIENCE_MS), &told);
        wait_for(f->loop, told.count == 1);
    } while (told.err != ERR_OK);
    test_redis_pause(pair->replica);
    assert_string_equal(test_redis_ask(pair->master, "SET n 7"), "OK");
    run(f, &look, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 2);
    assert_string_equal(err_text(told.err), err_text(ERR_TIMEOUT));
    /* nor does it help to come back over a new connection */
    tell(f, "QUIT", NULL);
    do {
        told = (struct told){0};
        run(f, &look, in_ms(f, PATIENCE_MS), &told);
        wait_for(f->loop, told.count > 0);
    } while (told.err == ERR_CLOSED);
    assert_string_equal(err_text(told.err), err_text(ERR_TIMEOUT));
}

static void scripts_of_one_turn_share_one_wait(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    fixture_open(f);
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    uint64_t before = redis_round_trips(f->redis);
    for (int i = 0; i < 1000; i++) {
        run(f, &add, in_ms(f, PATIENCE_MS), &told);
    }
    wait_for(f->loop, told.count == 1001);
    assert_int_equal(told.ok, 1001);
    assert_int_equal(told.number, 1001);
    assert_int_equal(redis_round_trips(f->redis), before + 1002); /* a mark and a WAIT */
}

static void check_look(struct pair *pair, const char *key)
{
    struct fixture *f = &pair->f;
    struct told told = {0};
    run_on(f, key, &look, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    assert_string_equal(told.text, "");
}

/* Since Redis 7.2 WAIT waits for the last write of its connection alone. A script that only reads
 * is followed by a write, which the replica has when it is told, and which changes nothing. */
static void a_reader_is_followed_by_a_write_that_changes_nothing(void **state)
{
    static const struct {
        const char *make, *key, *seen;
    } cases[] = {
        {NULL, "gone", "cmdstat_set:calls=1"},
        {"SET kept 1", "kept", "cmdstat_persist:calls=1"},
        {"SET timed 1 PXAT 4102444800123", "timed", "cmdstat_pexpireat:calls=1"},
    };
    struct pair *pair = *state;
    fixture_open(&pair->f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (cases[i].make) {
            assert_string_equal(test_redis_ask(pair->master, "%s", cases[i].make), "OK");
        }
        check_look(pair, cases[i].key); /* what made it has arrived */
        assert_string_equal(test_redis_ask(pair->replica, "CONFIG RESETSTAT"), "OK");
        check_look(pair, cases[i].key);
        assert_non_null(strstr(test_redis_ask(pair->replica, "INFO commandstats"), cases[i].seen));
    }
    struct test_redis *both[] = {pair->master, pair->replica};
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(test_redis_ask(both[i], "DBSIZE"), "2");
        assert_string_equal(test_redis_ask(both[i], "GET kept"), "1");
        assert_string_equal(test_redis_ask(both[i], "PEXPIRETIME kept"), "-1");
        assert_string_equal(test_redis_ask(both[i], "PEXPIRETIME timed"), "4102444800123");
    }
}

static void readers_are_told_when_redis_is_full(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    fixture_open(f);
    check_look(pair, "n");
    assert_string_equal(test_redis_ask(pair->master, "CONFIG SET maxmemory 1"), "OK");
    check_look(pair, "n");
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_UNAVAILABLE));
}

/* There is no other key that the ACL of a program would have to name. */
static void a_user_needs_no_key_but_the_script_s(void **state)
{
    struct pair *pair = *state;
    pair->f.conf.user = "bob";
    pair->f.conf.password = "pw";
    assert_string_equal(test_redis_ask(pair->master, "ACL SETUSER bob on >pw ~n -@all +@read "
                                                     "+@write +@scripting +@connection +wait"),
                        "OK");
    fixture_open(&pair->f);
    check_look(pair, "n");
}

/* An ACL that permits one half of the write that precedes WAIT, and not the other. */
static void a_write_that_is_half_permitted_does_no_damage(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    f->conf.user = "bob";
    f->conf.password = "pw";
    assert_string_equal(
        test_redis_ask(pair->master, "ACL SETUSER bob on >pw ~* +@all -persist -del"), "OK");
    assert_string_equal(test_redis_ask(pair->master, "SET n 1"), "OK");
    fixture_open(f);
    run(f, &look, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 1);
    run_on(f, "gone", &look, in_ms(f, PATIENCE_MS), &told);
    wait_for(f->loop, told.count == 2);
    assert_string_equal(test_redis_ask(pair->master, "GET n"), "1");
    assert_string_equal(test_redis_ask(pair->master, "EXPIRETIME n"), "253402300799");
    wait_for(f->loop, strcmp(test_redis_ask(pair->master, "EXISTS gone"), "0") == 0);
}

/* Those who are held fill the queue; WAIT goes out all the same, and frees it. */
static void a_queue_that_is_full_is_told_and_emptied(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    f->conf.queue_max = 100;
    fixture_open(f);
    check_look(pair, "n");
    for (int round = 0; round < 3; round++) {
        struct told told = {0};
        for (int i = 0; i < 400; i++) {
            run(f, &add, in_ms(f, PATIENCE_MS), &told);
        }
        wait_for(f->loop, told.count == 400);
        assert_int_equal(told.ok, 100);
        assert_int_equal(told.number, 100 * (round + 1));
    }
}

/* A script that goes out once more, with its text, stands behind the WAIT of the others. */
static void a_flushed_script_has_a_wait_of_its_own(void **state)
{
    struct pair *pair = *state;
    struct fixture *f = &pair->f;
    struct told told = {0};
    fixture_open(f);
    for (int i = 0; i < 20; i++) {
        tell(f, "SCRIPT FLUSH", NULL);
        run(f, &add, in_ms(f, PATIENCE_MS), &told);
        wait_for(f->loop, told.count == i + 1);
        assert_int_equal(told.ok, i + 1);
        assert_int_equal(told.number, i + 1);
    }
}

/* ---- the order of things ---- */

struct scripted {
    struct fixture f;
    struct fake_server *server;
};

static int set_up_scripted(void **state)
{
    static struct scripted scripted;
    fixture_init(&scripted.f, "");
    scripted.server = fake_server_start(scripted.f.loop);
    scripted.f.conf.address = fake_server_address(scripted.server);
    scripted.f.conf.wait_replicas = 2;
    scripted.f.conf.wait_ms = 300;
    *state = &scripted;
    return 0;
}

static int tear_down_scripted(void **state)
{
    struct scripted *scripted = *state;
    fake_server_stop(scripted->server);
    fixture_fini(&scripted->f);
    return 0;
}

static struct fixture *connect_to(void **state, struct fake_server **server)
{
    struct scripted *scripted = *state;
    struct fixture *f = &scripted->f;
    *server = scripted->server;
    fixture_open(f);
    fake_server_play(*server, "ACCEPT");
    wait_for(f->loop, redis_is_connected(f->redis));
    return f;
}

/* A write on the key of a script, in front of each WAIT. */
#define MARK    "EXPECT EVAL ** 1 n\n"
#define REFUSED "SEND -NOPERM no permissions to run the 'persist' command\\r\\n\n"
#define ADDED   "SEND *2\\r\\n$2\\r\\nOK\\r\\n*1\\r\\n:1\\r\\n\n"

static void a_second_wait_follows_when_the_first_is_answered(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told first = {0}, second = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &first);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED);
    run(f, &add, in_ms(f, PATIENCE_MS), &second);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\nNOTHING");
    assert_int_equal(first.count, 0);
    fake_server_play(server, "SEND :1\\r\\n:2\\r\\n");
    wait_for(f->loop, first.count == 1);
    assert_int_equal(first.ok, 1);
    fake_server_play(server, MARK "EXPECT WAIT 2 300\n" ADDED "SEND :1\\r\\n:1\\r\\n");
    wait_for(f->loop, second.count == 1);
    assert_string_equal(second.text, "only 1 of 2 replicas have confirmed it within 300 ms");
    assert_int_equal(first.count, 1);
    fake_server_play(server, "NOTHING");
}

/* The next connection may lead to another server, whose replicas know nothing of it. */
static void a_wait_never_speaks_for_another_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told lost = {0}, next = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &lost);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED "CLOSE");
    wait_for(f->loop, lost.count == 1);
    assert_string_equal(err_text(lost.err), err_text(ERR_CLOSED));
    run(f, &add, in_ms(f, PATIENCE_MS), &next);
    fake_server_play(server, "ACCEPT\nEXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED
                             "SEND :1\\r\\n:2\\r\\n");
    wait_for(f->loop, next.count == 1);
    assert_int_equal(next.ok, 1);
    assert_int_equal(lost.count, 1);
}

/* Without it WAIT may have waited for nothing. */
static void a_mark_that_is_refused_fails_what_is_held(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED REFUSED
                             "SEND :2\\r\\n");
    /* it may have been that key alone: once more, with one that has served a script */
    fake_server_play(server, MARK "EXPECT WAIT 2 300\n" REFUSED "SEND :2\\r\\n");
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_TIMEOUT));
    assert_string_equal(told.text, "replicas cannot be waited for: NOPERM no permissions to run "
                                   "the 'persist' command");
    fake_server_play(server, "NOTHING");
}

#define MOVED "SEND -MOVED 7 127.0.0.1:1\\r\\n\n"

static void a_key_that_is_refused_is_no_harm_to_other_scripts(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told good = {0}, moved = {0};
    run_on(f, "good", &add, in_ms(f, PATIENCE_MS), &good);
    run_on(f, "moved", &add, in_ms(f, PATIENCE_MS), &moved);
    fake_server_play(server, "EXPECT EVALSHA * 1 good 1\nEXPECT EVALSHA * 1 moved 1\n"
                             "EXPECT EVAL ** 1 moved\nEXPECT WAIT 2 300\n" ADDED MOVED MOVED
                             "SEND :2\\r\\n");
    wait_for(f->loop, moved.count == 1);
    assert_string_equal(err_text(moved.err), err_text(ERR_SCRIPT));
    assert_int_equal(good.count, 0);
    fake_server_play(server, "EXPECT EVAL ** 1 good\nEXPECT WAIT 2 300\n"
                             "SEND :1\\r\\n:2\\r\\n");
    wait_for(f->loop, good.count == 1);
    assert_int_equal(good.ok, 1);
    run_on(f, "moved", &add, in_ms(f, PATIENCE_MS), &moved);
    fake_server_play(server, "EXPECT EVALSHA * 1 moved 1\nEXPECT EVAL ** 1 moved\n"
                             "EXPECT WAIT 2 300\n" MOVED MOVED "SEND :2\\r\\n\nNOTHING");
    assert_int_equal(moved.count, 2);
}

static void the_queue_s_limit_does_not_count_for_wait(void **state)
{
    struct scripted *scripted = *state;
    struct fake_server *server;
    scripted->f.conf.queue_max = 1;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0}, busy = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    run(f, &add, in_ms(f, PATIENCE_MS), &busy);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED
                             "SEND :1\\r\\n:2\\r\\n");
    wait_for(f->loop, told.count == 1 && busy.count == 1);
    assert_int_equal(told.ok, 1);
    assert_string_equal(err_text(busy.err), err_text(ERR_BUSY));
}

static void errors_do_not_wait(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\nSEND -OOM no room\\r\\n");
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_UNAVAILABLE));
}

static void a_deadline_ends_also_what_is_held(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0};
    run(f, &add, in_ms(f, 100), &told);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED);
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_TIMEOUT));
    fake_server_play(server, "SEND :1\\r\\n:2\\r\\n");
    tell(f, "PING", NULL);
    fake_server_play(server, "EXPECT PING");
    assert_int_equal(told.count, 1);
}

static void closing_cancels_what_is_held(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0};
    struct answer ping = {0};
    run(f, &add, in_ms(f, PATIENCE_MS), &told);
    fake_server_play(server, "EXPECT EVALSHA * 1 n 1\n" MARK "EXPECT WAIT 2 300\n" ADDED);
    tell(f, "PING", &ping);
    fake_server_play(server, "EXPECT PING");
    redis_close(f->redis);
    f->redis = NULL;
    assert_int_equal(told.count, 0);
    wait_for(f->loop, told.count == 1);
    assert_string_equal(err_text(told.err), err_text(ERR_CANCELLED));
}

static void what_is_not_durable_does_not_wait(void **state)
{
    struct fake_server *server;
    struct fixture *f = connect_to(state, &server);
    struct told told = {0};
    struct slice key = SLICE_LIT("n");
    struct redis_eval eval = {.script = &look, .keys = &key};
    redis_eval(f->redis, in_ms(f, PATIENCE_MS), &eval, on_told, &told);
    fake_server_play(server, "EXPECT EVALSHA * 1 n\n" ADDED);
    wait_for(f->loop, told.count == 1);
    assert_int_equal(told.ok, 1);
    fake_server_play(server, "NOTHING");
}

int main(void)
{
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, set_up_pair, tear_down_pair)
#define WITH_SCRIPTED(test)                                                                        \
    cmocka_unit_test_setup_teardown(test, set_up_scripted, tear_down_scripted)
    const struct CMUnitTest tests[] = {
        WITH_PAIR(a_script_is_told_when_the_replica_has_it),
        WITH_PAIR(without_replicas_the_effect_is_unknown),
        WITH_PAIR(a_reader_waits_for_what_others_have_written),
        WITH_PAIR(scripts_of_one_turn_share_one_wait),
        WITH_PAIR(a_reader_is_followed_by_a_write_that_changes_nothing),
        WITH_PAIR(readers_are_told_when_redis_is_full),
        WITH_PAIR(a_user_needs_no_key_but_the_script_s),
        WITH_PAIR(a_write_that_is_half_permitted_does_no_damage),
        WITH_PAIR(a_queue_that_is_full_is_told_and_emptied),
        WITH_PAIR(a_flushed_script_has_a_wait_of_its_own),
        WITH_SCRIPTED(a_second_wait_follows_when_the_first_is_answered),
        WITH_SCRIPTED(a_wait_never_speaks_for_another_connection),
        WITH_SCRIPTED(a_mark_that_is_refused_fails_what_is_held),
        WITH_SCRIPTED(a_key_that_is_refused_is_no_harm_to_other_scripts),
        WITH_SCRIPTED(the_queue_s_limit_does_not_count_for_wait),
        WITH_SCRIPTED(errors_do_not_wait),
        WITH_SCRIPTED(a_deadline_ends_also_what_is_held),
        WITH_SCRIPTED(closing_cancels_what_is_held),
        WITH_SCRIPTED(what_is_not_durable_does_not_wait),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
