/* The HTTP server against raw sockets. */
#include "http_fixture.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int open_default(struct fixture *fx)
{
    struct http_server_conf conf = fixture_conf();
    fixture_open(fx, &conf);
    return raw_connect(http_server_port(fx->server));
}

static void assert_has(const struct buf *in, const char *needle)
{
    if (count_of(in, needle) == 0) {
        fail_msg("'%s' is not in: %.2000s", needle, in->len ? in->data : "");
    }
}

static void close_all(struct fixture *fx, int fd, struct buf *in)
{
    close(fd);
    buf_fini(in);
    fixture_close(fx);
}

static void test_a_connection_is_kept_and_requests_are_decoded(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(
        fx.loop, fd,
        "\r\nGET /echo/a%20b%2Fc+d?y=1&x=%C3%A4+1%2B HTTP/1.1\r\nhOsT: t\r\nX-Test:\t v \r\n\r\n");
    raw_expect(fx.loop, fd, &in, "body=", 1);
    assert_has(&in, "HTTP/1.1 200 OK\r\n");
    assert_has(&in, "Content-Type: text/plain\r\n");
    assert_has(&in, "Date: ");
    assert_has(&in, "X-Good: yes\r\n");
    assert_has(&in, "X-Request-Id: ");
    assert_has(&in, "\r\n\r\nGET /echo/a b/c+d x=\xC3\xA4 1+ h=v body=");
    assert_int_equal(count_of(&in, "X-Evil"), 0);
    assert_int_equal(count_of(&in, "X-Injected"), 0);
    buf_clear(&in);
    raw_text(fx.loop, fd,
             "PUT /echo?x HTTP/1.1\r\nHost: t\r\nX-Request-Id: my.id-1\r\nContent-Length: "
             "5\r\n\r\nhello");
    raw_expect(fx.loop, fd, &in, "PUT /echo x= h=- body=hello", 1);
    assert_has(&in, "X-Request-Id: my.id-1\r\n");
    assert_int_equal(http_server_connections(fx.server), 1);
    assert_int_equal(fx.handled, 2);
    close_all(&fx, fd, &in);
}

static void test_a_request_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char text[] =
        "POST /echo?x=1 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n"
        "\r\n5;a=b\r\nhello\r\n6 \r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    for (const char *c = text; *c; c++) {
        raw_send(fx.loop, fd, c, 1);
        loop_turn(fx.loop, 0);
    }
    raw_expect(fx.loop, fd, &in, "POST /echo x=1 h=- body=hello world", 1);
    assert_int_equal(fx.handled, 1);
    close_all(&fx, fd, &in);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd,
             "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"
             "POST /echo?x=2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\ntwo"
             "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"
             "GET /echo?x=4 HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(fx.loop, fx.held_count == 1);
    loop_turn(fx.loop, 0);
    assert_int_equal(fx.handled, 1);
    assert_int_equal(http_server_in_flight(fx.server), 1);
    http_reply(fx.held[0], 200, "text/plain", slice_str("one"));
    wait_for(fx.loop, fx.held_count == 2);
    http_reply(fx.held[1], 200, "text/plain", slice_str("three"));
    raw_expect(fx.loop, fd, &in, "x=4 h=- body=", 1);
    const char *one = strstr(in.data, "\r\n\r\none");
    const char *two = strstr(in.data, "x=2 h=- body=two");
    const char *three = strstr(in.data, "\r\n\r\nthree");
    const char *four = strstr(in.data, "x=4");
    assert_true(one && two && three && one < two && two < three && three < four);
    assert_int_equal(http_server_in_flight(fx.server), 0);
    close_all(&fx, fd, &in);
}

static void test_many_pipelined_requests_with_a_slow_reader(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct fixture fx;
    struct buf in = {0};
    struct buf out = {0};
    int fd = open_default(&fx);
    for (int i = 0; i < COUNT; i++) {
        buf_printf(&out, "GET /echo?x=%d HTTP/1.1\r\nHost: t\r\n\r\n", i);
    }
    size_t sent = 0;
    while (count_of(&in, "body=") < COUNT) {
        ssize_t n = send(fd, out.data + sent, out.len - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        loop_turn(fx.loop, 1);
        if (n <= 0 || sent == out.len) { /* only now, when nothing more can be sent */
            assert_true(raw_poll(fd, &in));
        }
    }
    const char *at = in.data;
    for (int i = 0; i < COUNT; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), " x=%d h=", i);
        at = strstr(at, expected);
        assert_non_null(at);
    }
    buf_fini(&out);
    close_all(&fx, fd, &in);
}

struct refusal {
    const char *request;
    const char *status;
};

static void assert_refusals(const struct refusal *cases, size_t count)
{
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    fixture_open(&fx, &conf);
    for (size_t i = 0; i < count; i++) {
        char *answer = raw_exchange(&fx, cases[i].request, strlen(cases[i].request));
        char expected[64];
        snprintf(expected, sizeof(expected), "HTTP/1.1 %s\r\n", cases[i].status);
        if (strncmp(answer, expected, strlen(expected)) != 0 ||
            !strstr(answer, "\r\nConnection: close\r\n") || !strstr(answer, "{\"code\":") ||
            !strstr(answer, "Content-Type: application/json\r\n")) {
            fail_msg("case %zu '%s': expected %s, got: %s", i, cases[i].request, cases[i].status,
                     answer);
        }
        free(answer);
    }
    assert_int_equal(fx.handled, 0);
    wait_for(fx.loop, http_server_connections(fx.server) == 0);
    fixture_close(&fx);
}

#define ASSERT_REFUSALS(cases) assert_refusals(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_malformed_first_lines_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"hello\r\n\r\n", "400 Bad Request"},
        {"GET\r\n\r\n", "400 Bad Request"},
        {"GET /echo\r\n\r\n", "400 Bad Request"},
        {"GET  /echo HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo HTTP/1.1 \r\nHost: t\r\n\r\n", "400 Bad Request"},
        {" GET /echo HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET echo HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo#x HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /ec\x01ho HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo HTTP/1.1\nHost: t\n\n", "400 Bad Request"},
        {"\nGET /echo HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo HTTP/1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo HTTP/a.b\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo http/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo HTTP/2.0\r\nHost: t\r\n\r\n", "505 HTTP Version Not Supported"},
        {"G@T /echo HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"FETCH /echo HTTP/1.1\r\nHost: t\r\n\r\n", "501 Not Implemented"},
        {"get /echo HTTP/1.1\r\nHost: t\r\n\r\n", "501 Not Implemented"},
        {"PATCH /echo HTTP/1.1\r\nHost: t\r\n\r\n", "405 Method Not Allowed"},
        {"CONNECT h:1 HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo%00 HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo%4 HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo%zz HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo?x=%00 HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
        {"GET /echo?%=1 HTTP/1.1\r\nHost: t\r\n\r\n", "400 Bad Request"},
    };
    ASSERT_REFUSALS(cases);
}

static void test_malformed_and_contradicting_headers_are_refused(void **state)
{
    (void)state;
#define REQUEST(headers) "POST /echo HTTP/1.1\r\nHost: t\r\n" headers "\r\n"
    static const struct refusal cases[] = {
        {"GET /echo HTTP/1.1\r\n\r\n", "400 Bad Request"},
        {REQUEST("Host: u\r\n"), "400 Bad Request"},
        {REQUEST("no colon\r\n"), "400 Bad Request"},
        {REQUEST(": x\r\n"), "400 Bad Request"},
        {REQUEST("A : x\r\n"), "400 Bad Request"},
        {REQUEST("A: x\r\n folded\r\n"), "400 Bad Request"},
        {REQUEST("A: x\ry\r\n"), "400 Bad Request"},
        {REQUEST("A: \x02\r\n"), "400 Bad Request"},
        {REQUEST("A: x\n"), "400 Bad Request"},
        {REQUEST("Content-Length: 3\r\nContent-Length: 3\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length: 3, 3\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length: +3\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length: -3\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length: 0x3\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length:\r\n") "abc", "400 Bad Request"},
        {REQUEST("Content-Length: 99999999999999999999\r\n"), "400 Bad Request"},
        {REQUEST("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
         "400 Bad Request"},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: gzip, chunked\r\n"), "501 Not Implemented"},
        {REQUEST("Transfer-Encoding: xchunked\r\n"), "501 Not Implemented"},
        {REQUEST("Expect: magic\r\n"), "417 Expectation Failed"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "x\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "-1\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "3\nabc", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "3\r\nabcd\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "1000000000000000000\r\n", "400 Bad Request"},
        {REQUEST("Transfer-Encoding: chunked\r\n") "fffffffff\r\n", "413 Content Too Large"},
        {REQUEST("Content-Length: 1048577\r\n"), "413 Content Too Large"},
        {REQUEST("Content-Length: 1048577\r\nExpect: 100-continue\r\n"), "413 Content Too Large"},
    };
#undef REQUEST
    ASSERT_REFUSALS(cases);
}

static void test_a_nul_in_the_head_is_refused(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    fixture_open(&fx, &conf);
    static const char text[] = "GET /echo HTTP/1.1\r\nHost: t\r\nA: b\0c\r\n\r\n";
    char *answer = raw_exchange(&fx, text, sizeof(text) - 1);
    assert_memory_equal(answer, "HTTP/1.1 400 ", 13);
    free(answer);
    fixture_close(&fx);
}

static void test_a_huge_head_is_refused(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    fixture_open(&fx, &conf);
    struct buf text = {0};
    buf_add_str(&text, "GET /echo HTTP/1.1\r\nHost: t\r\nA: ");
    for (int i = 0; i < 1000000; i++) {
        buf_add_str(&text, "x");
    }
    char *answer = raw_exchange(&fx, text.data, text.len);
    assert_memory_equal(answer, "HTTP/1.1 431 Request Header Fields Too Large\r\n", 46);
    free(answer);
    buf_clear(&text);
    buf_add_str(&text, "GET /echo HTTP/1.1\r\nHost: t\r\n");
    for (int i = 0; i < 100; i++) {
        buf_add_str(&text, "A: b\r\n");
    }
    buf_add_str(&text, "\r\n");
    answer = raw_exchange(&fx, text.data, text.len);
    assert_memory_equal(answer, "HTTP/1.1 431 ", 13);
    free(answer);
    buf_fini(&text);
    assert_int_equal(fx.handled, 0);
    fixture_close(&fx);
}

static void test_a_huge_body_is_refused_although_it_is_sent(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    fixture_open(&fx, &conf);
    struct buf text = {0};
    size_t size = 10 << 20;
    buf_printf(&text, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", size);
    memset(buf_reserve(&text, size), 'x', size);
    buf_grow(&text, size);
    char *answer = raw_exchange(&fx, text.data, text.len);
    assert_memory_equal(answer, "HTTP/1.1 413 Content Too Large\r\n", 32);
    assert_non_null(strstr(answer, "{\"code\":413,\"message\":\"the body is too large\"}"));
    free(answer);
    buf_fini(&text);
    fixture_close(&fx);
}

static void test_the_largest_allowed_body_arrives(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    struct buf text = {0};
    size_t size = 1 << 20;
    buf_printf(&text, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", size);
    memset(buf_reserve(&text, size), 'x', size);
    buf_grow(&text, size);
    raw_send(fx.loop, fd, text.data, text.len);
    wait_for(fx.loop, raw_poll(fd, &in) && in.len > size);
    assert_has(&in, "POST /echo x=- h=- body=xxxx");
    buf_fini(&text);
    close_all(&fx, fd, &in);
}

static void test_expect_100_continue(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd,
             "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n"
             "Content-Length: 4\r\n\r\n");
    raw_expect(fx.loop, fd, &in, "HTTP/1.1 100 Continue\r\n\r\n", 1);
    assert_int_equal(fx.handled, 0);
    raw_text(fx.loop, fd, "body");
    raw_expect(fx.loop, fd, &in, "body=body", 1);
    close_all(&fx, fd, &in);
}

static void test_head_has_no_body_and_options_tell_the_methods(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd,
             "HEAD /echo HTTP/1.1\r\nHost: t\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n"
             "HEAD /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
             "GET http://t/echo?x=9 HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, fd, &in, "x=9", 1);
    assert_has(&in, "Content-Length: 24\r\n");
    assert_int_equal(count_of(&in, "HEAD /echo"), 0);
    assert_has(&in, "HTTP/1.1 204 No Content\r\n");
    assert_has(&in, "Allow: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n");
    assert_int_equal(fx.handled, 3);
    close_all(&fx, fd, &in);
}

static void test_http_1_0_and_connection_close_end_the_connection(void **state)
{
    (void)state;
    static const char *const closing[] = {
        "GET /echo HTTP/1.0\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: t\r\nConnection: foo, Close\r\n\r\n",
    };
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    fixture_open(&fx, &conf);
    for (size_t i = 0; i < 2; i++) {
        char *answer = raw_exchange(&fx, closing[i], strlen(closing[i]));
        assert_non_null(strstr(answer, "Connection: close\r\n"));
        assert_non_null(strstr(answer, "GET /echo x=- h=- body="));
        free(answer);
    }
    struct buf in = {0};
    int fd = raw_connect(http_server_port(fx.server));
    for (int i = 1; i <= 2; i++) {
        raw_text(fx.loop, fd, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        raw_expect(fx.loop, fd, &in, "body=", i);
    }
    assert_int_equal(count_of(&in, "Connection: keep-alive\r\n"), 2);
    close_all(&fx, fd, &in);
}

static void test_a_slow_sender_is_cut_off_although_bytes_keep_coming(void **state)
{
    (void)state;
    static const char *const slow[] = {
        "GET /echo HTTP/1.1\r\nHost: t\r\nX: ",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n",
    };
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    conf.timeout_ms = 150;
    fixture_open(&fx, &conf);
    for (size_t i = 0; i < 2; i++) {
        struct buf in = {0};
        int fd = raw_connect(http_server_port(fx.server));
        int64_t begin = loop_now_ms(fx.loop);
        raw_text(fx.loop, fd, slow[i]);
        int64_t next = begin;
        while (raw_poll(fd, &in)) {
            int64_t now = loop_now_ms(fx.loop);
            assert_true(now < begin + WAIT_MS);
            if (now >= next) {
                (void)send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
                next = now + 5;
            }
            loop_turn(fx.loop, 5);
        }
        assert_has(&in, "HTTP/1.1 408 Request Timeout\r\n");
        assert_true(loop_now_ms(fx.loop) - begin >= 140);
        close(fd);
        buf_fini(&in);
    }
    assert_int_equal(fx.handled, 0);
    fixture_close(&fx);
}

static void test_idle_connections_are_closed_silently(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    conf.idle_ms = 100;
    fixture_open(&fx, &conf);
    struct buf in = {0};
    int fd = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, fd, "GET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, fd, &in, "body=", 1);
    size_t len = in.len;
    raw_expect_close(fx.loop, fd, &in);
    assert_int_equal(in.len, len);
    assert_int_equal(http_server_connections(fx.server), 0);
    close_all(&fx, fd, &in);
}

static void test_a_client_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    conf.timeout_ms = 200;
    fixture_open(&fx, &conf);
    struct buf in = {0};
    int fd = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, fd,
             "GET /big HTTP/1.1\r\nHost: t\r\n\r\nGET /big HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(fx.loop, http_server_connections(fx.server) == 0 && fx.handled > 0);
    assert_int_equal(fx.handled, 1); /* the second one waited for room */
    close_all(&fx, fd, &in);
}

static void test_a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd,
             "GET /big HTTP/1.1\r\nHost: t\r\n\r\nGET /big HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(fx.loop, raw_poll(fd, &in) && in.len > (size_t)32 << 20);
    assert_int_equal(fx.handled, 2);
    close_all(&fx, fd, &in);
}

static void test_a_half_closed_client_still_gets_its_answers(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd,
             "GET /hold HTTP/1.1\r\nHost: t\r\n\r\nGET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    shutdown(fd, SHUT_WR);
    wait_for(fx.loop, fx.held_count == 1);
    loop_turn(fx.loop, 0);
    http_reply(fx.held[0], 200, "text/plain", slice_str("late"));
    raw_expect_close(fx.loop, fd, &in);
    assert_has(&in, "\r\n\r\nlate");
    assert_has(&in, "GET /echo x=- h=- body=");
    assert_int_equal(http_server_connections(fx.server), 0);
    close_all(&fx, fd, &in);
}

static void test_a_request_outlives_its_client(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd, "POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nkeep");
    wait_for(fx.loop, fx.held_count == 1);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    for (int i = 0; i < 20; i++) {
        loop_turn(fx.loop, 1);
    }
    struct slice body = http_request_body(fx.held[0]);
    assert_int_equal(body.len, 4);
    assert_memory_equal(body.ptr, "keep", 4);
    assert_int_equal(http_server_in_flight(fx.server), 1);
    http_reply(fx.held[0], 200, "text/plain", slice_str("nobody hears it"));
    assert_int_equal(http_server_in_flight(fx.server), 0);
    wait_for(fx.loop, http_server_connections(fx.server) == 0);
    fd = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, fd, "GET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, fd, &in, "body=", 1);
    close_all(&fx, fd, &in);
}

static void test_drain_ends_idle_connections_and_lets_requests_finish(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    struct buf idle_in = {0};
    int fd = open_default(&fx);
    int port = http_server_port(fx.server);
    int idle = raw_connect(port);
    raw_text(fx.loop, idle, "GET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, idle, &idle_in, "body=", 1);
    raw_text(fx.loop, fd, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n");
    wait_for(fx.loop, fx.held_count == 1);
    http_server_drain(fx.server);
    raw_expect_close(fx.loop, idle, &idle_in);
    assert_int_equal(http_server_in_flight(fx.server), 1);
    http_reply(fx.held[0], 200, "text/plain", slice_str("done"));
    raw_expect_close(fx.loop, fd, &in);
    assert_has(&in, "Connection: close\r\n");
    assert_has(&in, "\r\n\r\ndone");
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late, (const void *)&addr, sizeof(addr)), -1);
    close(late);
    close(idle);
    buf_fini(&idle_in);
    close_all(&fx, fd, &in);
}

static void expect_refusal(struct fixture *fx, const char *status)
{
    struct buf in = {0};
    int fd = raw_connect(http_server_port(fx->server));
    raw_text(fx->loop, fd, "GET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect_close(fx->loop, fd, &in);
    assert_has(&in, status);
    assert_has(&in, "Retry-After: 1\r\n");
    assert_has(&in, "Connection: close\r\n");
    assert_has(&in, "too many connections");
    close(fd);
    buf_fini(&in);
}

static void connections_are_refused(struct http_server_conf *conf, const char *status)
{
    struct fixture fx;
    fixture_open(&fx, conf);
    struct buf in = {0};
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = raw_connect(http_server_port(fx.server));
    }
    wait_for(fx.loop, http_server_connections(fx.server) == 2);
    expect_refusal(&fx, status);
    assert_int_equal(http_server_connections(fx.server), 2);
    assert_int_equal(http_server_refused(fx.server), 1);
    assert_int_equal(fx.handled, 0);
    close(fds[0]);
    wait_for(fx.loop, http_server_connections(fx.server) == 1);
    fds[0] = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, fds[0], "GET /echo HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, fds[0], &in, "body=", 1);
    close(fds[1]);
    close_all(&fx, fds[0], &in);
}

static void test_connections_over_the_maximum_are_refused(void **state)
{
    (void)state;
    struct http_server_conf conf = fixture_conf();
    conf.connections_max = 2;
    connections_are_refused(&conf, "HTTP/1.1 503 ");
}

static void test_connections_of_one_client_over_its_maximum_are_refused(void **state)
{
    (void)state;
    struct http_server_conf conf = fixture_conf();
    conf.client_max = 2;
    connections_are_refused(&conf, "HTTP/1.1 429 ");
}

static void test_without_room_in_the_quota_large_bodies_and_answers_are_refused(void **state)
{
    (void)state;
    struct fixture fx;
    struct quota quota = {.max = 1, .used = 1}; /* others have taken all */
    struct http_server_conf conf = fixture_conf();
    conf.quota = &quota;
    conf.error_body = json_error;
    fixture_open(&fx, &conf);
    struct buf in = {0}, large = {0};
    int fd = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, fd, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(fx.loop, fd, &in, quota_text, 1);
    assert_has(&in, "HTTP/1.1 503 ");
    assert_has(&in, "Retry-After: 1\r\n");
    assert_has(&in, json_error(503, quota_text));
    assert_int_equal(fx.big_status, 503);
    raw_text(fx.loop, fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi");
    raw_expect(fx.loop, fd, &in, "body=hi", 1);
    buf_clear(&in);
    buf_add_str(&large, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n");
    memset(buf_reserve(&large, 100000), 'x', 100000);
    buf_grow(&large, 100000);
    raw_send(fx.loop, fd, large.data, large.len);
    raw_expect_close(fx.loop, fd, &in);
    assert_has(&in, "HTTP/1.1 503 ");
    assert_has(&in, quota_text);
    assert_int_equal(fx.handled, 2);
    assert_int_equal(quota.used, 1);
    buf_fini(&large);
    close_all(&fx, fd, &in);
}

static void test_unanswered_requests_are_dropped_with_the_server(void **state)
{
    (void)state;
    struct fixture fx;
    struct buf in = {0};
    int fd = open_default(&fx);
    raw_text(fx.loop, fd, "POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx");
    wait_for(fx.loop, fx.held_count == 1);
    int half = raw_connect(http_server_port(fx.server));
    raw_text(fx.loop, half, "POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nx");
    wait_for(fx.loop, http_server_connections(fx.server) == 2);
    close(half);
    close_all(&fx, fd, &in); /* asan looks for what is left */
}

static void test_two_servers_share_a_port(void **state)
{
    (void)state;
    struct fixture fx;
    struct http_server_conf conf = fixture_conf();
    conf.reuse_port = true;
    fixture_open(&fx, &conf);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", http_server_port(fx.server));
    conf.address = address;
    struct fixture second;
    fixture_open(&second, &conf);
    assert_int_equal(http_server_port(second.server), http_server_port(fx.server));
    fixture_close(&second);
    conf.reuse_port = false;
    struct reason reason = {""};
    assert_null(http_server_open(fx.loop, &conf, NULL, NULL, &reason));
    assert_non_null(strstr(reason.text, address));
    fixture_close(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_is_kept_and_requests_are_decoded),
        cmocka_unit_test(test_a_request_may_come_byte_by_byte),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_many_pipelined_requests_with_a_slow_reader),
        cmocka_unit_test(test_malformed_first_lines_are_refused),
        cmocka_unit_test(test_malformed_and_contradicting_headers_are_refused),
        cmocka_unit_test(test_a_nul_in_the_head_is_refused),
        cmocka_unit_test(test_a_huge_head_is_refused),
        cmocka_unit_test(test_a_huge_body_is_refused_although_it_is_sent),
        cmocka_unit_test(test_the_largest_allowed_body_arrives),
        cmocka_unit_test(test_expect_100_continue),
        cmocka_unit_test(test_head_has_no_body_and_options_tell_the_methods),
        cmocka_unit_test(test_http_1_0_and_connection_close_end_the_connection),
        cmocka_unit_test(test_a_slow_sender_is_cut_off_although_bytes_keep_coming),
        cmocka_unit_test(test_idle_connections_are_closed_silently),
        cmocka_unit_test(test_a_client_that_takes_nothing_is_cut_off),
        cmocka_unit_test(test_a_large_answer_arrives_whole),
        cmocka_unit_test(test_a_half_closed_client_still_gets_its_answers),
        cmocka_unit_test(test_a_request_outlives_its_client),
        cmocka_unit_test(test_drain_ends_idle_connections_and_lets_requests_finish),
        cmocka_unit_test(test_connections_over_the_maximum_are_refused),
        cmocka_unit_test(test_connections_of_one_client_over_its_maximum_are_refused),
        cmocka_unit_test(test_without_room_in_the_quota_large_bodies_and_answers_are_refused),
        cmocka_unit_test(test_unanswered_requests_are_dropped_with_the_server),
        cmocka_unit_test(test_two_servers_share_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
