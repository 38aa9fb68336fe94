/* Waiting in a test: for a condition, never for a time. Needs cmocka.h. */
#ifndef HARNESS_WAIT_FOR_H
#define HARNESS_WAIT_FOR_H

#include "base/clock.h"
#include "net/loop.h"

enum { PATIENCE_MS = 20000 }; /* for what must come: nothing waits so long that is well */

/* Turns the loop until the condition holds; fails the test when it never does. */
#define wait_for(loop, condition)                                                                  \
    do {                                                                                           \
        int64_t wait_ends_ms_ = clock_mono_ms() + PATIENCE_MS;                                     \
        while (!(condition)) {                                                                     \
            if (clock_mono_ms() >= wait_ends_ms_) {                                                \
                fail_msg("waited in vain for: %s", #condition);                                    \
            }                                                                                      \
            loop_turn((loop), 5);                                                                  \
        }                                                                                          \
    } while (0)

#endif
