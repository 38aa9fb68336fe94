/*
 * Branch urls taken apart. What a name stands for is the directory's business.
 *
 * tcp://NAME/package.Service/Method       NAME is looked up: map, registered instances
 * tcp://HOST:PORT/package.Service/Method  taken as it is; DNS knows the host
 * http://NAME/path, http://HOST[:PORT]/path  likewise; a host that nobody knows gets port 80
 *
 * A url with a port is never looked up, so a name in the map cannot shadow a real address. An entry
 * of the map is a list of "host:port", "[v6]:port" or, for tcp only, "unix:/path", separated by
 * commas: the instances of the participant.
 */
#ifndef COORDINATOR_RESOLVER_H
#define COORDINATOR_RESOLVER_H

#include "base/err.h"
#include "base/slice.h"

enum branch_scheme { BRANCH_TCP, BRANCH_HTTP };

enum { BRANCH_ADDRESS_SIZE = 300, BRANCH_HTTP_PORT = 80, BRANCH_INSTANCES_MAX = 64 };

struct branch_address {
    enum branch_scheme scheme;
    struct slice host; /* never empty, with brackets; fits BRANCH_ADDRESS_SIZE with a port */
    struct slice port; /* 1 … 65535, or empty when absent */
    struct slice rest; /* tcp: "package.Service/Method"; http: from the path on, without fragment,
                          "" when the url ends behind the host */
};                     /* views on the url */

/* ERR_INVALID: malformed. */
enum err resolver_parse(struct slice url, struct branch_address *out,
                        struct reason *reason) MUST_CHECK;
/* The reason that begins with the url; ERR_INVALID. */
enum err resolver_refuse(struct reason *reason, struct slice url, const char *why);

/* Takes the next address off the front of a list as it stands in the map; false at its end. */
bool resolver_next_address(struct slice *list, struct slice *address);
/* "host:port" or "[v6]:port" with a valid port. The slices are views. */
bool resolver_split(struct slice address, struct slice *host, struct slice *port);
/* The host, which may have brackets, is a number and needs no DNS. */
bool resolver_is_number(struct slice host);
/* One entry of the map, for the check of the settings. */
enum err resolver_check_entry(const char *name, const char *value,
                              struct reason *reason) MUST_CHECK;

#endif
