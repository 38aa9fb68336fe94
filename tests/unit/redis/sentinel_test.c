/* Following a master by its sentinels, which are wrong, silent or away as a script says. */
#include "fixture.h"

#include "base/log.h"
#include "harness/fake_server.h"

enum { SENTINELS = 2, SERVERS = 4 };

/* Two sentinels and two servers that may be the master. */
struct world {
    struct fixture f;
    struct fake_server *servers[SERVERS];
    char address[256];
};

static struct fake_server *sentinel(struct world *w, int i)
{
    return w->servers[i];
}

static struct fake_server *redis(struct world *w, int i)
{
    return w->servers[SENTINELS + i];
}

static int set_up(void **state)
{
    static struct world world;
    struct world *w = &world;
    fixture_init(&w->f, w->address);
    for (int i = 0; i < SERVERS; i++) {
        w->servers[i] = fake_server_start(w->f.loop);
    }
    snprintf(w->address, sizeof(w->address), "sentinel://%s,%s/mymaster",
             fake_server_address(sentinel(w, 0)), fake_server_address(sentinel(w, 1)));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < SERVERS; i++) {
        fake_server_stop(w->servers[i]);
    }
    fixture_fini(&w->f);
    return 0;
}

#define ASK "EXPECT SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\n"

/* The sentinel is asked, and names this server. */
static void names(struct world *w, int which, int server)
{
    char script[256];
    const char *port = strrchr(fake_server_address(redis(w, server)), ':') + 1;
    snprintf(script, sizeof(script),
             "ACCEPT\n" ASK "SEND *2\\r\\n$9\\r\\n127.0.0.1\\r\\n$%zu\\r\\n%s\\r\\n\nGONE",
             strlen(port), port);
    fake_server_play(sentinel(w, which), script);
}

#define MASTER  "*3\\r\\n$6\\r\\nmaster\\r\\n:100\\r\\n*0\\r\\n"
#define REPLICA "*5\\r\\n$5\\r\\nslave\\r\\n$1\\r\\nx\\r\\n:1\\r\\n$9\\r\\nconnected\\r\\n:1\\r\\n"

/* The sentinel names the server, that says that it is a master, the sentinel does not deny it. */
static void is_master(struct world *w, int which, int server)
{
    names(w, which, server);
    fake_server_play(redis(w, server), "ACCEPT\nEXPECT ROLE\nSEND " MASTER);
    names(w, which, server);
}

static void assert_answer(const struct answer *answer, enum err err, const char *part)
{
    assert_int_equal(answer->count, 1);
    assert_string_equal(err_text(answer->err), err_text(err));
    if (!strstr(answer->text, part)) {
        fail_msg("'%s' does not tell '%s'", answer->text, part);
    }
}

static void the_master_is_asked_for_and_has_to_say_so(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fixture_open(&w->f);
    tell(&w->f, "PING", &answer);
    names(w, 0, 0);
    fake_server_play(redis(w, 0), "ACCEPT\nEXPECT ROLE\nNOTHING\nSEND " MASTER "\nNOTHING");
    names(w, 0, 0);
    fake_server_play(redis(w, 0), "EXPECT PING\nSEND +PONG\\r\\n");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_OK, "PONG");
    assert_true(redis_is_connected(w->f.redis));
}

static void the_handshake_is_that_of_the_master(void **state)
{
    struct world *w = *state;
    w->f.conf.user = "bob";
    w->f.conf.password = "secret";
    w->f.conf.db = 3;
    fixture_open(&w->f);
    names(w, 0, 1);
    fake_server_play(redis(w, 1), "ACCEPT\nEXPECT AUTH bob secret\nSEND +OK\\r\\n\n"
                                  "EXPECT SELECT 3\nSEND +OK\\r\\n\nEXPECT ROLE\nSEND " MASTER);
    names(w, 0, 1);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void a_sentinel_that_does_not_know_the_master_is_passed_over(void **state)
{
    struct world *w = *state;
    fixture_open(&w->f);
    fake_server_play(sentinel(w, 0), "ACCEPT\n" ASK "SEND *-1\\r\\n\nGONE");
    is_master(w, 1, 0);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void a_sentinel_that_is_silent_or_away_is_passed_over(void **state)
{
    struct world *w = *state;
    w->f.conf.connect_timeout_ms = 300;
    fixture_open(&w->f);
    fake_server_play(sentinel(w, 0), "ACCEPT\n" ASK "GONE");
    is_master(w, 1, 0);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    fake_server_play(sentinel(w, 0), "REFUSE");
    fake_server_play(redis(w, 0), "CLOSE");
    is_master(w, 1, 1);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void when_no_sentinel_knows_the_master_it_is_said(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fake_server_play(sentinel(w, 1), "REFUSE");
    fixture_open(&w->f);
    tell_until(&w->f, "PING", in_ms(&w->f, 200), &answer);
    fake_server_play(sentinel(w, 0), "ACCEPT\n" ASK "SEND *-1\\r\\n\nGONE");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_CONNECT, "knows no master 'mymaster'");
    assert_int_equal(redis_round_trips(w->f.redis), 0);
}

static void a_sentinel_with_a_password_is_told_as_such(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fake_server_play(sentinel(w, 1), "REFUSE");
    fixture_open(&w->f);
    tell_until(&w->f, "PING", in_ms(&w->f, 200), &answer);
    fake_server_play(sentinel(w, 0),
                     "ACCEPT\n" ASK "SEND -NOAUTH Authentication required.\\r\\n\nGONE");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_CONNECT, "sentinels with a password are not supported");
}

/* The first sentinel is behind, and stays so: the other one is asked next. */
static void a_replica_that_a_sentinel_names_gets_no_command(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fixture_open(&w->f);
    tell(&w->f, "INCR n", &answer);
    names(w, 0, 0);
    fake_server_play(redis(w, 0), "ACCEPT\nEXPECT ROLE\nSEND " REPLICA "\nGONE");
    is_master(w, 1, 1);
    fake_server_play(redis(w, 1), "EXPECT INCR n\nSEND :1\\r\\n");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_OK, "");
    assert_int_equal(answer.integer, 1);
}

static void a_lost_connection_and_readonly_ask_again(void **state)
{
    struct world *w = *state;
    struct answer lost = {0}, refused = {0}, last = {0};
    fixture_open(&w->f);
    is_master(w, 0, 0);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    tell(&w->f, "INCR n", &lost);
    fake_server_play(redis(w, 0), "EXPECT INCR n\nRESET");
    wait_for(w->f.loop, lost.count);
    tell(&w->f, "INCR n", &refused);
    is_master(w, 1, 1);
    fake_server_play(redis(w, 1), "EXPECT INCR n\nSEND -READONLY replica\\r\\n\nGONE");
    tell(&w->f, "INCR n", &last);
    is_master(w, 0, 0);
    fake_server_play(redis(w, 0), "EXPECT INCR n\nSEND :1\\r\\n");
    wait_for(w->f.loop, last.count);
    assert_answer(&lost, ERR_CLOSED, "");
    assert_answer(&refused, ERR_UNAVAILABLE, "READONLY");
    assert_answer(&last, ERR_OK, "");
}

/* It hung, was replaced, and answers ROLE when it wakes up. */
static void a_master_that_was_replaced_meanwhile_gets_no_command(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fixture_open(&w->f);
    tell(&w->f, "INCR n", &answer);
    names(w, 0, 0);
    fake_server_play(redis(w, 0), "ACCEPT\nEXPECT ROLE\nSEND " MASTER);
    names(w, 0, 1);
    fake_server_play(redis(w, 0), "GONE");
    is_master(w, 1, 1);
    fake_server_play(redis(w, 1), "EXPECT INCR n\nSEND :1\\r\\n");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_OK, "");
}

/* Nothing is wrong with the connection, nor with what the old one says. */
static void another_master_is_followed_within_a_second(void **state)
{
    struct world *w = *state;
    struct answer old = {0}, next = {0};
    fixture_open(&w->f);
    is_master(w, 0, 0);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    names(w, 0, 0); /* the first look */
    tell(&w->f, "GET a", &old);
    fake_server_play(redis(w, 0), "EXPECT GET a");
    names(w, 0, 1); /* the second */
    tell(&w->f, "GET b", &next);
    fake_server_play(redis(w, 0), "NOTHING\nSEND +a\\r\\n\nGONE");
    assert_answer(&old, ERR_OK, "a");
    is_master(w, 1, 1);
    fake_server_play(redis(w, 1), "EXPECT GET b\nSEND +b\\r\\n");
    wait_for(w->f.loop, next.count);
    assert_answer(&next, ERR_OK, "b");
}

static void role_that_is_not_permitted_is_told(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    fixture_open(&w->f);
    tell(&w->f, "PING", &answer);
    names(w, 0, 0);
    fake_server_play(redis(w, 0), "ACCEPT\nEXPECT ROLE\nSEND -NOPERM no role\\r\\n\nGONE");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_DENIED, "the user needs +role");
}

/* The master is dead and its sentinels have not agreed yet. */
static void a_dead_master_is_not_asked_for_in_a_tight_loop(void **state)
{
    struct world *w = *state;
    fake_server_play(redis(w, 0), "REFUSE");
    fixture_open(&w->f);
    int64_t begin_ms = clock_mono_ms();
    for (int i = 0; i < 6; i++) {
        names(w, i % SENTINELS, 0);
    }
    /* Between six questions lie at least half of 50 + 100 + 200 + 400 + 500 ms. */
    assert_true(clock_mono_ms() - begin_ms >= 625);
}

static void closing_is_safe_at_every_step(void **state)
{
    static const char *const steps[] = {"", "ACCEPT", "ACCEPT\n" ASK};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) + 1; i++) {
        struct answer answer = {0};
        fixture_open(&w->f);
        tell(&w->f, "PING", &answer);
        if (i < sizeof(steps) / sizeof(steps[0])) {
            fake_server_play(sentinel(w, 0), steps[i]);
        } else {
            names(w, 0, 0);
            fake_server_play(redis(w, 0), "ACCEPT\nEXPECT ROLE");
        }
        redis_close(w->f.redis);
        w->f.redis = NULL;
        loop_turn(w->f.loop, 0);
        assert_answer(&answer, ERR_CANCELLED, "closed");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_master_is_asked_for_and_has_to_say_so),
        TEST(the_handshake_is_that_of_the_master),
        TEST(a_sentinel_that_does_not_know_the_master_is_passed_over),
        TEST(a_sentinel_that_is_silent_or_away_is_passed_over),
        TEST(when_no_sentinel_knows_the_master_it_is_said),
        TEST(a_sentinel_with_a_password_is_told_as_such),
        TEST(a_replica_that_a_sentinel_names_gets_no_command),
        TEST(a_lost_connection_and_readonly_ask_again),
        TEST(a_master_that_was_replaced_meanwhile_gets_no_command),
        TEST(another_master_is_followed_within_a_second),
        TEST(role_that_is_not_permitted_is_told),
        TEST(a_dead_master_is_not_asked_for_in_a_tight_loop),
        TEST(closing_is_safe_at_every_step),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
