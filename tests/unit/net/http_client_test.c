/* The HTTP client against our server, and against a peer that does what the test says. */
#include "http_fixture.h"

#include "base/mem.h"
#include "net/socket.h"

#include <netinet/in.h>
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

/* One call and what came of it. */
struct outcome {
    int times;
    enum err err;
    int status;
    char body[512];
    size_t body_len;
    char header[64];
    char why[256];
};

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct outcome *o = arg;
    o->times++;
    o->err = answer->err;
    o->status = answer->status;
    o->body_len = answer->body.len;
    snprintf(o->body, sizeof(o->body), "%.*s", SLICE_ARG(answer->body));
    const char *header = answer->header(answer, "x-good");
    snprintf(o->header, sizeof(o->header), "%s", header ? header : "-");
    snprintf(o->why, sizeof(o->why), "%s", answer->why ? answer->why : "");
}

/* A listening socket that the test plays the server on, and a client. */
struct peer {
    struct loop *loop;
    struct http_client *client;
    int listener;
    int port;
    int fd; /* the latest connection */
    struct buf in;
    struct http_client_conf conf;
};

static void peer_open(struct peer *p)
{
    if (!p->conf.per_host_max) {
        p->conf = (struct http_client_conf){.per_host_max = 2,
                                            .waiting_max = 100,
                                            .connect_timeout_ms = 5000,
                                            .idle_ms = 60000,
                                            .body_max = 100000};
    }
    p->loop = loop_new();
    p->client = http_client_new(p->loop, &p->conf);
    struct reason reason;
    p->listener = socket_listen("127.0.0.1:0", false, &reason);
    assert_true(p->listener >= 0);
    p->port = socket_port(p->listener);
    p->fd = -1;
}

static void peer_close(struct peer *p)
{
    if (p->client) {
        http_client_free(p->client);
    }
    if (p->fd >= 0) {
        close(p->fd);
    }
    if (p->listener >= 0) {
        close(p->listener);
    }
    buf_fini(&p->in);
    loop_turn(p->loop, 0);
    loop_free(p->loop);
}

static void peer_call(struct peer *p, const char *path, int64_t wait_ms, struct outcome *o)
{
    char url[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", p->port, path);
    struct http_call call = {.method = HTTP_POST,
                             .url = url,
                             .body = slice_str("ping"),
                             .deadline_ms = loop_now_ms(p->loop) + wait_ms};
    struct reason reason = {""};
    if (http_client_call(p->client, &call, on_answer, o, &reason) != ERR_OK) {
        fail_msg("%s", reason.text);
    }
    assert_int_equal(o->times, 0);
}

static bool try_accept(struct peer *p)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        p->fd = fd;
    }
    return fd >= 0;
}

static void peer_accept(struct peer *p)
{
    if (p->fd >= 0) {
        close(p->fd);
        p->fd = -1;
    }
    wait_for(p->loop, try_accept(p));
}

/* Reads one request with the body "ping". */
static void peer_read(struct peer *p)
{
    buf_clear(&p->in);
    raw_expect(p->loop, p->fd, &p->in, "\r\n\r\nping", 1);
}

static void assert_outcome(struct peer *p, struct outcome *o, enum err err, const char *text)
{
    wait_for(p->loop, o->times > 0);
    if (o->times != 1 || o->err != err || strcmp(err ? o->why : o->body, text) != 0) {
        fail_msg("times %d, %s, why '%s', body '%s'; expected %s '%s'", o->times, err_text(o->err),
                 o->why, o->body, err_text(err), text);
    }
}

static void test_a_request_is_written_as_it_should(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    char url[128];
    snprintf(url, sizeof(url), "http://LOCALHOST:%d?x={\xC3\xA4}#frag", p.port);
    struct http_header headers[] = {{SLICE_LIT("X-A"), SLICE_LIT("b c")},
                                    {SLICE_LIT("content-type"), SLICE_LIT("text/x")},
                                    {SLICE_LIT("connection"), SLICE_LIT("close")},
                                    {SLICE_LIT("Content-Length"), SLICE_LIT("99")}};
    struct http_call call = {.method = HTTP_PUT,
                             .url = url,
                             .headers = headers,
                             .header_count = 4,
                             .body = slice_str("ping"),
                             .deadline_ms = loop_now_ms(p.loop) + WAIT_MS};
    struct outcome o = {0};
    assert_int_equal(http_client_call(p.client, &call, on_answer, &o, NULL), ERR_OK);
    peer_accept(&p);
    peer_read(&p);
    char expected[256];
    snprintf(expected, sizeof(expected),
             "PUT /?x=%%7B%%C3%%A4%%7D HTTP/1.1\r\nHost: LOCALHOST:%d\r\nX-A: b c\r\n"
             "content-type: text/x\r\nContent-Length: 4\r\n\r\nping",
             p.port);
    assert_string_equal(p.in.data, expected);
    raw_text(p.loop, p.fd, "HTTP/1.1 204 No Content\r\nx-GOOD:  yes \r\n\r\n");
    assert_outcome(&p, &o, ERR_OK, "");
    assert_int_equal(o.status, 204);
    assert_string_equal(o.header, "yes");
    peer_close(&p);
}

static void test_defaults_of_a_request(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *body;
        const char *text; /* behind the Host header */
    } cases[] = {
        {HTTP_GET, "", "\r\n"},
        {HTTP_HEAD, "", "\r\n"},
        {HTTP_POST, "", "Content-Length: 0\r\n\r\n"},
        {HTTP_DELETE, "", "\r\n"},
        {HTTP_DELETE, "xy", "Content-Type: application/json\r\nContent-Length: 2\r\n\r\nxy"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer p = {0};
        peer_open(&p);
        char url[64];
        snprintf(url, sizeof(url), "http://127.0.0.1:%d/p", p.port);
        struct http_call call = {.method = cases[i].method,
                                 .url = url,
                                 .body = slice_str(cases[i].body),
                                 .deadline_ms = loop_now_ms(p.loop) + WAIT_MS};
        struct outcome o = {0};
        assert_int_equal(http_client_call(p.client, &call, on_answer, &o, NULL), ERR_OK);
        peer_accept(&p);
        char tail[128];
        snprintf(tail, sizeof(tail), "\r\nHost: 127.0.0.1:%d\r\n%s", p.port, cases[i].text);
        raw_expect(p.loop, p.fd, &p.in, tail, 1);
        assert_string_equal(p.in.data + p.in.len - strlen(tail), tail);
        raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_outcome(&p, &o, ERR_OK, "");
        peer_close(&p);
    }
}

static void test_answers_in_every_framing(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *body;
        bool keeps;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong", "pong", true},
        {"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npo\r\n2;x\r\nng\r\n0\r\n\r\n",
         "pong", true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong",
         "pong", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", "", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npong", "pong", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\npong", "pong", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\npong", "pong",
         true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong extra", "pong", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer p = {0};
        peer_open(&p);
        struct outcome o = {0};
        peer_call(&p, "/", WAIT_MS, &o);
        peer_accept(&p);
        peer_read(&p);
        raw_text(p.loop, p.fd, cases[i].answer);
        assert_outcome(&p, &o, ERR_OK, cases[i].body);
        struct outcome again = {0};
        peer_call(&p, "/", WAIT_MS, &again);
        if (!cases[i].keeps) {
            peer_accept(&p);
        }
        peer_read(&p);
        raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
        assert_outcome(&p, &again, ERR_OK, "again");
        peer_close(&p);
    }
}

static void test_an_answer_may_end_with_the_connection(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    struct outcome o = {0};
    peer_call(&p, "/", WAIT_MS, &o);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\n\r\npo");
    raw_text(p.loop, p.fd, "ng");
    shutdown(p.fd, SHUT_WR);
    assert_outcome(&p, &o, ERR_OK, "pong");
    peer_close(&p);
}

static void test_broken_answers_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err err;
        const char *why;
    } cases[] = {
        {"hello\r\n\r\n", ERR_PROTOCOL, "the status line is malformed"},
        {"HTTP/2.0 200 OK\r\n\r\n", ERR_PROTOCOL, "the status line is malformed"},
        {"HTTP/1.1 20 OK\r\n\r\n", ERR_PROTOCOL, "the status line is malformed"},
        {"HTTP/1.1 2000 OK\r\n\r\n", ERR_PROTOCOL, "the status line is malformed"},
        {"HTTP/1.1 -20 OK\r\n\r\n", ERR_PROTOCOL, "the status line is malformed"},
        {"HTTP/1.1 200 OK\n\n", ERR_PROTOCOL, "a line of the answer does not end in CR LF"},
        {"HTTP/1.1 200 OK\r\nA\r\n\r\n", ERR_PROTOCOL, "a header line is malformed"},
        {"HTTP/1.1 101 Switching\r\n\r\n", ERR_PROTOCOL, "the answer switches protocols"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_PROTOCOL,
         "Transfer-Encoding contradicts the rest of the head"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_PROTOCOL,
         "the chunked body of the answer is malformed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n", ERR_LIMIT,
         "the body of the answer is too large"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n", ERR_LIMIT,
         "the body of the answer is too large"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer p = {0};
        peer_open(&p);
        struct outcome o = {0};
        peer_call(&p, "/", WAIT_MS, &o);
        peer_accept(&p);
        peer_read(&p);
        raw_text(p.loop, p.fd, cases[i].answer);
        assert_outcome(&p, &o, cases[i].err, cases[i].why);
        assert_int_equal(o.status, 0);
        raw_expect_close(p.loop, p.fd, &p.in);
        peer_close(&p);
    }
}

static void test_endless_answers_are_cut_off(void **state)
{
    (void)state;
    static const char *const begins[] = {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA: "};
    static const char *const whys[] = {"the body of the answer is too large",
                                       "the head of the answer is too large"};
    for (size_t i = 0; i < 2; i++) {
        struct peer p = {0};
        peer_open(&p);
        struct outcome o = {0};
        peer_call(&p, "/", WAIT_MS, &o);
        peer_accept(&p);
        peer_read(&p);
        raw_text(p.loop, p.fd, begins[i]);
        char chunk[1000];
        memset(chunk, 'x', sizeof(chunk));
        for (int k = 0; k < 1000 && o.times == 0; k++) {
            raw_send(p.loop, p.fd, chunk, sizeof(chunk));
        }
        assert_outcome(&p, &o, ERR_LIMIT, whys[i]);
        peer_close(&p);
    }
}

static void test_a_kept_connection_that_was_closed_is_replaced_silently(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    struct outcome first = {0};
    peer_call(&p, "/", WAIT_MS, &first);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_outcome(&p, &first, ERR_OK, "1");
    struct outcome second = {0};
    peer_call(&p, "/", WAIT_MS, &second); /* before the client can see that it is closed */
    close(p.fd);
    p.fd = -1;
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_outcome(&p, &second, ERR_OK, "2");
    struct outcome third = {0}; /* twice in a row is an error, not a loop */
    peer_call(&p, "/", WAIT_MS, &third);
    peer_read(&p);
    peer_accept(&p);
    peer_read(&p);
    shutdown(p.fd, SHUT_WR);
    assert_outcome(&p, &third, ERR_CLOSED, "connection closed before any answer");
    peer_close(&p);
}

static void test_a_connection_that_ends_early_is_an_error(void **state)
{
    (void)state;
    static const char *const parts[] = {"", "HTTP/1.1 2",
                                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1"};
    static const char *const whys[] = {"connection closed before any answer",
                                       "connection closed in the middle of the answer",
                                       "connection closed in the middle of the answer"};
    for (size_t i = 0; i < 3; i++) {
        struct peer p = {0};
        peer_open(&p);
        struct outcome o = {0};
        peer_call(&p, "/", WAIT_MS, &o);
        peer_accept(&p);
        peer_read(&p);
        raw_text(p.loop, p.fd, parts[i]);
        shutdown(p.fd, SHUT_WR);
        assert_outcome(&p, &o, ERR_CLOSED, whys[i]);
        peer_close(&p);
    }
}

static void test_a_half_answer_on_a_kept_connection_is_not_repeated(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    struct outcome first = {0};
    peer_call(&p, "/", WAIT_MS, &first);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_outcome(&p, &first, ERR_OK, "1");
    struct outcome second = {0};
    peer_call(&p, "/", WAIT_MS, &second);
    peer_read(&p);
    raw_text(p.loop, p.fd, "H");
    shutdown(p.fd, SHUT_WR);
    assert_outcome(&p, &second, ERR_CLOSED, "connection closed in the middle of the answer");
    assert_false(try_accept(&p));
    peer_close(&p);
}

static void test_a_refused_connection_is_an_error(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    close(p.listener);
    p.listener = -1;
    struct outcome o = {0};
    peer_call(&p, "/", WAIT_MS, &o);
    wait_for(p.loop, o.times > 0);
    assert_int_equal(o.err, ERR_CONNECT);
    assert_non_null(strstr(o.why, "127.0.0.1"));
    peer_close(&p);
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct peer p = {.conf = {.per_host_max = 1,
                              .waiting_max = 1,
                              .connect_timeout_ms = 5000,
                              .idle_ms = 60000,
                              .body_max = 1000}};
    peer_open(&p);
    struct outcome on_wire = {0};
    struct outcome in_line = {0};
    int64_t begin = loop_now_ms(p.loop);
    peer_call(&p, "/1", 300, &on_wire);
    peer_call(&p, "/2", 100, &in_line);
    peer_accept(&p);
    assert_outcome(&p, &in_line, ERR_TIMEOUT, "deadline passed while waiting for a connection");
    assert_int_equal(on_wire.times, 0);
    assert_outcome(&p, &on_wire, ERR_TIMEOUT, "no answer by the deadline");
    int64_t took = loop_now_ms(p.loop) - begin;
    assert_true(took >= 300 && took < 3000);
    raw_expect_close(p.loop, p.fd, &p.in);
    peer_close(&p);
}

static void test_calls_wait_in_line_and_beyond_that_are_refused(void **state)
{
    (void)state;
    struct peer p = {.conf = {.per_host_max = 1,
                              .waiting_max = 2,
                              .connect_timeout_ms = 5000,
                              .idle_ms = 60000,
                              .body_max = 1000}};
    peer_open(&p);
    struct outcome o[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        char path[8];
        snprintf(path, sizeof(path), "/%d", i);
        peer_call(&p, path, WAIT_MS, &o[i]);
    }
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", p.port);
    struct http_call call = {.url = url, .deadline_ms = loop_now_ms(p.loop) + WAIT_MS};
    struct outcome refused = {0};
    struct reason reason = {""};
    assert_int_equal(http_client_call(p.client, &call, on_answer, &refused, &reason), ERR_BUSY);
    assert_non_null(strstr(reason.text, "2 calls wait for 127.0.0.1:"));
    peer_accept(&p);
    for (int i = 0; i < 3; i++) {
        char first[32];
        snprintf(first, sizeof(first), "POST /%d HTTP", i);
        peer_read(&p);
        assert_memory_equal(p.in.data, first, strlen(first));
        raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_outcome(&p, &o[i], ERR_OK, "ok");
    }
    assert_int_equal(refused.times, 0);
    peer_close(&p);
}

static void test_idle_connections_are_closed(void **state)
{
    (void)state;
    struct peer p = {.conf = {.per_host_max = 1,
                              .waiting_max = 2,
                              .connect_timeout_ms = 5000,
                              .idle_ms = 50,
                              .body_max = 1000}};
    peer_open(&p);
    struct outcome o = {0};
    peer_call(&p, "/", WAIT_MS, &o);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_outcome(&p, &o, ERR_OK, "ok");
    raw_expect_close(p.loop, p.fd, &p.in);
    struct outcome again = {0};
    peer_call(&p, "/", WAIT_MS, &again);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_outcome(&p, &again, ERR_OK, "ok");
    peer_close(&p);
}

static void test_free_cancels_what_is_under_way(void **state)
{
    (void)state;
    struct peer p = {.conf = {.per_host_max = 2,
                              .waiting_max = 2,
                              .connect_timeout_ms = 5000,
                              .idle_ms = 60000,
                              .body_max = 1000}};
    peer_open(&p);
    struct outcome sent = {0};
    struct outcome connecting = {0};
    struct outcome waiting = {0};
    peer_call(&p, "/", WAIT_MS, &sent);
    peer_accept(&p);
    peer_read(&p);
    peer_call(&p, "/", WAIT_MS, &connecting);
    peer_call(&p, "/", WAIT_MS, &waiting);
    http_client_free(p.client);
    p.client = NULL;
    assert_outcome(&p, &sent, ERR_CANCELLED, "the client is closing");
    assert_outcome(&p, &connecting, ERR_CANCELLED, "the client is closing");
    assert_outcome(&p, &waiting, ERR_CANCELLED, "the client is closing");
    peer_close(&p);
}

static void free_client(void *arg, const struct http_answer *answer)
{
    struct peer *p = arg;
    assert_int_equal(answer->err, ERR_OK);
    assert_true(slice_eq_str(answer->body, "ok"));
    http_client_free(p->client);
    p->client = NULL;
    assert_true(slice_eq_str(answer->body, "ok"));
}

static void test_the_client_may_be_freed_inside_a_callback(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", p.port);
    struct http_call call = {
        .method = HTTP_POST, .url = url, .body = slice_str("ping"), .deadline_ms = INT64_MAX / 2};
    assert_int_equal(http_client_call(p.client, &call, free_client, &p, NULL), ERR_OK);
    peer_accept(&p);
    peer_read(&p);
    raw_text(p.loop, p.fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    wait_for(p.loop, p.client == NULL);
    peer_close(&p);
}

static void assert_call_refused(struct peer *p, const struct http_call *call, const char *expected)
{
    struct outcome o = {0};
    struct reason reason = {""};
    assert_int_equal(http_client_call(p->client, call, on_answer, &o, &reason), ERR_INVALID);
    assert_string_equal(reason.text, expected);
    loop_turn(p->loop, 0);
    assert_int_equal(o.times, 0);
}

static void test_header_injection_and_bad_calls_are_refused(void **state)
{
    (void)state;
    struct peer p = {0};
    peer_open(&p);
    struct http_header bad_value = {SLICE_LIT("X-A"), SLICE_LIT("b\r\nX-Evil: 1")};
    struct http_header bad_name = {SLICE_LIT("X-A: b\r\nX-Evil"), SLICE_LIT("1")};
    struct http_call call = {
        .url = "http://127.0.0.1:1/", .headers = &bad_value, .header_count = 1};
    assert_call_refused(&p, &call, "header 'X-A' has a control character in its value");
    call.headers = &bad_name;
    assert_call_refused(&p, &call, "header name 'X-A: b??X-Evil' is malformed");
    call.header_count = 0;
    call.method = HTTP_OTHER;
    assert_call_refused(&p, &call, "the method must be GET, POST, PUT, DELETE or HEAD");
    call.method = HTTP_GET;
    call.url = "http://127.0.0.1:1/ HTTP/1.1\r\nX-Evil: 1";
    assert_call_refused(&p, &call,
                        "url 'http://127.0.0.1:1/ HTTP/1.1??X-Evil: 1': has a space or a control "
                        "character");
    peer_close(&p);
}

/* ---- with the real server ---- */

struct load {
    struct fixture fx;
    struct http_client *client;
    int started;
    int done;
    char url[64];
};

enum { LOAD_COUNT = 10000, LOAD_IN_FLIGHT = 50 };

struct load_call {
    struct load *load;
    int number;
};

static void load_next(struct load *load);

static void on_load_answer(void *arg, const struct http_answer *answer)
{
    struct load_call *mine = arg;
    struct load *load = mine->load;
    char expected[64];
    int n = snprintf(expected, sizeof(expected), "POST /echo x=%d h=%d body=%d", mine->number,
                     mine->number, mine->number);
    if (answer->err || answer->status != 200 ||
        !slice_eq(answer->body, slice_make(expected, (size_t)n))) {
        fail_msg("call %d: %s, status %d, '%.*s'", mine->number, err_text(answer->err),
                 answer->status, SLICE_ARG(answer->body));
    }
    free(mine);
    load->done++;
    load_next(load);
}

static void load_next(struct load *load)
{
    if (load->started == LOAD_COUNT) {
        return;
    }
    struct load_call *mine = mem_new(struct load_call);
    *mine = (struct load_call){load, load->started++};
    char number[16];
    snprintf(number, sizeof(number), "%d", mine->number);
    struct buf url = {0};
    buf_add_str(&url, load->url);
    http_url_add_query(&url, "x", slice_str(number));
    struct http_header header = {SLICE_LIT("X-Test"), slice_str(number)};
    struct http_call call = {.method = HTTP_POST,
                             .url = url.data,
                             .headers = &header,
                             .header_count = 1,
                             .body = slice_str(number),
                             .deadline_ms = loop_now_ms(load->fx.loop) + WAIT_MS};
    assert_int_equal(http_client_call(load->client, &call, on_load_answer, mine, NULL), ERR_OK);
    buf_fini(&url);
}

static void test_ten_thousand_requests_over_four_connections(void **state)
{
    (void)state;
    struct load load = {0};
    struct http_server_conf conf = fixture_conf();
    fixture_open(&load.fx, &conf);
    struct http_client_conf client_conf = {.per_host_max = 4,
                                           .waiting_max = 100,
                                           .connect_timeout_ms = 5000,
                                           .idle_ms = 60000,
                                           .body_max = 1000};
    load.client = http_client_new(load.fx.loop, &client_conf);
    snprintf(load.url, sizeof(load.url), "http://localhost:%d/echo",
             http_server_port(load.fx.server));
    for (int i = 0; i < LOAD_IN_FLIGHT; i++) {
        load_next(&load);
    }
    int64_t until = loop_now_ms(load.fx.loop) + 50000;
    while (load.done < LOAD_COUNT) {
        assert_true(loop_now_ms(load.fx.loop) < until);
        loop_turn(load.fx.loop, 100);
    }
    assert_int_equal(load.fx.handled, LOAD_COUNT);
    assert_int_equal(http_server_connections(load.fx.server), 4);
    http_client_free(load.client);
    fixture_close(&load.fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_written_as_it_should),
        cmocka_unit_test(test_defaults_of_a_request),
        cmocka_unit_test(test_answers_in_every_framing),
        cmocka_unit_test(test_an_answer_may_end_with_the_connection),
        cmocka_unit_test(test_broken_answers_are_errors),
        cmocka_unit_test(test_endless_answers_are_cut_off),
        cmocka_unit_test(test_a_kept_connection_that_was_closed_is_replaced_silently),
        cmocka_unit_test(test_a_connection_that_ends_early_is_an_error),
        cmocka_unit_test(test_a_half_answer_on_a_kept_connection_is_not_repeated),
        cmocka_unit_test(test_a_refused_connection_is_an_error),
        cmocka_unit_test(test_silence_ends_at_the_deadline),
        cmocka_unit_test(test_calls_wait_in_line_and_beyond_that_are_refused),
        cmocka_unit_test(test_idle_connections_are_closed),
        cmocka_unit_test(test_free_cancels_what_is_under_way),
        cmocka_unit_test(test_the_client_may_be_freed_inside_a_callback),
        cmocka_unit_test(test_header_injection_and_bad_calls_are_refused),
        cmocka_unit_test(test_ten_thousand_requests_over_four_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
