#include "coordinator/retry.h"

int64_t retry_delay_ms(int64_t base_ms, int64_t max_ms, int64_t attempts, uint64_t random)
{
    int64_t delay = base_ms > 0 ? base_ms : 1;
    int64_t cap = max_ms > delay ? max_ms : delay;
    for (int64_t i = 0; i < attempts && delay < cap; i++) {
        delay = delay > cap / 2 ? cap : delay * 2;
    }
    int64_t jitter = delay / 4;
    return delay - (int64_t)(random % ((uint64_t)jitter + 1));
}
