#include "redis/reader.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/mem.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCRATCH = 32 * 1024,           /* bytes of reply that need no allocation */
    REPLY_MAX = 256 * 1024 * 1024, /* bytes of one reply, decoded or still unread */
};

struct reader {
    redisReader *parser;
    struct redis_value root;
    struct arena arena; /* what does not fit into scratch */
    size_t used;        /* of scratch */
    size_t total;       /* of scratch and arena */
    char *scratch;
    const char *error;
};

#if HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

/* Memory for a part of this reply. NULL when it grows too large: hiredis takes that for out of
 * memory and stops. */
static void *reply_alloc(struct reader *reader, size_t size)
{
    size_t aligned = (size + 15) & ~(size_t)15;
    if (size > REPLY_MAX || reader->total + aligned > REPLY_MAX) {
        return NULL;
    }
    reader->total += aligned;
    if (aligned > SCRATCH - reader->used) {
        return arena_alloc(&reader->arena, size);
    }
    void *ptr = reader->scratch + reader->used;
    reader->used += aligned;
    return ptr;
}

/* The value that this task fills: the reply itself, or its place in the array around it. */
static struct redis_value *value_of(const redisReadTask *task, enum redis_type type)
{
    struct reader *reader = task->privdata;
    struct redis_value *value = &reader->root;
    if (task->parent) {
        struct redis_value *array = task->parent->obj;
        value = &array->items[task->idx];
    }
    *value = (struct redis_value){.type = type};
    return value;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct reader *reader = task->privdata;
    bool is_error = task->type == REDIS_REPLY_ERROR;
    bool is_status = is_error || task->type == REDIS_REPLY_STATUS;
    char *copy = reply_alloc(reader, len + 1);
    if (!copy) {
        return NULL;
    }
    struct redis_value *value = value_of(task, is_status ? REDIS_STATUS : REDIS_STRING);
    memcpy(copy, text, len);
    copy[len] = '\0';
    value->str = slice_make(copy, len);
    value->is_error = is_error;
    return value;
}

static void *create_array(const redisReadTask *task, array_size elements)
{
    struct reader *reader = task->privdata;
    size_t count = (size_t)elements;
    struct redis_value *items =
        count > REPLY_MAX ? NULL : reply_alloc(reader, count * sizeof(*items));
    if (!items) {
        return NULL;
    }
    struct redis_value *value = value_of(task, REDIS_ARRAY);
    value->items = items;
    value->count = count;
    return value;
}

static void *create_integer(const redisReadTask *task, long long number)
{
    struct redis_value *value = value_of(task, REDIS_INTEGER);
    value->integer = number;
    return value;
}

static void *create_nil(const redisReadTask *task)
{
    return value_of(task, REDIS_NIL);
}

#if HIREDIS_MAJOR >= 1
/* RESP3 only, which is never asked for; hiredis wants them all the same. */
static void *create_double(const redisReadTask *task, double number, char *text, size_t len)
{
    (void)number;
    return create_string(task, text, len);
}

static void *create_bool(const redisReadTask *task, int flag)
{
    return create_integer(task, flag);
}
#endif

static void free_nothing(void *value)
{
    (void)value; /* memory goes with the reader's next reply */
}

/* Never changed; hiredis takes a pointer to a table that it could change. */
static redisReplyObjectFunctions object_functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_nothing,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double,
    .createBool = create_bool,
#endif
};

struct reader *reader_new(void)
{
    struct reader *reader = mem_new(struct reader);
    reader->scratch = mem_alloc(SCRATCH);
    reader->parser = redisReaderCreateWithFunctions(&object_functions);
    check(reader->parser);
    reader->parser->privdata = reader;
    /* Keep the buffer when it is empty: it would be allocated anew for each read. */
    reader->parser->maxbuf = 0;
    return reader;
}

void reader_free(struct reader *reader)
{
    redisReaderFree(reader->parser);
    arena_fini(&reader->arena);
    free(reader->scratch);
    free(reader);
}

void reader_feed(struct reader *reader, struct slice bytes)
{
    if (!reader->error && redisReaderFeed(reader->parser, bytes.ptr, bytes.len) != REDIS_OK) {
        reader->error = "out of memory";
    }
}

enum err reader_next(struct reader *reader, const struct redis_value **value)
{
    redisReader *parser = reader->parser;
    void *reply = NULL;
    *value = NULL;
    if (reader->error) {
        return ERR_PROTOCOL;
    }
    if (!parser->reply) { /* none is half-read: the memory of the last one goes */
        arena_fini(&reader->arena);
        reader->used = 0;
        reader->total = 0;
    }
    if (redisReaderGetReply(parser, &reply) != REDIS_OK) {
        reader->error = parser->errstr;
        return ERR_PROTOCOL;
    }
    if (!reply && parser->len - parser->pos > REPLY_MAX) {
        reader->error = "reply is too large";
        return ERR_PROTOCOL;
    }
    *value = reply;
    return reply ? ERR_OK : ERR_UNAVAILABLE;
}

const char *reader_error(const struct reader *reader)
{
    return reader->error;
}
