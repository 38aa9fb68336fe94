/* Replies out of bytes. The protocol is parsed by hiredis' reader; the objects are ours, so that a
 * reply costs no allocation unless it is large. */
#ifndef REDIS_READER_H
#define REDIS_READER_H

#include "redis/value.h"

struct reader;

struct reader *reader_new(void);
void reader_free(struct reader *reader);
void reader_feed(struct reader *reader, struct slice bytes);
/* ERR_OK: `*value` is the next reply, valid until the next call. ERR_UNAVAILABLE: more bytes are
 * needed. ERR_PROTOCOL: this is not Redis' protocol, or too large; nothing more can be read. */
enum err reader_next(struct reader *reader, const struct redis_value **value) MUST_CHECK;
const char *reader_error(const struct reader *reader); /* after ERR_PROTOCOL */

#endif
