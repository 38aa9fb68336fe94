#include "net/dial.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/socket.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A question to the resolver. It outlives a cancelled dial: libevent answers it later. */
struct resolve {
    struct dial *dial; /* NULL: cancelled */
    struct evdns_getaddrinfo_request *request;
    struct evutil_addrinfo *list;
    int result;
    bool starting;
    bool done;
};

struct dial {
    struct loop *loop;
    dial_cb cb;
    void *arg;
    char *text;
    struct address address;
    struct resolve *resolve;
    struct evutil_addrinfo *list; /* all addresses of the name */
    struct evutil_addrinfo *next; /* not tried yet */
    struct loop_task begin;
    struct loop_timer timer;
    struct event writable;
    int64_t timeout_ms;
    int64_t deadline_ms;
    int fd; /* -1: none on its way */
    char why[384];
};

static void dial_free(void *ptr)
{
    struct dial *dial = ptr;
    if (dial->list) {
        evutil_freeaddrinfo(dial->list);
    }
    free(dial->text);
    free(dial);
}

/* Forgets the socket that is on its way and returns it. */
static int take_fd(struct dial *dial)
{
    int fd = dial->fd;
    if (fd >= 0) {
        event_del(&dial->writable);
        dial->fd = -1;
    }
    return fd;
}

static void drop_fd(struct dial *dial)
{
    int fd = take_fd(dial);
    if (fd >= 0) {
        close(fd);
    }
}

void dial_cancel(struct dial *dial)
{
    drop_fd(dial);
    loop_undefer(dial->loop, &dial->begin);
    loop_timer_clear(&dial->timer);
    if (dial->resolve) {
        dial->resolve->dial = NULL;
        evdns_getaddrinfo_cancel(dial->resolve->request);
    }
    loop_defer_free(dial->loop, dial, dial_free);
}

static void finish(struct dial *dial, enum err err, int fd)
{
    dial_cb cb = dial->cb;
    void *arg = dial->arg;
    dial_cancel(dial);
    cb(arg, err, fd, dial->why); /* the text lives until the turn ends */
}

static void set_why(struct dial *dial, const char *what)
{
    snprintf(dial->why, sizeof(dial->why), "cannot connect to %s: %s", dial->text, what);
}

/* A free local port in the ephemeral range can be connected to itself, when nobody listens on it:
 * that would also keep the real listener from coming back. */
static bool is_self_connected(int fd)
{
    struct sockaddr_storage own = {0};
    struct sockaddr_storage peer = {0};
    socklen_t own_len = sizeof(own);
    socklen_t peer_len = sizeof(peer);
    return getsockname(fd, (void *)&own, &own_len) == 0 && own.ss_family != AF_UNIX &&
           getpeername(fd, (void *)&peer, &peer_len) == 0 && own_len == peer_len &&
           memcmp(&own, &peer, own_len) == 0;
}

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

static void next_address(struct dial *dial);

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct dial *dial = arg;
    int error = socket_error(fd);
    if (error == 0 && is_self_connected(fd)) {
        error = ECONNREFUSED;
    }
    if (error != 0) {
        set_why(dial, strerror(error));
        drop_fd(dial);
        next_address(dial);
        return;
    }
    socket_set_tcp(fd);
    finish(dial, ERR_OK, take_fd(dial));
}

/* False when the address is no good. Success comes later in any case. */
static bool try_address(struct dial *dial, const struct sockaddr *addr, socklen_t len)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        set_why(dial, strerror(errno));
        return false;
    }
    if (connect(fd, addr, len) != 0 && errno != EINPROGRESS) {
        set_why(dial, strerror(errno));
        close(fd);
        return false;
    }
    dial->fd = fd;
    event_assign(&dial->writable, loop_base(dial->loop), fd, EV_WRITE, on_writable, dial);
    check(event_add(&dial->writable, NULL) == 0);
    return true;
}

/* Each address gets an equal share of the time that is left, so that one that never answers does
 * not cost the others their chance. */
static void set_attempt_timer(struct dial *dial, int addresses_left)
{
    int64_t now = loop_now_ms(dial->loop);
    int64_t left_ms = dial->deadline_ms > now ? dial->deadline_ms - now : 0;
    loop_timer_set(&dial->timer, now + left_ms / addresses_left);
}

static void next_address(struct dial *dial)
{
    while (dial->next) {
        int left = 0;
        for (struct evutil_addrinfo *ai = dial->next; ai; ai = ai->ai_next) {
            left++;
        }
        struct evutil_addrinfo *ai = dial->next;
        dial->next = ai->ai_next;
        if (try_address(dial, ai->ai_addr, (socklen_t)ai->ai_addrlen)) {
            set_attempt_timer(dial, left);
            return;
        }
    }
    finish(dial, ERR_CONNECT, -1);
}

static void on_timer(void *arg)
{
    struct dial *dial = arg;
    snprintf(dial->why, sizeof(dial->why), "cannot connect to %s: no answer within %lld ms",
             dial->text, (long long)dial->timeout_ms);
    drop_fd(dial);
    if (dial->resolve || loop_now_ms(dial->loop) >= dial->deadline_ms) {
        finish(dial, ERR_TIMEOUT, -1);
        return;
    }
    next_address(dial);
}

static void resolve_done(struct resolve *resolve)
{
    struct dial *dial = resolve->dial;
    struct evutil_addrinfo *list = resolve->list;
    int result = resolve->result;
    free(resolve);
    if (!dial) {
        if (list) {
            evutil_freeaddrinfo(list);
        }
        return;
    }
    dial->resolve = NULL;
    dial->list = list;
    dial->next = list;
    if (result != 0) {
        char what[128];
        snprintf(what, sizeof(what), "cannot resolve the name: %s", evutil_gai_strerror(result));
        set_why(dial, what);
    }
    next_address(dial);
}

static void on_resolved(int result, struct evutil_addrinfo *list, void *arg)
{
    struct resolve *resolve = arg;
    resolve->result = result;
    resolve->list = list;
    resolve->done = true;
    if (!resolve->starting) {
        resolve_done(resolve);
    }
}

static void resolve_start(struct dial *dial)
{
    struct resolve *resolve = mem_new(struct resolve);
    resolve->dial = dial;
    resolve->starting = true;
    dial->resolve = resolve;
    char port[8];
    snprintf(port, sizeof(port), "%d", dial->address.port);
    struct evutil_addrinfo hints = {.ai_flags = EVUTIL_AI_ADDRCONFIG | EVUTIL_AI_NUMERICSERV,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP};
    resolve->request = evdns_getaddrinfo(loop_dns(dial->loop), dial->address.host, port, &hints,
                                         on_resolved, resolve);
    resolve->starting = false;
    if (resolve->done) { /* a number, or a name in /etc/hosts */
        resolve_done(resolve);
    }
}

static void dial_unix(struct dial *dial)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, dial->address.host, strlen(dial->address.host) + 1);
    if (!try_address(dial, (const void *)&un, sizeof(un))) {
        finish(dial, ERR_CONNECT, -1);
    }
}

static void begin(void *arg)
{
    struct dial *dial = arg;
    struct reason reason;
    enum err err = address_parse(dial->text, &dial->address, &reason);
    if (err == ERR_OK && !dial->address.is_unix && !dial->address.host[0]) {
        err = reason_set(&reason, ERR_INVALID, "'%s' has no host", dial->text);
    }
    if (err != ERR_OK) {
        snprintf(dial->why, sizeof(dial->why), "%s", reason.text);
        finish(dial, err, -1);
        return;
    }
    dial->deadline_ms = loop_now_ms(dial->loop) + dial->timeout_ms;
    loop_timer_set(&dial->timer, dial->deadline_ms);
    if (dial->address.is_unix) {
        dial_unix(dial);
    } else {
        resolve_start(dial);
    }
}

struct dial *dial_start(struct loop *loop, const char *address, int64_t timeout_ms, dial_cb cb,
                        void *arg)
{
    struct dial *dial = mem_new(struct dial);
    dial->loop = loop;
    dial->cb = cb;
    dial->arg = arg;
    dial->text = mem_strdup(address);
    dial->timeout_ms = timeout_ms;
    dial->fd = -1;
    loop_timer_init(&dial->timer, loop, on_timer, dial);
    loop_defer(loop, &dial->begin, begin, dial);
    return dial;
}
