/*
 * Log lines in logfmt on standard error, or in a file: `ts=… level=info mod=engine msg="…"`, then
 * what the caller gives. Control characters in the text become '?', so nobody can forge a line.
 * Never log a secret.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include "base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level); /* default LOG_INFO */
/* Lines go to the end of this file from now on, which is made when it is not there; "": to standard
 * error. The same path again opens it anew, after somebody has moved it away. On error the log
 * stays as it is. */
enum err log_set_file(const char *path, struct reason *reason) MUST_CHECK;
enum err log_level_parse(const char *text, enum log_level *out) MUST_CHECK;
int log_is_on(enum log_level level);

/* `fmt` gives `msg="…"` and further fields, e.g.
 * log_line(LOG_WARN, "redis", "msg=\"connection lost\" addr=%s", addr). */
void log_line(enum log_level level, const char *mod, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A text of others as it may stand in a field, between quotes: without control characters and
 * without quotes, so that it cannot end the field and forge another one. Returns `out`. */
const char *log_text(struct slice text, char *out, size_t size);

/* The arguments are not evaluated when the level is off. */
#define log_debug(mod, ...) (log_is_on(LOG_DEBUG) ? log_line(LOG_DEBUG, mod, __VA_ARGS__) : (void)0)
#define log_info(mod, ...)  (log_is_on(LOG_INFO) ? log_line(LOG_INFO, mod, __VA_ARGS__) : (void)0)
#define log_warn(mod, ...)  log_line(LOG_WARN, mod, __VA_ARGS__)
#define log_error(mod, ...) log_line(LOG_ERROR, mod, __VA_ARGS__)

#endif
