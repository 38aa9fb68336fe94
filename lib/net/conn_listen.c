#include "net/conn.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn_internal.h"
#include "net/socket.h"

#include <event2/listener.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_MS = 100, ERROR_LOG_MS = 10 * 1000 };

struct conn_listener {
    struct loop *loop;
    struct evconnlistener *event;
    struct conn_limits limits;
    void (*accepted)(void *arg, struct conn *conn, const char *refusal);
    void *arg;
    char *address;
    struct admission admission;
    bool is_freed; /* only its connections keep it */
    struct loop_timer retry;
    int64_t error_logged_ms;
};

static void listener_destroy(struct conn_listener *listener)
{
    free(listener->address);
    loop_defer_free(listener->loop, listener, free);
}

static void update_accepting(struct conn_listener *listener)
{
    if (admission_is_shut(&listener->admission) || loop_timer_is_armed(&listener->retry)) {
        evconnlistener_disable(listener->event);
    } else {
        evconnlistener_enable(listener->event);
    }
}

static bool has_connections(const struct conn_listener *listener)
{
    return listener->admission.count > 0 || listener->admission.tells > 0;
}

void conn_listener_release(struct conn_listener *listener, struct admission_pass *pass)
{
    admission_leave(&listener->admission, pass);
    if (!listener->is_freed) {
        update_accepting(listener);
    } else if (!has_connections(listener)) {
        listener_destroy(listener);
    }
}

static void on_accept(struct evconnlistener *event, evutil_socket_t fd, struct sockaddr *addr,
                      int len, void *arg)
{
    (void)event;
    (void)len;
    struct conn_listener *listener = arg;
    char peer[ADDRESS_TEXT_SIZE];
    bool is_unix = addr->sa_family == AF_UNIX;
    struct admission_pass pass = admission_enter(&listener->admission, addr);
    bool is_in = pass.verdict == ADMISSION_IN;
    if (pass.verdict == ADMISSION_AWAY) {
        close(fd);
        return;
    }
    socket_set_tcp(fd);
    struct conn *conn =
        conn_accept(listener->loop, fd, is_unix ? listener->address : address_format(addr, peer),
                    &listener->limits, listener);
    *conn_pass(conn) = pass;
    update_accepting(listener);
    listener->accepted(listener->arg, conn, is_in ? NULL : admission_text(pass.verdict));
    check(conn_has_owner(conn));
}

static void on_retry(void *arg)
{
    update_accepting(arg);
}

/* Mostly: no more file descriptors. The waiting connection would wake the loop at once again. */
static void on_accept_error(struct evconnlistener *event, void *arg)
{
    (void)event;
    struct conn_listener *listener = arg;
    int error = EVUTIL_SOCKET_ERROR();
    int64_t now = loop_now_ms(listener->loop);
    if (listener->error_logged_ms == 0 || now - listener->error_logged_ms > ERROR_LOG_MS) {
        listener->error_logged_ms = now;
        log_warn("net", "msg=\"cannot accept\" addr=%s error=\"%s\" connections=%d",
                 listener->address, strerror(error), listener->admission.count);
    }
    loop_timer_set(&listener->retry, now + RETRY_MS);
    update_accepting(listener);
}

struct conn_listener *conn_listen(struct loop *loop, const struct conn_listen_conf *conf,
                                  void (*accepted)(void *arg, struct conn *conn,
                                                   const char *refusal),
                                  void *arg, struct reason *reason)
{
    int fd = socket_listen(conf->address, conf->reuse_port, reason);
    if (fd < 0) {
        return NULL;
    }
    struct conn_listener *listener = mem_new(struct conn_listener);
    listener->loop = loop;
    listener->limits = conf->limits;
    listener->accepted = accepted;
    listener->arg = arg;
    listener->address = mem_strdup(conf->address);
    admission_init(&listener->admission, conf->connections_max, conf->client_max);
    loop_timer_init(&listener->retry, loop, on_retry, listener);
    listener->event = evconnlistener_new(loop_base(loop), on_accept, listener,
                                         LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    check(listener->event);
    evconnlistener_set_error_cb(listener->event, on_accept_error);
    return listener;
}

int conn_listener_port(const struct conn_listener *listener)
{
    return socket_port(evconnlistener_get_fd(listener->event));
}

int conn_listener_connections(const struct conn_listener *listener)
{
    return listener->admission.count;
}

uint64_t conn_listener_refused(const struct conn_listener *listener)
{
    return listener->admission.refused;
}

static void remove_socket_file(const struct conn_listener *listener)
{
    struct address address;
    if (address_parse(listener->address, &address, NULL) == ERR_OK && address.is_unix) {
        unlink(address.host);
    }
}

void conn_listener_free(struct conn_listener *listener)
{
    remove_socket_file(listener);
    evconnlistener_free(listener->event);
    loop_timer_clear(&listener->retry);
    listener->is_freed = true;
    if (!has_connections(listener)) {
        listener_destroy(listener);
    }
}
