/* How long to wait before something is tried again. Pure: the caller brings the random number. */
#ifndef COORDINATOR_RETRY_H
#define COORDINATOR_RETRY_H

#include <stdint.h>

/*
 * base_ms · 2^attempts, at most max_ms, less up to a quarter of jitter: transactions that failed
 * together do not come back together. `attempts` counts the failed ones before the last (0: the
 * first retry). A base that the client chose above the cap is kept: it is the cap then. >= 1.
 */
int64_t retry_delay_ms(int64_t base_ms, int64_t max_ms, int64_t attempts, uint64_t random);

#endif
