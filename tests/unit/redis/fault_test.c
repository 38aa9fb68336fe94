/* The client against a server that misbehaves as a script says. */
#include "fixture.h"

#include "base/log.h"
#include "harness/fake_server.h"

struct fault_fixture {
    struct fixture f;
    struct fake_server *server;
};

static int set_up(void **state)
{
    static struct fault_fixture fixture;
    fixture_init(&fixture.f, "");
    fixture.server = fake_server_start(fixture.f.loop);
    fixture.f.conf.address = fake_server_address(fixture.server);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fault_fixture *fixture = *state;
    fake_server_stop(fixture->server);
    fixture_fini(&fixture->f);
    return 0;
}

static struct fixture *open_client(void **state, struct fake_server **server)
{
    struct fault_fixture *fixture = *state;
    *server = fixture->server;
    fixture_open(&fixture->f);
    return &fixture->f;
}

static void assert_answer(const struct answer *answer, enum err err, const char *text)
{
    assert_int_equal(answer->count, 1);
    assert_string_equal(err_text(answer->err), err_text(err));
    assert_string_equal(answer->text, text);
}

static const struct redis_script echo = {
    .name = "echo",
    .text = "return ARGV[1]",
    .len = 14,
    .sha1 = "098e0f0d1448c0a81dafe820f66d460eb09263da",
    .keys = 1,
};

static void eval(struct fixture *f, const char *key, const char *arg, int64_t deadline_ms,
                 struct answer *answer)
{
    struct slice key_slice = slice_str(key);
    struct slice arg_slice = slice_str(arg);
    struct redis_eval call = {&echo, &key_slice, &arg_slice, 1, false};
    redis_eval(f->redis, deadline_ms, &call, on_answer, answer);
}

static void commands_of_one_turn_leave_in_one_write(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answers[101] = {0};
    fake_server_play(server, "ACCEPT");
    wait_for(f->loop, redis_is_connected(f->redis));
    for (int i = 0; i < 100; i++) {
        tell(f, "PING", &answers[i]);
    }
    fake_server_play(server, "EXPECT PING");
    assert_int_equal(fake_server_segments(server), 1);
    for (int i = 1; i < 100; i++) {
        fake_server_play(server, "EXPECT PING");
    }
    /* The probe does see a second write. */
    tell(f, "PING", &answers[100]);
    fake_server_play(server, "EXPECT PING");
    assert_int_equal(fake_server_segments(server), 2);
}

static void no_callback_comes_inside_the_call(void **state)
{
    struct fault_fixture *fixture = *state;
    struct fake_server *server;
    fixture->f.conf.queue_max = 1;
    struct fixture *f = open_client(state, &server);
    struct answer waits = {0};
    struct answer busy = {0};
    struct answer late = {0};
    tell_until(f, "PING", in_ms(f, 0), &late);
    assert_int_equal(late.count, 0);
    tell(f, "PING", &waits);
    tell(f, "PING", &busy);
    assert_int_equal(busy.count, 0);
    loop_turn(f->loop, 0);
    assert_answer(&late, ERR_TIMEOUT, "its deadline had passed before it was sent");
    assert_answer(&busy, ERR_BUSY, "too many commands for Redis are pending");
    fake_server_play(server, "ACCEPT\nEXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, waits.count);
    assert_answer(&waits, ERR_OK, "PONG");
}

/* The deadline holds although the client keeps writing (hiredis' own timeout would not). */
static void a_silent_peer_is_given_up_at_the_deadline(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer first = {0}, second = {0}, other = {0};
    fake_server_play(server, "ACCEPT");
    wait_for(f->loop, redis_is_connected(f->redis));
    int64_t begin_ms = clock_mono_ms();
    tell_until(f, "PING", in_ms(f, 300), &first);
    tell_until(f, "PING", in_ms(f, 400), &second);
    while (first.count == 0) {
        assert_true(clock_mono_ms() - begin_ms < PATIENCE_MS);
        tell(f, "INCR n", NULL);
        loop_turn(f->loop, 10);
    }
    assert_true(clock_mono_ms() - begin_ms >= 300);
    assert_answer(&first, ERR_TIMEOUT, "no reply in time");
    assert_answer(&second, ERR_CLOSED, "no reply in time");
    tell(f, "PING", &other);
    fake_server_play(server, "GONE\nACCEPT\nEXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, other.count);
    assert_answer(&other, ERR_OK, "PONG");
}

static void a_shorter_deadline_behind_a_longer_one_holds_too(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer slow = {0}, quick = {0}, next = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "EVAL slow", &slow);
    tell_until(f, "GET a", in_ms(f, 30), &quick);
    tell(f, "GET b", &next);
    wait_for(f->loop, quick.count);
    assert_answer(&quick, ERR_TIMEOUT, "no reply in time");
    assert_int_equal(slow.count, 0);
    /* The connection lives on, and the late reply is not taken for the next command's. */
    fake_server_play(server, "EXPECT EVAL slow\nEXPECT GET a\nEXPECT GET b\n"
                             "SEND +slow\\r\\n+late\\r\\n+b\\r\\n");
    wait_for(f->loop, next.count);
    assert_answer(&slow, ERR_OK, "slow");
    assert_answer(&next, ERR_OK, "b");
    assert_int_equal(quick.count, 1);
}

/* Nobody waits for that reply any more, but those behind it shall not wait for ever. */
static void a_late_reply_that_never_comes_ends_the_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer slow = {0}, quick = {0}, next = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "EVAL slow", &slow);
    tell_until(f, "GET a", in_ms(f, 30), &quick);
    tell(f, "GET b", &next);
    wait_for(f->loop, quick.count);
    fake_server_play(server, "SEND +slow\\r\\n");
    wait_for(f->loop, next.count);
    assert_answer(&slow, ERR_OK, "slow");
    assert_answer(&next, ERR_CLOSED, "no reply in time");
    assert_true(next.elapsed_us < 9 * 1000 * 1000); /* long before its own deadline */
}

/* A reply that was begun in time keeps the connection; when the rest never comes, it goes. */
static void half_a_reply_and_then_silence_ends_the_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer half = {0}, behind = {0};
    fake_server_play(server, "ACCEPT");
    tell_until(f, "GET a", in_ms(f, 500), &half);
    tell(f, "GET b", &behind);
    fake_server_play(server, "EXPECT GET a\nEXPECT GET b\nSEND $10\\r\\nhal");
    wait_for(f->loop, half.count);
    assert_answer(&half, ERR_TIMEOUT, "no reply in time");
    wait_for(f->loop, behind.count);
    assert_answer(&behind, ERR_CLOSED, "no reply in time");
    fake_server_play(server, "GONE\nACCEPT");
}

static void a_reply_in_pieces_is_one_reply(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer first = {0}, second = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "GET a", &first);
    tell(f, "GET b", &second);
    fake_server_play(server,
                     "EXPECT GET a\nEXPECT GET b\nSEND $5\nNOTHING\nSEND \\r\\nhel\nNOTHING\n"
                     "SEND lo\\r\nNOTHING\nSEND \\n+se\nNOTHING\nSEND cond\\r\\n");
    wait_for(f->loop, second.count);
    assert_answer(&first, ERR_OK, "hello");
    assert_answer(&second, ERR_OK, "second");
}

static void each_callback_comes_once_when_the_connection_drops(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answers[10] = {0}, after = {0};
    fake_server_play(server, "ACCEPT");
    for (int i = 0; i < 10; i++) {
        tell(f, "INCR n", &answers[i]);
    }
    for (int i = 0; i < 10; i++) {
        fake_server_play(server, "EXPECT INCR n");
    }
    fake_server_play(server, "SEND :1\\r\\n:2\\r\\n:3\\r\\n:\nCLOSE");
    wait_for(f->loop, answers[9].count);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answers[i].err, ERR_OK);
        assert_int_equal(answers[i].integer, i + 1);
    }
    for (int i = 3; i < 10; i++) {
        assert_answer(&answers[i], ERR_CLOSED, "closed by the server");
    }
    tell(f, "GET n", &after);
    fake_server_play(server, "ACCEPT\nEXPECT GET n\nSEND :10\\r\\n");
    wait_for(f->loop, after.count);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(answers[i].count, 1);
    }
}

static void a_reset_is_a_closed_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "INCR n", &answer);
    fake_server_play(server, "EXPECT INCR n\nRESET");
    wait_for(f->loop, answer.count);
    assert_answer(&answer, ERR_CLOSED, "Connection reset by peer");
}

static void errors_are_classified_by_their_first_word(void **state)
{
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {"LOADING Redis is loading the dataset in memory", ERR_UNAVAILABLE},
        {"BUSY Redis is busy running a script.", ERR_UNAVAILABLE},
        {"CLUSTERDOWN The cluster is down", ERR_UNAVAILABLE},
        {"TRYAGAIN Multiple keys request during rehashing of slot", ERR_UNAVAILABLE},
        {"MASTERDOWN Link with MASTER is down", ERR_UNAVAILABLE},
        {"OOM command not allowed when used memory > 'maxmemory'.", ERR_UNAVAILABLE},
        {"NOREPLICAS Not enough good replicas to write.", ERR_UNAVAILABLE},
        {"MISCONF Errors writing to the AOF file", ERR_UNAVAILABLE},
        {"ERR max number of clients reached", ERR_UNAVAILABLE},
        {"NOAUTH Authentication required.", ERR_DENIED},
        {"WRONGPASS invalid username-password pair", ERR_DENIED},
        {"NOPERM this user has no permissions", ERR_DENIED},
        {"ERR unknown command", ERR_SCRIPT},
        {"BUSYGROUP Consumer Group name already exists", ERR_SCRIPT},
        {"NOSCRIPT No matching script.", ERR_SCRIPT},
        {"LOADINGS", ERR_SCRIPT},
    };
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    fake_server_play(server, "ACCEPT");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[256];
        struct answer answer = {0};
        tell(f, "SET k v", &answer);
        snprintf(line, sizeof(line), "EXPECT SET k v\nSEND -%s\\r\\n", cases[i].text);
        fake_server_play(server, line);
        wait_for(f->loop, answer.count);
        assert_answer(&answer, cases[i].err, cases[i].text);
    }
}

static void after_readonly_it_reconnects_when_all_is_answered(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer write = {0}, read = {0}, later = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "SET k v", &write);
    tell(f, "GET k", &read);
    fake_server_play(server, "EXPECT SET k v\nEXPECT GET k\n"
                             "SEND -READONLY You can't write against a read only replica.\\r\\n");
    wait_for(f->loop, write.count);
    assert_int_equal(write.err, ERR_UNAVAILABLE);
    assert_false(redis_is_connected(f->redis));
    tell(f, "SET k w", &later);
    fake_server_play(server, "NOTHING\nSEND $1\\r\\nv\\r\\n\nGONE");
    assert_answer(&read, ERR_OK, "v");
    fake_server_play(server, "ACCEPT\nEXPECT SET k w\nSEND +OK\\r\\n");
    wait_for(f->loop, later.count);
    assert_answer(&later, ERR_OK, "OK");
}

#define EVALSHA "EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 1 key "

static void noscript_is_answered_with_the_text_once(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer known = {0}, unknown = {0}, never = {0}, between = {0};
    fake_server_play(server, "ACCEPT");
    eval(f, "key", "a", in_ms(f, 10000), &known);
    eval(f, "key", "b", in_ms(f, 10000), &unknown);
    tell(f, "PING", &between);
    eval(f, "key", "c", in_ms(f, 10000), &never);
    fake_server_play(server, "EXPECT " EVALSHA "a\nEXPECT " EVALSHA "b\nEXPECT PING\n"
                             "EXPECT " EVALSHA "c\n"
                             "SEND +a\\r\\n-NOSCRIPT No matching script.\\r\\n+PONG\\r\\n"
                             "-NOSCRIPT No matching script.\\r\\n\n"
                             "EXPECT EVAL return ARGV[1] 1 key b\n"
                             "EXPECT EVAL return ARGV[1] 1 key c\n"
                             "SEND +b\\r\\n-NOSCRIPT again\\r\\n");
    wait_for(f->loop, never.count);
    assert_answer(&known, ERR_OK, "a");
    assert_answer(&between, ERR_OK, "PONG");
    assert_answer(&unknown, ERR_OK, "b");
    assert_answer(&never, ERR_SCRIPT, "NOSCRIPT again");
    fake_server_play(server, "NOTHING");
    assert_int_equal(redis_round_trips(f->redis), 6);
}

static void noscript_after_the_deadline_sends_nothing_more(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer slow = {0}, late = {0}, next = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "PING", &slow);
    eval(f, "key", "a", in_ms(f, 20), &late);
    wait_for(f->loop, late.count);
    assert_int_equal(late.err, ERR_TIMEOUT);
    fake_server_play(server, "EXPECT PING\nEXPECT " EVALSHA "a\n"
                             "SEND +PONG\\r\\n-NOSCRIPT No matching script.\\r\\n");
    tell(f, "GET k", &next);
    fake_server_play(server, "EXPECT GET k\nSEND $-1\\r\\n");
    wait_for(f->loop, next.count);
    assert_int_equal(next.type, REDIS_NIL);
    assert_int_equal(late.count, 1);
}

static void a_script_call_that_waited_for_the_connection_falls_back_too(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0};
    eval(f, "key", "a", in_ms(f, 10000), &answer);
    fake_server_play(server, "ACCEPT\nEXPECT " EVALSHA "a\nSEND -NOSCRIPT none\\r\\n\n"
                             "EXPECT EVAL return ARGV[1] 1 key a\nSEND +a\\r\\n");
    wait_for(f->loop, answer.count);
    assert_answer(&answer, ERR_OK, "a");
}

static void garbage_ends_the_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0}, next = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "PING", &answer);
    fake_server_play(server, "EXPECT PING\nSEND HTTP/1.1 400 Bad Request\\r\\n\nGONE");
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.err, ERR_CLOSED);
    assert_memory_equal(answer.text, "protocol error: ", 16);
    tell(f, "PING", &next);
    fake_server_play(server, "ACCEPT\nEXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, next.count);
    assert_answer(&next, ERR_OK, "PONG");
}

static void an_array_of_absurd_size_ends_the_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "PING", &answer);
    fake_server_play(server, "EXPECT PING\nSEND *2000000000\\r\\n\nGONE");
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.err, ERR_CLOSED);
}

/* hiredis' asynchronous layer aborts the process here. */
static void a_reply_that_nobody_asked_for_ends_the_connection(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer asked = {0}, next = {0};
    fake_server_play(server, "ACCEPT");
    tell(f, "PING", &asked);
    fake_server_play(server, "EXPECT PING\nSEND +PONG\\r\\n+SURPRISE\\r\\n\nGONE");
    assert_answer(&asked, ERR_OK, "PONG");
    fake_server_play(server, "ACCEPT\nSEND -ERR max number of clients reached\\r\\n\nGONE");
    tell(f, "PING", &next);
    fake_server_play(server, "ACCEPT\nEXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, next.count);
    assert_answer(&next, ERR_OK, "PONG");
}

static void a_refused_connection_is_tried_again_with_growing_delay(void **state)
{
    struct fault_fixture *fixture = *state;
    struct answer expires = {0}, waits = {0};
    fake_server_play(fixture->server, "REFUSE");
    struct fixture *f = open_client(state, &fixture->server);
    int64_t begin_ms = clock_mono_ms();
    tell_until(f, "PING", in_ms(f, 150), &expires);
    tell(f, "INCR n", &waits);
    wait_for(f->loop, expires.count);
    assert_true(clock_mono_ms() - begin_ms >= 150);
    assert_int_equal(expires.err, ERR_CONNECT);
    assert_non_null(strstr(expires.text, "refused"));
    assert_int_equal(redis_round_trips(f->redis), 0);
    fake_server_play(fixture->server, "LISTEN\nACCEPT\nEXPECT INCR n\nSEND :1\\r\\n");
    wait_for(f->loop, waits.count);
    assert_int_equal(waits.err, ERR_OK);
    assert_int_equal(expires.count, 1);
}

/* A proxy without a server behind it accepts and closes: that is no success. */
static void a_peer_that_only_closes_is_not_tried_in_a_tight_loop(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    int64_t begin_ms = clock_mono_ms();
    for (int i = 0; i < 5; i++) {
        fake_server_play(server, "ACCEPT\nCLOSE");
    }
    /* At least half of 50 + 100 + 200 + 400 ms lie between five attempts. */
    assert_true(clock_mono_ms() - begin_ms >= 375);
    assert_int_equal(redis_round_trips(f->redis), 0);
}

static void the_handshake_comes_first_and_waiting_commands_after_the_connect_callback(void **state)
{
    struct fault_fixture *fixture = *state;
    fixture->f.conf.user = "bob";
    fixture->f.conf.password = "secret";
    fixture->f.conf.db = 3;
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0};
    tell(f, "PING", &answer);
    fake_server_play(server, "ACCEPT\nEXPECT AUTH bob secret\nNOTHING\nSEND +OK\\r\\n\n"
                             "EXPECT SELECT 3\nNOTHING\nSEND +OK\\r\\n\n"
                             "EXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, answer.count);
    assert_answer(&answer, ERR_OK, "PONG");
}

static void send_hello(void *arg)
{
    struct fixture *f = arg;
    tell(f, "SCRIPT LOAD x", NULL);
}

static void commands_of_the_connect_callback_come_first_each_time(void **state)
{
    struct fault_fixture *fixture = *state;
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer answer = {0};
    redis_on_connect(f->redis, send_hello, &fixture->f);
    tell(f, "INCR n", &answer);
    fake_server_play(server, "ACCEPT\nEXPECT SCRIPT LOAD x\nEXPECT INCR n\nSEND +x\\r\\n\nCLOSE\n"
                             "ACCEPT\nEXPECT SCRIPT LOAD x\nSEND +x\\r\\n\nNOTHING");
    assert_answer(&answer, ERR_CLOSED, "closed by the server");
}

static void a_silent_handshake_is_given_up(void **state)
{
    struct fault_fixture *fixture = *state;
    fixture->f.conf.password = "secret";
    fixture->f.conf.connect_timeout_ms = 300;
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    fake_server_play(server, "ACCEPT\nEXPECT AUTH secret\nGONE\nACCEPT\nEXPECT AUTH secret\n"
                             "SEND +OK\\r\\n");
    wait_for(f->loop, redis_is_connected(f->redis));
}

static void a_refused_handshake_tells_those_who_wait(void **state)
{
    struct fault_fixture *fixture = *state;
    fixture->f.conf.password = "secret";
    fixture->f.conf.db = 99;
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer denied = {0}, no_db = {0}, good = {0};
    tell(f, "PING", &denied);
    fake_server_play(server, "ACCEPT\nEXPECT AUTH secret\n"
                             "SEND -ERR AUTH called without any password configured\\r\\n\nGONE");
    wait_for(f->loop, denied.count);
    assert_answer(&denied, ERR_DENIED,
                  "AUTH refused: ERR AUTH called without any password configured");
    tell(f, "PING", &no_db);
    fake_server_play(server, "ACCEPT\nEXPECT AUTH secret\nSEND +OK\\r\\n\nEXPECT SELECT 99\n"
                             "SEND -ERR DB index is out of range\\r\\n\nGONE");
    wait_for(f->loop, no_db.count);
    assert_answer(&no_db, ERR_SCRIPT, "SELECT refused: ERR DB index is out of range");
    /* What passes by itself keeps them waiting. */
    tell(f, "PING", &good);
    fake_server_play(server, "ACCEPT\nEXPECT AUTH secret\n"
                             "SEND -ERR max number of clients reached\\r\\n\nGONE\n"
                             "ACCEPT\nEXPECT AUTH secret\nSEND +OK\\r\\n\nEXPECT SELECT 99\n"
                             "SEND +OK\\r\\n\nEXPECT PING\nSEND +PONG\\r\\n");
    wait_for(f->loop, good.count);
    assert_answer(&good, ERR_OK, "PONG");
}

static void close_cancels_everything_once(void **state)
{
    struct fault_fixture *fixture = *state;
    struct fake_server *server;
    fixture->f.conf.queue_max = 3;
    struct fixture *f = open_client(state, &server);
    struct answer sent = {0}, timed_out = {0}, unsent = {0}, failed = {0};
    fake_server_play(server, "ACCEPT");
    wait_for(f->loop, redis_is_connected(f->redis));
    tell(f, "SET a 1", &sent);
    tell_until(f, "SET b 2", in_ms(f, 10), &timed_out);
    fake_server_play(server, "EXPECT SET a 1\nEXPECT SET b 2");
    wait_for(f->loop, timed_out.count);
    tell(f, "SET c 3", &unsent);
    tell(f, "SET d 4", &failed);
    redis_close(f->redis);
    f->redis = NULL;
    assert_int_equal(sent.count + unsent.count + failed.count, 0);
    loop_turn(f->loop, 0);
    assert_answer(&sent, ERR_CANCELLED, "the client was closed");
    assert_answer(&unsent, ERR_CANCELLED, "the client was closed");
    assert_answer(&failed, ERR_CANCELLED, "the client was closed");
    assert_answer(&timed_out, ERR_TIMEOUT, "no reply in time");
    fake_server_play(server, "GONE");
}

static void close_while_connecting_cancels_what_waits(void **state)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct answer waits = {0};
    tell(f, "PING", &waits);
    redis_close(f->redis);
    f->redis = NULL;
    loop_turn(f->loop, 0);
    assert_answer(&waits, ERR_CANCELLED, "the client was closed");
}

struct closer {
    struct fixture *f;
    struct answer answer;
};

static void close_in_callback(void *arg, const struct redis_result *result)
{
    struct closer *closer = arg;
    on_answer(&closer->answer, result);
    redis_close(closer->f->redis);
    closer->f->redis = NULL;
}

/* Plays `script` to a client that has three commands in flight, of which the first closes it. */
static void check_close_in_callback(void **state, int64_t deadline_ms, const char *script)
{
    struct fake_server *server;
    struct fixture *f = open_client(state, &server);
    struct closer closer = {.f = f};
    struct answer second = {0}, third = {0};
    struct slice ping = SLICE_LIT("PING");
    fake_server_play(server, "ACCEPT");
    redis_command(f->redis, in_ms(f, deadline_ms), &ping, 1, close_in_callback, &closer);
    tell_until(f, "PING", in_ms(f, deadline_ms), &second);
    tell(f, "PING", &third);
    fake_server_play(server, script);
    wait_for(f->loop, third.count);
    assert_int_equal(closer.answer.count, 1);
    assert_answer(&second, ERR_CANCELLED, "the client was closed");
    assert_answer(&third, ERR_CANCELLED, "the client was closed");
    assert_null(f->redis);
}

static void close_inside_a_reply(void **state)
{
    check_close_in_callback(state, 10000, "EXPECT PING\nSEND +A\\r\\n+B\\r\\n+C\\r\\n");
}

static void close_inside_a_lost_connection(void **state)
{
    check_close_in_callback(state, 10000, "EXPECT PING\nRESET");
}

static void close_inside_a_deadline(void **state)
{
    check_close_in_callback(state, 20, "EXPECT PING");
}

static void close_inside_readonly(void **state)
{
    check_close_in_callback(state, 10000, "EXPECT PING\nSEND -READONLY replica\\r\\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_of_one_turn_leave_in_one_write),
        TEST(no_callback_comes_inside_the_call),
        TEST(a_silent_peer_is_given_up_at_the_deadline),
        TEST(a_shorter_deadline_behind_a_longer_one_holds_too),
        TEST(a_late_reply_that_never_comes_ends_the_connection),
        TEST(half_a_reply_and_then_silence_ends_the_connection),
        TEST(a_reply_in_pieces_is_one_reply),
        TEST(each_callback_comes_once_when_the_connection_drops),
        TEST(a_reset_is_a_closed_connection),
        TEST(errors_are_classified_by_their_first_word),
        TEST(after_readonly_it_reconnects_when_all_is_answered),
        TEST(noscript_is_answered_with_the_text_once),
        TEST(noscript_after_the_deadline_sends_nothing_more),
        TEST(a_script_call_that_waited_for_the_connection_falls_back_too),
        TEST(garbage_ends_the_connection),
        TEST(an_array_of_absurd_size_ends_the_connection),
        TEST(a_reply_that_nobody_asked_for_ends_the_connection),
        TEST(a_refused_connection_is_tried_again_with_growing_delay),
        TEST(a_peer_that_only_closes_is_not_tried_in_a_tight_loop),
        TEST(the_handshake_comes_first_and_waiting_commands_after_the_connect_callback),
        TEST(commands_of_the_connect_callback_come_first_each_time),
        TEST(a_silent_handshake_is_given_up),
        TEST(a_refused_handshake_tells_those_who_wait),
        TEST(close_cancels_everything_once),
        TEST(close_while_connecting_cancels_what_waits),
        TEST(close_inside_a_reply),
        TEST(close_inside_a_lost_connection),
        TEST(close_inside_a_deadline),
        TEST(close_inside_readonly),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
