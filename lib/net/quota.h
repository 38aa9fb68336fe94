/*
 * How many bytes the clients of a process may hold in its memory together: requests that are being
 * sent or served, and answers that nobody takes. Each holder has an allowance that does not count,
 * so that small requests are served whatever others do; what a holder has above it counts for all.
 */
#ifndef NET_QUOTA_H
#define NET_QUOTA_H

#include <stdbool.h>
#include <stddef.h>

enum { QUOTA_FREE = 64 * 1024 }; /* bytes that each holder has anyway */

struct quota {
    size_t max, used;
};

/* Of one holder. Zeroed with a `quota`; set to 0 before it goes. */
struct quota_share {
    struct quota *quota; /* NULL: no limit */
    size_t counted;
};

/* The holder has so many bytes now. False: it has more than its allowance, and all together have
 * more than there may be; it should let go of them. */
bool quota_set(struct quota_share *share, size_t bytes);
/* What is told to a client whose bytes had no room. */
extern const char quota_text[];

#endif
