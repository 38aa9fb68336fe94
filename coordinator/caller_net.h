/*
 * The caller port over the network: branch calls over the wire protocol (tcp://) and over HTTP.
 *
 * A url names a service, whose instances are participants (directory.h). A call goes to the
 * instance with the fewest calls; one that fails rests (balancer.h), and its calls go on to
 * another: at once when they have not been executed, and once when the connection broke under them,
 * which every call must bear, as it must bear to be tried again later.
 *
 * A participant is an address. Each has its connections, its cap of calls in flight and a bounded
 * line of calls that wait for a free slot; so a sick one fills its own line and nothing else. Lines
 * take turns when the cap of all calls together was the obstacle. A call that finds its line full,
 * or that is not started by its deadline, is an ERROR: the engine tries it again later.
 * Participants that were unused for `idle_ms` are forgotten and their connections closed.
 */
#ifndef COORDINATOR_CALLER_NET_H
#define COORDINATOR_CALLER_NET_H

#include "base/conf.h"
#include "coordinator/caller.h"
#include "coordinator/directory.h"
#include "net/loop.h"

struct caller_net;

struct caller_net_conf {
    const struct conf_map *resolver; /* name → address; may be NULL; must outlive the caller */
    const char *program;             /* for the hello: "sagad/0.1.0" */
    const char *token;               /* for the hello; NULL or "": none */
    int tcp_connections;             /* per participant */
    int tcp_in_flight_max;           /* calls per participant over tcp */
    int http_in_flight_max;          /* calls, and so connections, per participant over http */
    int waiting_max;                 /* calls in line per participant */
    int in_flight_max;               /* calls of all participants together */
    int participants_max;            /* addresses known at a time */
    int64_t connect_timeout_ms;
    int64_t idle_ms;
    int64_t dns_ttl_ms; /* 0: host names are resolved when connecting only */
    size_t answer_max;  /* bytes of one answer; a longer one is an ERROR */
    uint64_t seed;      /* of the span ids */
};

struct caller_net_stats {
    int in_flight, waiting, participants;
    int instances_resting; /* of the participants: no calls for now, because they failed */
    int64_t moved;         /* calls that went on to another instance, since the start */
};

struct caller_net *caller_net_new(struct loop *loop, const struct caller_net_conf *conf);
/* No call completes after this; the loop must turn once more before it is freed. */
void caller_net_free(struct caller_net *net);
struct caller *caller_net_port(struct caller_net *net);
/* New limits, and a map whose content has changed, for the calls from now on. */
void caller_net_tune(struct caller_net *net, int waiting_max, int in_flight_max);
/* Where it looks names up: to give it the registered instances, and for the overview. */
struct directory *caller_net_directory(struct caller_net *net);
/* How it goes with the instance at this address. False: it was not called lately. */
struct caller_net_instance {
    int in_flight, waiting;
    bool resting;
};
bool caller_net_instance(struct caller_net *net, enum branch_scheme scheme, const char *address,
                         struct caller_net_instance *out);
struct caller_net_stats caller_net_stats(const struct caller_net *net);

#endif
