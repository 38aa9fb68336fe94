/* What a reply looks like inside redis/; the accessors for everybody are in redis.h. */
#ifndef REDIS_VALUE_H
#define REDIS_VALUE_H

#include "base/err.h"
#include "base/slice.h"
#include "redis/redis.h"

struct redis_value {
    enum redis_type type; /* an error is a STATUS with is_error */
    bool is_error;
    int64_t integer;
    struct slice str; /* NUL-terminated */
    struct redis_value *items;
    size_t count;
};

/* What an error reply means to the caller: see struct redis_result. */
enum err redis_error_classify(struct slice text);
/* True when the first word of the error text is `code`. */
bool redis_error_is(struct slice text, const char *code);

#endif
