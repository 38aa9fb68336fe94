#include "http_fixture.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
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

static const char *error_body(int status, const char *message)
{
    static char text[256];
    snprintf(text, sizeof(text), "{\"code\":%d,\"message\":\"%s\"}", status, message);
    return text;
}

const char *json_error(int status, const char *message)
{
    static char text[200];
    snprintf(text, sizeof(text), "{\"status\":%d,\"message\":\"%s\"}", status, message);
    return text;
}

struct http_server_conf fixture_conf(void)
{
    return (struct http_server_conf){.address = "127.0.0.1:0",
                                     .body_max = 1 << 20,
                                     .header_max = 16384,
                                     .timeout_ms = 10000,
                                     .error_body = error_body};
}

static const char *or_none(const char *text)
{
    return text ? text : "-";
}

static void echo(struct http_request *request)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OTHER"};
    struct slice body = http_request_body(request);
    struct buf out = {0};
    buf_printf(&out, "%s %s x=%s h=%s body=", methods[http_request_method(request)],
               http_request_path(request), or_none(http_request_query(request, "x")),
               or_none(http_request_header(request, "x-test")));
    buf_add_slice(&out, body);
    http_reply_header(request, "X-Good", "yes");
    http_reply_header(request, "X-Evil", "a\r\nX-Injected: 1");
    http_reply(request, 200, "text/plain", buf_slice(&out));
    buf_fini(&out);
}

static int send_big(struct http_request *request)
{
    size_t n = 16 << 20; /* more than the kernel takes for a client that reads nothing */
    char *bytes = mem_alloc(n);
    memset(bytes, 'b', n);
    int status = http_reply(request, 200, "text/plain", slice_make(bytes, n));
    free(bytes);
    return status;
}

static void handle(void *arg, struct http_request *request)
{
    struct fixture *fx = arg;
    const char *path = http_request_path(request);
    fx->handled++;
    if (strncmp(path, "/echo", 5) == 0) {
        echo(request);
    } else if (strcmp(path, "/big") == 0) {
        fx->big_status = send_big(request);
    } else if (strcmp(path, "/hold") == 0) {
        assert_true(fx->held_count < HELD_MAX);
        fx->held[fx->held_count++] = request;
    } else {
        http_reply(request, 404, "text/plain", slice_str("no such path"));
    }
}

void fixture_open(struct fixture *fx, const struct http_server_conf *conf)
{
    *fx = (struct fixture){.loop = loop_new()};
    struct reason reason = {""};
    fx->server = http_server_open(fx->loop, conf, handle, fx, &reason);
    if (!fx->server) {
        fail_msg("%s", reason.text);
    }
}

void fixture_close(struct fixture *fx)
{
    http_server_free(fx->server);
    loop_turn(fx->loop, 0);
    loop_free(fx->loop);
}

int raw_connect(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const void *)&addr, sizeof(addr)), 0);
    return fd;
}

void raw_send(struct loop *loop, int fd, const char *data, size_t n)
{
    int64_t until = loop_now_ms(loop) + WAIT_MS;
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            return; /* the server has closed: what it said is to be read */
        }
        n -= sent > 0 ? (size_t)sent : 0;
        data += sent > 0 ? sent : 0;
        assert_true(loop_now_ms(loop) < until);
        loop_turn(loop, sent > 0 ? 0 : 1);
    }
}

void raw_text(struct loop *loop, int fd, const char *text)
{
    raw_send(loop, fd, text, strlen(text));
}

bool raw_poll(int fd, struct buf *in)
{
    for (;;) {
        char chunk[65536];
        ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (n <= 0) {
            return false;
        }
        buf_add(in, chunk, (size_t)n);
    }
}

int count_of(const struct buf *in, const char *needle)
{
    int count = 0;
    size_t n = strlen(needle);
    for (size_t i = 0; i + n <= in->len; i++) {
        count += memcmp(in->data + i, needle, n) == 0;
    }
    return count;
}

void raw_expect(struct loop *loop, int fd, struct buf *in, const char *needle, int count)
{
    int64_t until = loop_now_ms(loop) + WAIT_MS;
    bool open = true;
    while (count_of(in, needle) < count) {
        if (!open || loop_now_ms(loop) >= until) {
            fail_msg("'%s' has not come %d times, only: %.2000s", needle, count,
                     in->len ? in->data : "");
        }
        loop_turn(loop, 5);
        open = raw_poll(fd, in);
    }
}

void raw_expect_close(struct loop *loop, int fd, struct buf *in)
{
    wait_for(loop, !raw_poll(fd, in));
}

char *raw_exchange(struct fixture *fx, const char *data, size_t n)
{
    int fd = raw_connect(http_server_port(fx->server));
    struct buf in = {0};
    raw_send(fx->loop, fd, data, n);
    raw_expect_close(fx->loop, fd, &in);
    close(fd);
    char *text = mem_dup(in.data, in.len);
    buf_fini(&in);
    return text;
}
