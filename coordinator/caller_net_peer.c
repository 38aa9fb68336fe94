#include "base/log.h"
#include "base/mem.h"
#include "coordinator/caller_net_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool peer_is_tcp(const struct participant *participant)
{
    return participant->key[0] == 't';
}

/* ---- participants ---- */

static void participant_free(struct caller_net *net, struct participant *participant)
{
    HASH_DEL(net->participants, participant);
    if (participant->tcp) {
        tcp_link_free(participant->tcp);
    }
    free(participant);
}

static bool participant_is_idle(const struct participant *participant)
{
    return participant->in_flight == 0 && participant->waiting == 0 && participant->pins == 0;
}

static void participants_sweep(struct caller_net *net, int64_t unused_since_ms)
{
    struct participant *participant, *next;
    HASH_ITER(hh, net->participants, participant, next)
    {
        if (participant_is_idle(participant) && participant->used_ms <= unused_since_ms) {
            participant_free(net, participant);
        }
    }
}

void peer_on_sweep(void *arg)
{
    struct caller_net *net = arg;
    int64_t now = loop_now_ms(net->loop);
    participants_sweep(net, now - net->conf.idle_ms);
    loop_timer_set(&net->sweep_timer, now + net->conf.idle_ms / 2 + 1);
}

void peer_forget_all(struct caller_net *net)
{
    struct participant *participant, *next;
    HASH_ITER(hh, net->participants, participant, next)
    {
        HASH_DEL(net->participants, participant);
        free(participant);
    }
}

static struct participant *participant_new(struct caller_net *net, const char *key)
{
    struct participant *participant = mem_new(struct participant);
    memcpy(participant->key, key, strlen(key) + 1);
    participant->serial = ++net->serials;
    if (peer_is_tcp(participant)) {
        struct tcp_link_conf conf = {
            .address = key + 1,
            .program = net->program,
            .token = net->token,
            .connections = net->conf.tcp_connections,
            .in_flight_max = net->conf.tcp_in_flight_max,
            .connect_timeout_ms = net->conf.connect_timeout_ms,
            .answer_max = net->conf.answer_max,
        };
        participant->tcp = tcp_link_new(net->loop, &conf);
    }
    HASH_ADD_STR(net->participants, key, participant);
    return participant;
}

static void key_make(enum branch_scheme scheme, struct slice address, char key[PEER_KEY_SIZE])
{
    size_t len = address.len < PEER_KEY_SIZE - 2 ? address.len : PEER_KEY_SIZE - 2;
    key[0] = scheme == BRANCH_TCP ? 't' : 'h';
    memcpy(key + 1, address.ptr, len);
    key[1 + len] = '\0';
}

static struct participant *participant_find(struct caller_net *net, const char *key)
{
    struct participant *participant;
    HASH_FIND_STR(net->participants, key, participant);
    return participant;
}

/* NULL when there are too many and none of them is idle. */
static struct participant *participant_get(struct caller_net *net, enum branch_scheme scheme,
                                           struct slice address, struct reason *reason)
{
    char key[PEER_KEY_SIZE];
    key_make(scheme, address, key);
    struct participant *participant = participant_find(net, key);
    if (!participant) {
        if (HASH_COUNT(net->participants) >= (unsigned)net->conf.participants_max) {
            participants_sweep(net, INT64_MAX);
        }
        if (HASH_COUNT(net->participants) >= (unsigned)net->conf.participants_max) {
            reason_set(reason, ERR_BUSY, "too many different participants are being called");
            return NULL;
        }
        participant = participant_new(net, key);
    }
    participant->used_ms = loop_now_ms(net->loop);
    return participant;
}

/* ---- which of them ---- */

static bool was_tried(const struct net_call *call, const struct participant *participant)
{
    for (int i = 0; i < call->tries; i++) {
        if (call->tried[i] == participant->serial) {
            return true;
        }
    }
    return false;
}

static struct balancer_peer peer_of(const struct net_call *call, const struct service *service,
                                    const struct instance *instance)
{
    char key[PEER_KEY_SIZE];
    key_make(service->scheme, slice_str(instance->address), key);
    const struct participant *known = participant_find(call->net, key);
    struct balancer_peer peer = {0};
    if (known) {
        peer.breaker = &known->breaker;
        peer.load = known->in_flight + known->waiting;
        peer.tried = was_tried(call, known);
    }
    return peer;
}

static const struct instance *instance_pick(const struct net_call *call, struct service *service)
{
    struct balancer_peer peers[BRANCH_INSTANCES_MAX];
    for (size_t i = 0; i < service->count; i++) {
        peers[i] = peer_of(call, service, &service->instances[i]);
    }
    int picked = balancer_pick(peers, service->count, loop_now_ms(call->net->loop), &service->turn);
    return picked < 0 ? NULL : &service->instances[picked];
}

/* "host:port" as the url has it, when that is an address already: nothing to look up. */
static bool is_plain(const struct branch_address *to)
{
    return to->port.len > 0 && resolver_is_number(to->host);
}

struct participant *peer_pick(struct net_call *call, const struct branch_address *to,
                              struct slice *host, struct reason *reason)
{
    *host = slice_make(NULL, 0);
    if (is_plain(to)) {
        size_t len = (size_t)(to->port.ptr + to->port.len - to->host.ptr);
        return participant_get(call->net, to->scheme, slice_make(to->host.ptr, len), reason);
    }
    struct service *service = directory_find(call->net->directory, to, reason);
    if (!service) {
        return NULL;
    }
    call->movable = service->count > 1;
    const struct instance *instance =
        service->count == 1 && call->tries == 0 ? service->instances : instance_pick(call, service);
    if (!instance) {
        reason_set(reason, ERR_UNAVAILABLE, "no other instance");
        return NULL;
    }
    if (strcmp(instance->host, instance->address) != 0) {
        *host = slice_str(instance->host);
    }
    return participant_get(call->net, to->scheme, slice_str(instance->address), reason);
}

bool caller_net_instance(struct caller_net *net, enum branch_scheme scheme, const char *address,
                         struct caller_net_instance *out)
{
    char key[PEER_KEY_SIZE];
    key_make(scheme, slice_str(address), key);
    const struct participant *known = participant_find(net, key);
    *out = (struct caller_net_instance){0};
    if (known) {
        out->in_flight = known->in_flight;
        out->waiting = known->waiting;
        out->resting = known->breaker.rest_ms > 0;
    }
    return known != NULL;
}
