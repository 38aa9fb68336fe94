/*
 * What the files of caller_net share.
 *
 *   caller_net.c        the port: calls begin, move to another instance, end
 *   caller_net_line.c   calls that wait for a free slot of their participant
 *   caller_net_peer.c   participants (one per address) and which of them a call goes to
 *   caller_net_tcp.c, caller_net_http.c  how one call is sent
 */
#ifndef COORDINATOR_CALLER_NET_INTERNAL_H
#define COORDINATOR_CALLER_NET_INTERNAL_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/rng.h"
#include "coordinator/balancer.h"
#include "coordinator/caller_net.h"
#include "coordinator/caller_net_link.h"
#include "coordinator/directory.h"

#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>
#include <utlist.h>

enum { PEER_KEY_SIZE = BRANCH_ADDRESS_SIZE + 1, CALL_TRIES_MAX = 8 };

struct net_call;

struct participant {
    char key[PEER_KEY_SIZE]; /* 't' or 'h', then the address */
    UT_hash_handle hh;
    struct tcp_link *tcp; /* tcp only */
    uint64_t serial;      /* no other participant ever has it */
    struct breaker breaker;
    int in_flight, waiting;
    int pins;               /* in use by a function on the stack */
    size_t in_flight_bytes; /* of payloads */
    int64_t used_ms;
    struct net_call *line;
    struct participant *prev, *next; /* in net->queued while it has a line */
};

struct net_call {
    struct caller_net *net;
    struct participant *participant; /* NULL: refused before it had one */
    call_cb cb;
    void *arg;
    int64_t started_us;
    size_t bytes;                     /* of the payload */
    struct breaker_call breaker_call; /* while it is sent */
    bool broken;                      /* a connection broke under it once */
    bool kept_is_set;
    /* Where else it may go: several instances only. */
    bool movable;
    struct branch_address to;       /* in the arena */
    uint64_t tried[CALL_TRIES_MAX]; /* serials */
    int tries;
    /* The call with all that it points at: in line, and when it is movable. */
    struct arena arena;
    struct link_call kept;
    char traceparent[TRACEPARENT_SIZE];
    struct heap_node deadline; /* in line only */
    struct net_call *prev, *next;
    /* refused at once: told in the next step of the loop */
    struct loop_task task;
    char *refusal;
};

struct caller_net {
    struct caller port;
    struct loop *loop;
    struct caller_net_conf conf;
    char *program, *token;
    struct rng rng;
    struct http_client *http;
    struct directory *directory;
    struct participant *participants; /* by key */
    struct participant *queued;       /* those with a line, taking turns */
    struct heap deadlines;            /* of calls in line */
    struct loop_timer deadline_timer, sweep_timer;
    int in_flight, waiting;
    uint64_t serials;
    int64_t moved;     /* calls that went to another instance */
    int64_t warned_ms; /* when a bad url was logged last */
    bool closing;
};

/* ---- caller_net.c ---- */

void call_send(struct net_call *call, const struct link_call *what);
void call_finish(struct net_call *call, enum call_verdict verdict, struct slice message);
void call_refuse(struct net_call *call, const char *why); /* told later */
/* Copies the call, so that it can be sent later, or again. */
void call_keep(struct net_call *call, const struct link_call *what);
/* Sends it, lets it join the line or refuses it. */
void call_dispatch(struct net_call *call, const struct link_call *what);

/* ---- caller_net_line.c ---- */

bool line_is_needed(const struct caller_net *net, const struct participant *participant);
void line_join(struct net_call *call, const struct link_call *what);
void line_leave(struct net_call *call);
/* A slot of this participant became free. */
void line_pump_after(struct caller_net *net, struct participant *participant);
/* There is room again for all: one from each line in turn, as long as it lasts. */
void lines_pump_all(struct caller_net *net);
void line_deadline_update(struct caller_net *net);
void line_on_deadline(void *net);

/* ---- caller_net_peer.c ---- */

bool peer_is_tcp(const struct participant *participant);
/* The participant that the call goes to; a host that differs from its address is set in `host`.
 * NULL with a reason: there is none, or none that the call has not tried. */
struct participant *peer_pick(struct net_call *call, const struct branch_address *to,
                              struct slice *host, struct reason *reason);
void peer_on_sweep(void *net);
void peer_forget_all(struct caller_net *net);

#endif
