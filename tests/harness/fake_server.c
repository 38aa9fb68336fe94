#include "harness/fake_server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "harness/test_port.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PATIENCE_MS = 20000,
    CONNECTIONS_MAX = 64,
    LINE_MAX_BYTES = 512,
    RULES_MAX = 16,
    PUMP_MS = 2,
};

/* A command that is answered without a step. */
struct rule {
    char words[64];
    char text[LINE_MAX_BYTES];
    unsigned count;
};

struct fake_server {
    struct loop *loop;
    struct test_port port;
    int listener;                     /* -1: refusing */
    int connections[CONNECTIONS_MAX]; /* the last one is played */
    int count;
    bool gone; /* the client closed it */
    struct buf in;
    char address[32];
    struct rule rules[RULES_MAX];
    int rule_count;
    struct loop_timer pump;
};

static void server_listen(struct fake_server *server)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)server->port.number),
                               .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int on = 1;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(server->listener, (struct sockaddr *)&addr, sizeof(addr)) ||
        listen(server->listener, 8)) {
        fail_msg("fake server cannot listen: %s", strerror(errno));
    }
}

struct fake_server *fake_server_start(struct loop *loop)
{
    struct fake_server *server = mem_new(struct fake_server);
    server->loop = loop;
    test_port_take(&server->port);
    server_listen(server);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%d", server->port.number);
    return server;
}

static int connection(const struct fake_server *server)
{
    return server->count > 0 ? server->connections[server->count - 1] : -1;
}

static void connection_close(struct fake_server *server)
{
    close(connection(server));
    server->connections[server->count - 1] = -1;
}

static void server_refuse(struct fake_server *server)
{
    close(server->listener);
    server->listener = -1;
}

void fake_server_stop(struct fake_server *server)
{
    for (int i = 0; i < server->count; i++) {
        if (server->connections[i] >= 0) {
            close(server->connections[i]);
        }
    }
    if (server->listener >= 0) {
        close(server->listener);
    }
    if (server->rule_count > 0) {
        loop_timer_clear(&server->pump);
    }
    test_port_release(&server->port);
    buf_fini(&server->in);
    free(server);
}

const char *fake_server_address(const struct fake_server *server)
{
    return server->address;
}

unsigned fake_server_segments(const struct fake_server *server)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    getsockopt(connection(server), IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_data_segs_in;
}

/* Takes what the client has sent. */
static void server_read(struct fake_server *server)
{
    char bytes[4096];
    ssize_t n;
    while ((n = recv(connection(server), bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        buf_add(&server->in, bytes, (size_t)n);
    }
    server->gone = n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* The number behind `mark` at *at; moves *at behind the line. -1: not there yet. */
static long take_number(struct slice in, size_t *at, char mark)
{
    const char *end = *at < in.len ? memchr(in.ptr + *at, '\n', in.len - *at) : NULL;
    if (!end) {
        return -1;
    }
    if (in.ptr[*at] != mark) {
        fail_msg("the client broke the protocol: %.*s", SLICE_ARG(in));
    }
    long number = strtol(in.ptr + *at + 1, NULL, 10);
    *at = (size_t)(end - in.ptr) + 1;
    return number;
}

/* The first whole command, its words joined by spaces; returns its bytes, 0: there is none yet. */
static size_t first_command(const struct fake_server *server, struct buf *out)
{
    struct slice in = buf_slice(&server->in);
    size_t at = 0;
    long argc = take_number(in, &at, '*');
    buf_clear(out);
    for (long i = 0; i < argc; i++) {
        long len = take_number(in, &at, '$');
        if (len < 0 || at + (size_t)len + 2 > in.len) {
            return 0;
        }
        buf_printf(out, "%s%.*s", i > 0 ? " " : "", (int)len, in.ptr + at);
        at += (size_t)len + 2;
    }
    return argc > 0 ? at : 0;
}

/* Takes it off; false when there is none yet. */
static bool take_command(struct fake_server *server, struct buf *out)
{
    size_t len = first_command(server, out);
    buf_drop_front(&server->in, len);
    return len > 0;
}

static bool words_match(const char *wanted, const char *got)
{
    for (;;) {
        size_t a = strcspn(wanted, " ");
        size_t b = strcspn(got, " ");
        bool any = a == 1 && wanted[0] == '*';
        bool many = a == 2 && memcmp(wanted, "**", 2) == 0;
        if (many && got[b] && words_match(wanted, got + b + 1)) {
            return true;
        }
        if (!any && !many && (a != b || memcmp(wanted, got, a) != 0)) {
            return false;
        }
        if (!wanted[a] || !got[b]) {
            return wanted[a] == got[b];
        }
        wanted += a + 1;
        got += b + 1;
    }
}

static bool server_accept(struct fake_server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        assert_true(server->count < CONNECTIONS_MAX);
        server->connections[server->count++] = fd;
        server->gone = false;
        buf_clear(&server->in);
    }
    return fd >= 0;
}

static size_t unescape(const char *text, char bytes[LINE_MAX_BYTES])
{
    size_t len = 0;
    for (const char *p = text; *p; p++) {
        bool escaped = p[0] == '\\' && (p[1] == 'r' || p[1] == 'n');
        bytes[len++] = (char)(!escaped ? *p : p[1] == 'r' ? '\r' : '\n');
        p += escaped;
    }
    return len;
}

static struct rule *rule_of(struct fake_server *server, const char *command)
{
    for (int i = 0; i < server->rule_count; i++) {
        if (words_match(server->rules[i].words, command)) {
            return &server->rules[i];
        }
    }
    return NULL;
}

/* Answers what a rule answers, up to the first command that wants a step. */
static void server_answer(struct fake_server *server)
{
    struct buf command = {0};
    struct rule *rule;
    size_t len;
    while ((len = first_command(server, &command)) > 0 && (rule = rule_of(server, command.data))) {
        char bytes[LINE_MAX_BYTES];
        size_t n = unescape(rule->text, bytes);
        buf_drop_front(&server->in, len);
        rule->count++;
        (void)send(connection(server), bytes, n, MSG_NOSIGNAL);
    }
    buf_fini(&command);
}

static void on_pump(void *arg)
{
    struct fake_server *server = arg;
    if (server->listener >= 0) {
        (void)server_accept(server);
    }
    if (connection(server) >= 0) {
        server_read(server);
        server_answer(server);
    }
    loop_timer_set(&server->pump, loop_now_ms(server->loop) + PUMP_MS);
}

void fake_server_always(struct fake_server *server, const char *words, const char *text)
{
    struct rule *rule = rule_of(server, words);
    if (server->rule_count == 0) {
        loop_timer_init(&server->pump, server->loop, on_pump, server);
        loop_timer_set(&server->pump, 0);
    }
    if (!rule) {
        assert_true(server->rule_count < RULES_MAX);
        rule = &server->rules[server->rule_count++];
    }
    snprintf(rule->words, sizeof(rule->words), "%s", words);
    snprintf(rule->text, sizeof(rule->text), "%s", text);
}

unsigned fake_server_count(const struct fake_server *server, const char *words)
{
    for (int i = 0; i < server->rule_count; i++) {
        if (strcmp(server->rules[i].words, words) == 0) {
            return server->rules[i].count;
        }
    }
    return 0;
}

static void turn(struct fake_server *server, int64_t end_ms, const char *step)
{
    if (clock_mono_ms() > end_ms) {
        fail_msg("fake server: %s did not happen", step);
    }
    loop_turn(server->loop, 5);
}

static void play_accept(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest;
    while (!server_accept(server)) {
        turn(server, end_ms, "ACCEPT");
    }
}

static void play_expect(struct fake_server *server, const char *rest, int64_t end_ms)
{
    struct buf command = {0};
    while (!take_command(server, &command)) {
        turn(server, end_ms, rest);
        server_read(server);
        server_answer(server);
    }
    if (!words_match(rest, command.data)) {
        fail_msg("fake server: expected '%s', got '%s'", rest, command.data);
    }
    buf_fini(&command);
}

static void play_send(struct fake_server *server, const char *rest, int64_t end_ms)
{
    char bytes[LINE_MAX_BYTES];
    (void)end_ms;
    size_t len = unescape(rest, bytes);
    assert_int_equal(send(connection(server), bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void play_close(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest, (void)end_ms;
    server_read(server); /* else the kernel would send a reset */
    connection_close(server);
}

static void play_reset(struct fake_server *server, const char *rest, int64_t end_ms)
{
    struct linger linger = {.l_onoff = 1};
    (void)rest, (void)end_ms;
    setsockopt(connection(server), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    connection_close(server);
}

static void play_gone(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest;
    for (server_read(server); !server->gone; server_read(server)) {
        turn(server, end_ms, "GONE");
    }
    connection_close(server);
}

static void play_nothing(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest;
    turn(server, end_ms, "NOTHING");
    server_read(server);
    server_answer(server);
    assert_int_equal(server->in.len, 0);
}

static void play_refuse(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest, (void)end_ms;
    server_refuse(server);
}

static void play_listen(struct fake_server *server, const char *rest, int64_t end_ms)
{
    (void)rest, (void)end_ms;
    server_listen(server);
}

static void play_line(struct fake_server *server, const char *line)
{
    static const struct {
        const char *name;
        void (*play)(struct fake_server *server, const char *rest, int64_t end_ms);
    } steps[] = {
        {"ACCEPT", play_accept},   {"EXPECT ", play_expect}, {"SEND ", play_send},
        {"CLOSE", play_close},     {"RESET", play_reset},    {"GONE", play_gone},
        {"NOTHING", play_nothing}, {"REFUSE", play_refuse},  {"LISTEN", play_listen},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        size_t len = strlen(steps[i].name);
        if (strncmp(line, steps[i].name, len) == 0) {
            steps[i].play(server, line + len, clock_mono_ms() + PATIENCE_MS);
            return;
        }
    }
    fail_msg("fake server: no such step: %s", line);
}

void fake_server_play(struct fake_server *server, const char *script)
{
    char line[LINE_MAX_BYTES];
    while (*script) {
        size_t len = strcspn(script, "\n");
        assert_true(len < sizeof(line));
        memcpy(line, script, len);
        line[len] = '\0';
        if (len > 0) {
            play_line(server, line);
        }
        script += len + (script[len] == '\n');
    }
}
