#include "net/admission.h"

#include "base/check.h"
#include "base/mem.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define uthash_fatal(msg)             check_failed(__FILE__, __LINE__, msg)
#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

enum { CLIENT_KEY_SIZE = 16, IPV6_NETWORK_SIZE = 8 };

struct admission_client {
    unsigned char key[CLIENT_KEY_SIZE]; /* an IPv6 address; IPv4 as ::ffff:a.b.c.d */
    int count;
    UT_hash_handle hh;
};

void admission_init(struct admission *admission, int max, int client_max)
{
    check(max > 0 && client_max >= 0);
    *admission = (struct admission){.max = max, .client_max = client_max};
}

/* False: no address of a network. */
static bool client_key(const struct sockaddr *addr, unsigned char key[CLIENT_KEY_SIZE])
{
    static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    memset(key, 0, CLIENT_KEY_SIZE);
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)addr;
        memcpy(key, mapped, sizeof(mapped));
        memcpy(key + sizeof(mapped), &v4->sin_addr, 4);
        return true;
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)addr;
        bool is_v4 = memcmp(&v6->sin6_addr, mapped, sizeof(mapped)) == 0;
        memcpy(key, &v6->sin6_addr, is_v4 ? CLIENT_KEY_SIZE : IPV6_NETWORK_SIZE);
        return true;
    }
    return false;
}

/* One more connection of this client. NULL: it has as many as it may. */
static struct admission_client *client_enter(struct admission *admission, const unsigned char *key)
{
    struct admission_client *client;
    HASH_FIND(hh, admission->clients, key, CLIENT_KEY_SIZE, client);
    if (client && admission->client_max > 0 && client->count >= admission->client_max) {
        return NULL;
    }
    if (!client) {
        client = mem_new(struct admission_client);
        memcpy(client->key, key, CLIENT_KEY_SIZE);
        HASH_ADD(hh, admission->clients, key, CLIENT_KEY_SIZE, client);
    }
    client->count++;
    return client;
}

static struct admission_pass refuse(struct admission *admission, enum admission_verdict verdict)
{
    admission->refused++;
    if (admission->tells >= ADMISSION_TELLS_MAX) {
        return (struct admission_pass){.verdict = ADMISSION_AWAY};
    }
    admission->tells++;
    return (struct admission_pass){.verdict = verdict};
}

struct admission_pass admission_enter(struct admission *admission, const struct sockaddr *addr)
{
    unsigned char key[CLIENT_KEY_SIZE];
    struct admission_pass pass = {.verdict = ADMISSION_IN};
    if (admission->count >= admission->max) {
        return refuse(admission, ADMISSION_FULL);
    }
    if (client_key(addr, key)) {
        pass.client = client_enter(admission, key);
        if (!pass.client) {
            return refuse(admission, ADMISSION_CLIENT_FULL);
        }
    }
    admission->count++;
    return pass;
}

void admission_leave(struct admission *admission, struct admission_pass *pass)
{
    check(pass->verdict != ADMISSION_AWAY);
    if (pass->verdict != ADMISSION_IN) {
        check(admission->tells > 0);
        admission->tells--;
        return;
    }
    check(admission->count > 0);
    admission->count--;
    if (pass->client && --pass->client->count == 0) {
        HASH_DEL(admission->clients, pass->client);
        free(pass->client);
    }
    pass->client = NULL;
}

bool admission_is_shut(const struct admission *admission)
{
    return admission->count >= admission->max && admission->tells >= ADMISSION_TELLS_MAX;
}

const char *admission_text(enum admission_verdict verdict)
{
    switch (verdict) {
    case ADMISSION_IN: return "";
    case ADMISSION_FULL: return "too many connections; try again later";
    case ADMISSION_CLIENT_FULL:
    case ADMISSION_AWAY: return "too many connections from this address; try again later";
    }
    return "";
}
