/* Time of this machine. Times that are stored or compared between machines come from Redis. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void); /* never goes back; for timers and durations */
int64_t clock_mono_us(void);
int64_t clock_wall_ms(void); /* since 1970, UTC; for logs and tokens only */

/* Room for an RFC 3339 time in UTC with milliseconds, "2026-01-31T23:59:59.123Z", and its NUL. */
enum { CLOCK_TEXT_SIZE = 32 };
char *clock_format(int64_t wall_ms, char out[CLOCK_TEXT_SIZE]);

#endif
