/* rpc client and server against each other, on real sockets. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rpc_pair.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_a_call_is_answered(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_echo);
    assert_false(rpc_client_is_connected(f->client));
    pair_assert_echo(f, S("hello"));
    assert_true(rpc_client_is_connected(f->client));
    pair_assert_echo(f, S("again"));
    assert_int_equal(rpc_client_in_flight(f->client), 0);
    assert_int_equal(rpc_server_in_flight(f->server), 0);
}

/* ---- multiplexing ---- */

enum { MANY = 100000 };

struct many {
    struct pair *f;
    unsigned sent, done;
    struct numbered {
        struct many *many;
        unsigned number;
        int count;
    } calls[MANY];
};

static void on_numbered(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct numbered *numbered = arg;
    if (err != ERR_OK || reply->kind != WIRE_CALL_REPLY) {
        fail_msg("call %u: %s %s", numbered->number, err_text(err), why);
    }
    unsigned got = 0;
    assert_int_equal(reply->call_reply.payload.len, sizeof(got));
    memcpy(&got, reply->call_reply.payload.ptr, sizeof(got));
    assert_int_equal(got, numbered->number);
    numbered->count++;
    numbered->many->done++;
}

static void send_up_to(struct many *many, unsigned in_flight)
{
    struct pair *f = many->f;
    while (many->sent < MANY && many->sent - many->done < in_flight) {
        struct numbered *numbered = &many->calls[many->sent];
        numbered->many = many;
        numbered->number = many->sent++;
        struct wire_message request =
            call_of(slice_make(&numbered->number, sizeof(numbered->number)));
        rpc_client_call(f->client, &request, pair_in_ms(f, WAIT_MS), on_numbered, numbered);
    }
}

static void test_100000_calls_answered_out_of_order(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    struct many *many = mem_new(struct many);
    many->f = f;
    struct rng rng;
    rng_seed(&rng, 42);
    int64_t until_ms = clock_mono_ms() + 3 * WAIT_MS;
    while (many->done < MANY) {
        assert_true(clock_mono_ms() < until_ms);
        send_up_to(many, 4000);
        loop_turn(f->loop, 5);
        for (size_t n = rng_below(&rng, f->shelf->count + 1); n > 0; n--) {
            shelf_answer(f->shelf, rng_below(&rng, f->shelf->count));
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(many->calls[i].count, 1);
    }
    free(many);
}

/* ---- deadlines ---- */

static void test_deadline_passes_and_the_late_reply_is_dropped(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    struct outcome early = {0};
    struct outcome late = {0};
    struct wire_message request = call_of(S("x"));
    rpc_client_call(f->client, &request, pair_in_ms(f, WAIT_MS), on_reply, &late);
    int64_t due_ms = pair_in_ms(f, 50);
    rpc_client_call(f->client, &request, due_ms, on_reply, &early);
    wait_for(f->loop, early.count > 0);
    assert_int_equal(early.err, ERR_TIMEOUT);
    assert_true(clock_mono_ms() >= due_ms);
    assert_int_equal(late.count, 0);
    wait_for(f->loop, f->shelf->count == 2);
    /* Its slot is used again before the late reply comes. */
    struct outcome next = {0};
    pair_call(f, S("next"), &next);
    shelf_answer_all(f->shelf);
    wait_for(f->loop, late.count > 0);
    assert_string_equal(late.text, "x");
    wait_for(f->loop, f->shelf->count == 1);
    shelf_answer_all(f->shelf);
    wait_for(f->loop, next.count > 0);
    assert_string_equal(next.text, "next");
    assert_int_equal(early.count, 1);
    assert_int_equal(late.count, 1);
}

static void test_deadlines_come_in_their_order(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    enum { CALLS = 200 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    struct wire_message request = call_of(S("x"));
    for (int i = 0; i < CALLS; i++) {
        rpc_client_call(f->client, &request, pair_in_ms(f, (i * 37) % CALLS), on_reply,
                        &outcomes[i]);
    }
    wait_for(f->loop, rpc_client_in_flight(f->client) == 0);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].err, ERR_TIMEOUT);
    }
}

/* ---- ends ---- */

static void assert_all_closed(const struct outcome *outcomes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].err, ERR_CLOSED);
    }
}

static void test_server_goes_with_calls_in_flight(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    enum { CALLS = 500 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    for (int i = 0; i < CALLS; i++) {
        pair_call(f, S("x"), &outcomes[i]);
    }
    wait_for(f->loop, f->shelf->count == CALLS);
    rpc_server_free(f->server);
    f->server = NULL;
    wait_for(f->loop, rpc_client_in_flight(f->client) == 0);
    assert_all_closed(outcomes, CALLS);
    /* Requests outlive their server; their answers go nowhere. */
    shelf_answer_all(f->shelf);
    loop_turn(f->loop, 0);
    assert_all_closed(outcomes, CALLS);
    assert_false(rpc_client_is_connected(f->client));
}

static _Noreturn void child_server(const char *address)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive a test that fails */
    struct loop *loop = loop_new();
    struct rpc_server_conf conf = server_conf();
    conf.address = address;
    struct shelf *shelf = mem_new(struct shelf);
    struct rpc_server *server = server_open(loop, &conf, handle_keep, shelf);
    for (;;) { /* answers only the call "answer" */
        loop_turn(loop, 1000);
        for (size_t i = 0; i < shelf->count; i++) {
            const struct wire_message *message = rpc_request_message(shelf->requests[i]);
            if (slice_eq_str(message->call.payload, "answer")) {
                shelf_answer(shelf, i);
            }
        }
        assert_true(rpc_server_in_flight(server) >= 0);
    }
}

static void test_server_process_is_killed_with_calls_in_flight(void **state)
{
    struct pair *f = *state;
    char dir[] = "/tmp/rpc_test.XXXXXX";
    assert_non_null(mkdtemp(dir));
    char address[64];
    snprintf(address, sizeof(address), "unix:%s/s", dir);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_server(address);
    }
    wait_for(f->loop, access(address + strlen("unix:"), F_OK) == 0);
    struct rpc_client_conf conf = client_conf(address);
    f->client = rpc_client_new(f->loop, &conf);
    enum { CALLS = 1000 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    struct outcome last = {.err = ERR_CONNECT};
    while (last.err == ERR_CONNECT) { /* the socket is there before it listens */
        last = (struct outcome){0};
        pair_call(f, S("answer"), &last);
        wait_for(f->loop, last.count > 0);
    }
    for (int i = 0; i < CALLS; i++) {
        pair_call(f, S("x"), &outcomes[i]);
    }
    last = (struct outcome){0};
    pair_call(f, S("answer"), &last);
    wait_for(f->loop, last.count > 0);
    assert_int_equal(last.err, ERR_OK);
    assert_int_equal(kill(child, SIGKILL), 0);
    wait_for(f->loop, rpc_client_in_flight(f->client) == 0);
    assert_all_closed(outcomes, CALLS);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct outcome after = {0};
    pair_call(f, S("x"), &after);
    wait_for(f->loop, after.count > 0);
    assert_int_equal(after.err, ERR_CONNECT);
    unlink(address + strlen("unix:"));
    rmdir(dir);
}

static void test_client_goes_before_the_answer(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, f->shelf->count == 1);
    rpc_client_free(f->client);
    f->client = NULL;
    assert_int_equal(outcome.count, 0);
    loop_turn(f->loop, 0);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err, ERR_CANCELLED);
    /* The message lives until it is answered. */
    const struct wire_message *message = rpc_request_message(f->shelf->requests[0]);
    assert_true(slice_eq_str(message->call.payload, "x"));
    assert_int_equal(rpc_server_in_flight(f->server), 1);
    shelf_answer_all(f->shelf);
    assert_int_equal(rpc_server_in_flight(f->server), 0);
}

static void test_answers_after_both_client_and_server_have_gone(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, f->shelf->count == 1);
    rpc_client_free(f->client);
    f->client = NULL;
    struct pair other = {.loop = f->loop, .shelf = f->shelf};
    memcpy(other.address, f->address, sizeof(other.address));
    struct rpc_client_conf conf = client_conf(other.address);
    other.client = rpc_client_new(f->loop, &conf);
    struct outcome second = {0};
    pair_call(&other, S("y"), &second); /* by its arrival the first end was seen */
    wait_for(f->loop, f->shelf->count == 2);
    rpc_server_free(f->server);
    f->server = NULL;
    wait_for(f->loop, second.count > 0);
    assert_int_equal(second.err, ERR_CLOSED);
    rpc_client_free(other.client);
    loop_turn(f->loop, 0);
    shelf_answer_all(f->shelf);
    loop_turn(f->loop, 0);
    assert_int_equal(outcome.err, ERR_CANCELLED);
    assert_int_equal(outcome.count, 1);
}

static void handle_drop(void *arg, struct rpc_request *request)
{
    (void)arg;
    rpc_request_drop(request);
}

static void test_a_dropped_request_looks_like_a_crash(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_drop);
    struct outcome first = {0};
    struct outcome second = {0};
    pair_call(f, S("x"), &first);
    pair_call(f, S("y"), &second);
    wait_for(f->loop, first.count > 0 && second.count > 0);
    assert_int_equal(first.err, ERR_CLOSED);
    assert_int_equal(second.err, ERR_CLOSED);
}

static void free_client_on_reply(void *arg, enum err err, const struct wire_message *reply,
                                 const char *why)
{
    (void)err;
    (void)reply;
    (void)why;
    struct pair *f = arg;
    rpc_client_free(f->client);
    f->client = NULL;
}

static void test_client_is_freed_inside_a_callback(void **state)
{
    struct pair *f = *state;
    for (int deadline_ms = 0; deadline_ms <= WAIT_MS; deadline_ms += WAIT_MS) {
        pair_open(f, NULL, deadline_ms ? handle_echo : handle_keep);
        struct wire_message request = call_of(S("x"));
        struct outcome other = {0};
        rpc_client_call(f->client, &request, pair_in_ms(f, deadline_ms), free_client_on_reply, f);
        rpc_client_call(f->client, &request, pair_in_ms(f, WAIT_MS), on_reply, &other);
        wait_for(f->loop, other.count > 0);
        assert_null(f->client);
        assert_int_equal(other.count, 1);
        assert_int_equal(other.err, ERR_CANCELLED);
        shelf_answer_all(f->shelf);
        rpc_server_free(f->server);
        f->server = NULL;
    }
}

/* ---- connecting ---- */

static void test_no_server_then_back_off_then_a_server(void **state)
{
    struct pair *f = *state;
    int port = 0;
    int listener = raw_listen(&port);
    close(listener); /* a port that nobody has */
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", port);
    struct rpc_client_conf conf = client_conf(f->address);
    f->client = rpc_client_new(f->loop, &conf);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_CONNECT);
    /* Meanwhile: at once, but not from inside. */
    outcome = (struct outcome){0};
    pair_call(f, S("x"), &outcome);
    loop_turn(f->loop, 0);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err, ERR_CONNECT);
    assert_true(strlen(outcome.text) > 0);
    struct rpc_server_conf server = server_conf();
    server.address = f->address;
    f->server = server_open(f->loop, &server, handle_echo, NULL);
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    do {
        assert_true(clock_mono_ms() < until_ms);
        outcome = (struct outcome){0};
        pair_call(f, S("there"), &outcome);
        wait_for(f->loop, outcome.count > 0);
    } while (outcome.err == ERR_CONNECT);
    assert_int_equal(outcome.err, ERR_OK);
    assert_string_equal(outcome.text, "there");
}

static void test_a_lost_connection_is_replaced_at_once(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_echo);
    pair_assert_echo(f, S("one"));
    rpc_server_free(f->server);
    wait_for(f->loop, !rpc_client_is_connected(f->client));
    struct rpc_server_conf conf = server_conf();
    conf.address = f->address;
    f->server = server_open(f->loop, &conf, handle_echo, NULL);
    pair_assert_echo(f, S("two"));
}

static void test_idle_connections_are_closed_and_come_back(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.limits.idle_ms = 30;
    pair_open(f, &conf, handle_echo);
    pair_assert_echo(f, S("one"));
    wait_for(f->loop, !rpc_client_is_connected(f->client));
    pair_assert_echo(f, S("two"));
}

/* ---- errors of a request ---- */

static void handle_fail(void *arg, struct rpc_request *request)
{
    (void)arg;
    rpc_request_fail(request, WIRE_ERROR_CONFLICT, "gid", "is known");
}

static void test_a_handler_refuses(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_fail);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(outcome.kind, WIRE_ERROR);
    assert_int_equal(outcome.code, WIRE_ERROR_CONFLICT);
    assert_string_equal(outcome.field, "gid");
    assert_string_equal(outcome.text, "is known");
}

static void test_a_bad_request_is_refused_and_the_connection_goes_on(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_echo);
    struct outcome outcome = {0};
    struct wire_message request = call_of(S("x"));
    request.call.gid = S("\xff");
    rpc_client_call(f->client, &request, pair_in_ms(f, WAIT_MS), on_reply, &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.kind, WIRE_ERROR);
    assert_int_equal(outcome.code, WIRE_ERROR_INVALID);
    assert_string_equal(outcome.field, "gid");
    assert_string_equal(outcome.text, "gid: not UTF-8");
    pair_assert_echo(f, S("on"));
}

static void handle_bad_text(void *arg, struct rpc_request *request)
{
    if (slice_eq_str(rpc_request_message(request)->call.payload, "good")) {
        handle_echo(arg, request);
        return;
    }
    struct wire_message reply = {
        .kind = WIRE_CALL_REPLY,
        .call_reply = {.result = WIRE_SUCCESS, .message = S("\xff")},
    };
    rpc_request_reply(request, &reply);
}

static void test_a_reply_that_cannot_be_read_spoils_its_own_call_only(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_bad_text);
    struct outcome bad = {0};
    struct outcome good = {0};
    pair_call(f, S("bad"), &bad);
    pair_call(f, S("good"), &good);
    wait_for(f->loop, bad.count > 0 && good.count > 0);
    assert_int_equal(bad.err, ERR_PROTOCOL);
    assert_string_equal(bad.text, "bad reply: message: not UTF-8");
    assert_int_equal(good.err, ERR_OK);
    assert_true(rpc_client_is_connected(f->client));
}

/* ---- token, drain ---- */

static void assert_denied(struct pair *f, const char *token, const char *why)
{
    struct rpc_client_conf conf = client_conf(f->address);
    conf.token = token;
    f->client = rpc_client_new(f->loop, &conf);
    enum { CALLS = 300 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    static const char payload[2000];
    for (int i = 0; i < CALLS; i++) { /* all in the air when the refusal comes */
        pair_call(f, slice_make(payload, sizeof(payload)), &outcomes[i]);
    }
    wait_for(f->loop, rpc_client_in_flight(f->client) == 0);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].count, 1);
        assert_int_equal(outcomes[i].err, ERR_DENIED);
        assert_string_equal(outcomes[i].text, why);
    }
    assert_int_equal(f->shelf->count, 0);
    rpc_client_free(f->client);
    f->client = NULL;
}

static void test_the_token_must_fit(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.token = "s3cret";
    f->server = server_open(f->loop, &conf, handle_keep, f->shelf);
    server_address(f->server, f->address);
    assert_denied(f, "s3cres", "wrong token");
    assert_denied(f, "s3cret ", "wrong token");
    assert_denied(f, NULL, "a token is required");
    struct rpc_client_conf client = client_conf(f->address);
    client.token = "s3cret";
    f->client = rpc_client_new(f->loop, &client);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, f->shelf->count == 1);
    shelf_answer_all(f->shelf);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_OK);
}

static void test_drain_answers_what_is_in_flight_and_refuses_the_rest(void **state)
{
    struct pair *f = *state;
    pair_open(f, NULL, handle_keep);
    struct outcome before = {0};
    struct outcome after = {0};
    pair_call(f, S("before"), &before);
    wait_for(f->loop, f->shelf->count == 1);
    rpc_server_drain(f->server);
    pair_call(f, S("after"), &after);
    wait_for(f->loop, after.count > 0);
    assert_int_equal(after.kind, WIRE_ERROR);
    assert_int_equal(after.code, WIRE_ERROR_UNAVAILABLE);
    assert_int_equal(rpc_server_in_flight(f->server), 1);
    struct rpc_client_conf conf = client_conf(f->address);
    struct rpc_client *late = rpc_client_new(f->loop, &conf);
    struct outcome refused = {0};
    struct wire_message request = call_of(S("late"));
    rpc_client_call(late, &request, pair_in_ms(f, WAIT_MS), on_reply, &refused);
    wait_for(f->loop, refused.count > 0);
    assert_int_equal(refused.err, ERR_CONNECT);
    rpc_client_free(late);
    shelf_answer_all(f->shelf);
    assert_int_equal(rpc_server_in_flight(f->server), 0);
    rpc_server_free(f->server); /* the answer still leaves */
    f->server = NULL;
    wait_for(f->loop, before.count > 0);
    assert_int_equal(before.err, ERR_OK);
    assert_string_equal(before.text, "before");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_call_is_answered),
        TEST(test_100000_calls_answered_out_of_order),
        TEST(test_deadline_passes_and_the_late_reply_is_dropped),
        TEST(test_deadlines_come_in_their_order),
        TEST(test_server_goes_with_calls_in_flight),
        TEST(test_server_process_is_killed_with_calls_in_flight),
        TEST(test_client_goes_before_the_answer),
        TEST(test_answers_after_both_client_and_server_have_gone),
        TEST(test_a_dropped_request_looks_like_a_crash),
        TEST(test_client_is_freed_inside_a_callback),
        TEST(test_no_server_then_back_off_then_a_server),
        TEST(test_a_lost_connection_is_replaced_at_once),
        TEST(test_idle_connections_are_closed_and_come_back),
        TEST(test_a_handler_refuses),
        TEST(test_a_bad_request_is_refused_and_the_connection_goes_on),
        TEST(test_a_reply_that_cannot_be_read_spoils_its_own_call_only),
        TEST(test_the_token_must_fit),
        TEST(test_drain_answers_what_is_in_flight_and_refuses_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
