#include "harness/test_port.h"

#include "base/rng.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Below 32768, where Linux begins with ports of its own choice, and above those of stack.sh. */
enum { PORT_FIRST = 16000, PORT_COUNT = 16000, TRIES = 10000 };

/* An abstract socket name can be bound once in the machine and goes with its process. */
static int guard_open(int number)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "test_port_%d", number);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&addr, size)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool port_is_free(int number)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)number),
                               .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool ok = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
    close(fd);
    return ok;
}

void test_port_take(struct test_port *port)
{
    struct rng rng;
    rng_seed_system(&rng);
    for (int i = 0; i < TRIES; i++) {
        port->number = PORT_FIRST + (int)rng_below(&rng, PORT_COUNT);
        port->guard = guard_open(port->number);
        if (port->guard >= 0 && port_is_free(port->number)) {
            return;
        }
        if (port->guard >= 0) {
            close(port->guard);
        }
    }
    fprintf(stderr, "test_port: no free port\n");
    abort();
}

void test_port_release(struct test_port *port)
{
    close(port->guard);
    port->guard = -1;
}
