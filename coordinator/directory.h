/*
 * Where the instances of a participant are: what stands behind the host of a branch url.
 *
 * A host with a port is an address; a name without a port is looked up in the map of the settings,
 * then among the registered instances; an http host that neither knows gets port 80. Host names in
 * any of these places become all the addresses that DNS gives, asked again when they are older than
 * `dns_ttl_ms`; until DNS has answered for the first time the name itself is the address, which
 * connecting resolves.
 */
#ifndef COORDINATOR_DIRECTORY_H
#define COORDINATOR_DIRECTORY_H

#include "base/conf.h"
#include "coordinator/names.h"
#include "coordinator/registry.h"
#include "coordinator/resolver.h"

struct directory_conf {
    const struct conf_map *map; /* may be NULL; must outlive the directory */
    int64_t dns_ttl_ms;         /* 0: names are left to connecting */
    int64_t idle_ms;            /* what was not asked for during this is forgotten */
    int services_max;
};

enum directory_source { DIRECTORY_MAP, DIRECTORY_REGISTERED, DIRECTORY_ADDRESS };

struct instance {
    char *address;         /* "10.0.0.7:9002", "[v6]:port", "unix:/path"; "host:port" without DNS */
    char *host;            /* as configured: "host:port"; what an http participant is asked as */
    int64_t lease_ends_ms; /* registered ones, else 0 */
};

struct service {
    enum branch_scheme scheme;
    enum directory_source source;
    struct slice name;
    struct instance *instances; /* never none */
    size_t count;
    unsigned turn; /* of the balancer */
};

struct directory;
struct directory *directory_new(struct loop *loop, const struct directory_conf *conf);
void directory_free(struct directory *directory);
/* Registered instances count from here on. NULL: no more. */
void directory_set_registry(struct directory *directory, const struct registry *registry);
/* The registry has changed. */
void directory_renew(struct directory *directory);

/* The service is valid until the loop turns. NULL: nobody knows the name. */
struct service *directory_find(struct directory *directory, const struct branch_address *to,
                               struct reason *reason);
struct directory_stats {
    int services, instances;
};
/* Of what directory_each visits. */
struct directory_stats directory_stats(struct directory *directory);
/* Everything that is known by name: the map, the registered ones, and the hosts in use that DNS
 * knows. One service comes once for each scheme. */
void directory_each(struct directory *directory,
                    void (*visit)(void *arg, const struct service *service), void *arg);

#endif
