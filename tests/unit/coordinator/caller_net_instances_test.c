/* Services with several instances: balancing, and leaving those that fail. */
#include "caller_net_fixture.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* "both" stands for the two of them. */
static void both_set(struct fixture *f)
{
    static char both[] = "both", addresses[140];
    snprintf(addresses, sizeof(addresses), "%s, %s", f->a_address, f->b_address);
    f->entries[0] = (struct conf_map_entry){both, addresses};
    f->resolver.count = 1;
}

static struct fixture *open_both_tcp(void **state, const struct caller_net_conf *conf)
{
    struct fixture *f = open_tcp(state, conf);
    both_set(f);
    return f;
}

static void test_calls_go_to_the_instance_with_fewer(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcomes[4], next;
    open_both_tcp(state, &conf);
    for (int i = 0; i < 4; i++) {
        call(f, "tcp://both/a.B/C", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2 && f->b.held == 2);
    answer_tcp(&f->b, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, f->ended == 1);
    call(f, "tcp://both/a.B/C", &next);
    wait_for(f->loop, f->b.held == 3);
    answer_tcp(&f->b, 2, WIRE_SUCCESS, "from b");
    wait_for(f->loop, next.done);
    assert_string_equal(next.message, "from b");
}

static void test_calls_leave_an_instance_that_is_gone_at_once(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcomes[6];
    conf.tcp_in_flight_max = 100;
    open_both_tcp(state, &conf);
    stub_close(&f->a); /* nobody listens any more */
    settle(f);
    for (int i = 0; i < 6; i++) {
        call(f, "tcp://both/a.B/C", &outcomes[i]);
    }
    wait_for(f->loop, f->b.held == 6);
    for (int i = 0; i < 6; i++) {
        assert_true(slice_eq_str(rpc_request_message(f->b.tcp_held[i])->call.gid, "gid 1/ä"));
        answer_tcp(&f->b, i, WIRE_SUCCESS, "");
    }
    wait_for(f->loop, f->ended == 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(outcomes[i].verdict, CALL_SUCCESS);
    }
    assert_int_equal(caller_net_stats(f->net).moved, 3);
    assert_int_equal(caller_net_stats(f->net).instances_resting, 1);
}

static void test_calls_in_flight_and_in_line_leave_when_the_connection_breaks(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcomes[8];
    open_both_tcp(state, &conf);
    for (int i = 0; i < 8; i++) { /* two in flight and two in line for each */
        call(f, "tcp://both/a.B/C", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2 && f->b.held == 2);
    stub_close(&f->a);
    for (int answered = 0; f->ended < 8;) {
        wait_for(f->loop, f->b.held > answered || f->ended == 8);
        if (f->b.held > answered) {
            answer_tcp(&f->b, answered++, WIRE_SUCCESS, "");
        }
        settle(f);
    }
    int succeeded = 0, refused = 0;
    for (int i = 0; i < 8; i++) {
        succeeded += outcomes[i].verdict == CALL_SUCCESS;
        refused += strstr(outcomes[i].message, "too many calls") != NULL;
    }
    assert_int_equal(succeeded + refused, 8); /* the line of the other one has its bound still */
    assert_true(succeeded >= 4);
}

/* A call may be what breaks them: it must not go through all instances like a bullet. */
static void test_a_call_that_breaks_connections_moves_once(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcome;
    open_both_tcp(state, &conf);
    call(f, "tcp://both/a.B/C", &outcome);
    wait_for(f->loop, f->a.held == 1);
    rpc_request_drop(f->a.tcp_held[0]);
    f->a.tcp_held[0] = NULL;
    wait_for(f->loop, f->b.held == 1);
    assert_false(outcome.done);
    rpc_request_drop(f->b.tcp_held[0]);
    f->b.tcp_held[0] = NULL;
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_ERROR);
    settle(f);
    assert_int_equal(f->a.held, 1);
    assert_int_equal(f->b.held, 1);
}

static void test_an_instance_that_stops_cleanly_loses_no_call(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome first[2], second[2];
    open_both_tcp(state, &conf);
    call(f, "tcp://both/a.B/C", &first[0]);
    call(f, "tcp://both/a.B/C", &first[1]);
    wait_for(f->loop, f->a.held == 1 && f->b.held == 1);
    rpc_server_drain(f->a.tcp); /* answers what it has, takes nothing new */
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "");
    answer_tcp(&f->b, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, f->ended == 2);
    call(f, "tcp://both/a.B/C", &second[0]);
    call(f, "tcp://both/a.B/C", &second[1]);
    wait_for(f->loop, f->b.held == 3);
    answer_tcp(&f->b, 1, WIRE_SUCCESS, "");
    answer_tcp(&f->b, 2, WIRE_SUCCESS, "");
    wait_for(f->loop, f->ended == 4);
    assert_int_equal(second[0].verdict, CALL_SUCCESS);
    assert_int_equal(second[1].verdict, CALL_SUCCESS);
    assert_int_equal(f->a.held, 1);
}

static void test_an_instance_that_is_back_gets_calls(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcome;
    open_both_tcp(state, &conf);
    struct rpc_server_conf again = {.address = f->a_address,
                                    .program = "stub",
                                    .connections_max = 16,
                                    .limits = rpc_limits_default};
    struct reason reason;
    stub_close(&f->a);
    for (int answered = 0; caller_net_stats(f->net).instances_resting == 0; answered++) {
        call(f, "tcp://both/a.B/C", &outcome);
        wait_for(f->loop, f->b.held > answered);
        answer_tcp(&f->b, answered, WIRE_SUCCESS, "");
        wait_for(f->loop, outcome.done);
    }
    f->b.held = 0;
    f->a.tcp = rpc_server_open(f->loop, &again, hold_tcp, &f->a, &reason);
    assert_non_null(f->a.tcp);
    while (f->a.held == 0) { /* the rest is short, the probe comes by itself */
        call(f, "tcp://both/a.B/C", &outcome);
        wait_for(f->loop, f->a.held + f->b.held > 0);
        if (f->b.held > 0) {
            answer_tcp(&f->b, 0, WIRE_SUCCESS, "");
            f->b.held = 0;
        } else {
            answer_tcp(&f->a, 0, WIRE_SUCCESS, "");
        }
        wait_for(f->loop, outcome.done);
        assert_int_equal(outcome.verdict, CALL_SUCCESS);
    }
    assert_int_equal(caller_net_stats(f->net).instances_resting, 0);
}

static void test_all_instances_gone_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcome;
    open_both_tcp(state, &conf);
    stub_close(&f->a);
    stub_close(&f->b);
    settle(f);
    for (int i = 0; i < 3; i++) {
        call(f, "tcp://both/a.B/C", &outcome);
        wait_for(f->loop, outcome.done);
        assert_int_equal(outcome.verdict, CALL_ERROR);
        assert_non_null(strstr(outcome.message, "cannot connect"));
    }
}

/* A machine without power: who connects gets neither yes nor no. Its line of connections is full.
 */
static int open_black_hole(int fillers[8], char address[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (void *)&at, len), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (void *)&at, &len), 0);
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (void *)&at, len);
    }
    snprintf(address, 64, "127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

static void test_calls_leave_an_instance_that_does_not_answer_its_connect(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    struct outcome outcomes[4];
    int fillers[8];
    conf.connect_timeout_ms = 200;
    conf.tcp_in_flight_max = 10;
    open_tcp(state, &conf);
    int hole = open_black_hole(fillers, f->a_address);
    both_set(f);
    for (int i = 0; i < 4; i++) {
        call(f, "tcp://both/a.B/C", &outcomes[i]);
    }
    wait_for(f->loop, f->b.held == 4);
    for (int i = 0; i < 4; i++) {
        answer_tcp(&f->b, i, WIRE_SUCCESS, "");
    }
    wait_for(f->loop, f->ended == 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(outcomes[i].verdict, CALL_SUCCESS);
    }
    assert_int_equal(caller_net_stats(f->net).moved, 2);
    assert_int_equal(caller_net_stats(f->net).instances_resting, 1);
    for (int i = 0; i < 8; i++) {
        close(fillers[i]);
    }
    close(hole);
}

static void test_http_calls_leave_an_instance_that_is_gone(void **state)
{
    struct fixture *f = open_http(state);
    struct outcome outcomes[2];
    both_set(f);
    stub_close(&f->a);
    settle(f);
    call(f, "http://both/x", &outcomes[0]);
    call(f, "http://both/x", &outcomes[1]);
    wait_for(f->loop, f->b.held == 2);
    assert_true(slice_eq_str(http_request_body(f->b.http_held[0]), "body"));
    assert_string_equal(http_request_header(f->b.http_held[0], "Host"), f->b_address);
    answer_http(&f->b, 0, 200, "");
    answer_http(&f->b, 1, 200, "");
    wait_for(f->loop, f->ended == 2);
    assert_int_equal(outcomes[0].verdict, CALL_SUCCESS);
    assert_int_equal(outcomes[1].verdict, CALL_SUCCESS);
}

static void test_http_calls_in_flight_leave_when_the_connection_breaks(void **state)
{
    struct fixture *f = open_http(state);
    struct outcome outcomes[4];
    both_set(f);
    for (int i = 0; i < 4; i++) {
        call(f, "http://both/x", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2 && f->b.held == 2);
    stub_close(&f->a);
    answer_http(&f->b, 0, 200, "");
    answer_http(&f->b, 1, 200, "");
    wait_for(f->loop, f->b.held == 4); /* in line there until then */
    answer_http(&f->b, 2, 200, "");
    answer_http(&f->b, 3, 200, "");
    wait_for(f->loop, f->ended == 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(outcomes[i].verdict, CALL_SUCCESS);
    }
    assert_int_equal(caller_net_stats(f->net).moved, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_calls_go_to_the_instance_with_fewer),
        CASE(test_calls_leave_an_instance_that_is_gone_at_once),
        CASE(test_calls_in_flight_and_in_line_leave_when_the_connection_breaks),
        CASE(test_a_call_that_breaks_connections_moves_once),
        CASE(test_an_instance_that_stops_cleanly_loses_no_call),
        CASE(test_an_instance_that_is_back_gets_calls),
        CASE(test_all_instances_gone_is_an_error),
        CASE(test_calls_leave_an_instance_that_does_not_answer_its_connect),
        CASE(test_http_calls_leave_an_instance_that_is_gone),
        CASE(test_http_calls_in_flight_leave_when_the_connection_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
