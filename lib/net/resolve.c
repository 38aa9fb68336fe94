#include "net/resolve.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { NUMBER_SIZE = INET6_ADDRSTRLEN + 2 };

struct resolve {
    struct loop *loop;
    resolve_cb cb;
    void *arg;
    char *host;
    struct evdns_getaddrinfo_request *request;
    struct evutil_addrinfo *list;
    int result;
    bool started;   /* libevent has been asked */
    bool answered;  /* libevent has answered */
    bool cancelled; /* the memory waits for libevent's answer */
    struct loop_task task;
};

static void resolve_free(struct resolve *resolve)
{
    if (resolve->list) {
        evutil_freeaddrinfo(resolve->list);
    }
    free(resolve->host);
    free(resolve);
}

static bool number_format(const struct sockaddr *addr, char out[NUMBER_SIZE])
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes =
        addr->sa_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr
            : &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
    if ((addr->sa_family != AF_INET && addr->sa_family != AF_INET6) ||
        !inet_ntop(addr->sa_family, bytes, text, sizeof(text))) {
        return false;
    }
    snprintf(out, NUMBER_SIZE, addr->sa_family == AF_INET ? "%s" : "[%s]", text);
    return true;
}

static bool is_among(const char *const *addresses, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(addresses[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static void tell(struct resolve *resolve)
{
    char texts[RESOLVE_ADDRESSES_MAX][NUMBER_SIZE];
    const char *addresses[RESOLVE_ADDRESSES_MAX];
    size_t count = 0;
    const struct evutil_addrinfo *ai = resolve->list;
    for (; ai && count < RESOLVE_ADDRESSES_MAX; ai = ai->ai_next) {
        if (number_format(ai->ai_addr, texts[count]) && !is_among(addresses, count, texts[count])) {
            addresses[count] = texts[count];
            count++;
        }
    }
    const char *why = resolve->result ? evutil_gai_strerror(resolve->result)
                      : count == 0    ? "the name has no address"
                                      : "";
    resolve->cb(resolve->arg, count > 0 ? ERR_OK : ERR_CONNECT, addresses, count, why);
}

static void resolve_end(struct resolve *resolve)
{
    if (!resolve->cancelled) {
        tell(resolve);
    }
    resolve_free(resolve);
}

static void on_resolved(int result, struct evutil_addrinfo *list, void *arg)
{
    struct resolve *resolve = arg;
    resolve->result = result;
    resolve->list = list;
    resolve->answered = true;
    if (resolve->started) {
        resolve_end(resolve);
    }
}

static void begin(void *arg)
{
    struct resolve *resolve = arg;
    struct evutil_addrinfo hints = {
        .ai_flags = EVUTIL_AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    resolve->request = evdns_getaddrinfo(loop_dns(resolve->loop), resolve->host, NULL, &hints,
                                         on_resolved, resolve);
    resolve->started = true;
    if (resolve->answered) { /* a name in /etc/hosts */
        resolve_end(resolve);
    }
}

struct resolve *resolve_start(struct loop *loop, const char *host, resolve_cb cb, void *arg)
{
    struct resolve *resolve = mem_new(struct resolve);
    resolve->loop = loop;
    resolve->cb = cb;
    resolve->arg = arg;
    resolve->host = mem_strdup(host);
    loop_defer(loop, &resolve->task, begin, resolve);
    return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
    if (!resolve->started) {
        loop_undefer(resolve->loop, &resolve->task);
        resolve_free(resolve);
        return;
    }
    resolve->cancelled = true;
    evdns_getaddrinfo_cancel(resolve->request);
}
