/*
 * Branch urls taken apart, names turned into addresses.
 *
 * tcp://NAME/package.Service/Method       NAME is looked up in the map (setting resolver.NAME)
 * tcp://HOST:PORT/package.Service/Method  taken as it is; DNS is asked when connecting
 * http://NAME/path, http://HOST[:PORT]/path  likewise; a host that is not in the map gets port 80
 *
 * A url with a port is never looked up, so a name in the map cannot shadow a real address. An entry
 * of the map is "host:port", "[v6]:port" or, for tcp only, "unix:/path".
 */
#ifndef COORDINATOR_RESOLVER_H
#define COORDINATOR_RESOLVER_H

#include "base/conf.h"
#include "base/err.h"
#include "base/slice.h"

enum branch_scheme { BRANCH_TCP, BRANCH_HTTP };

enum { BRANCH_ADDRESS_SIZE = 300 };

struct branch_address {
    enum branch_scheme scheme;
    char address[BRANCH_ADDRESS_SIZE]; /* "host:port", "[v6]:port", "unix:/path" */
    struct slice rest; /* tcp: "package.Service/Method"; http: from the path on, without fragment,
                          "" when the url ends behind the host. A view on the url. */
};

/* ERR_INVALID: malformed, or a name without port that the map does not have (tcp). */
enum err resolver_resolve(const struct conf_map *map, struct slice url, struct branch_address *out,
                          struct reason *reason) MUST_CHECK;
/* One entry of the map, for the check of the settings. */
enum err resolver_check_entry(const char *name, const char *value,
                              struct reason *reason) MUST_CHECK;

#endif
