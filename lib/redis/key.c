#include "redis/key.h"

#include "redis/redis.h"

#include <string.h>
#include <strings.h>

int key_slot(struct slice key)
{
    const char *open = key.len > 0 ? memchr(key.ptr, '{', key.len) : NULL;
    if (open) {
        size_t left = key.len - (size_t)(open + 1 - key.ptr);
        const char *close = left > 0 ? memchr(open + 1, '}', left) : NULL;
        if (close && close > open + 1) {
            key = slice_make(open + 1, (size_t)(close - open) - 1);
        }
    }
    return redis_crc16(key) % SLOTS;
}

enum place {
    NO_KEY,
    SECOND,        /* the word behind the sub-command */
    COUNTED,       /* NAME count key… */
    COUNTED_LATER, /* NAME word count key… */
    STREAMS,       /* behind the word STREAMS */
};

static bool word_is(struct slice word, const char *name)
{
    return word.len == strlen(name) && strncasecmp(word.ptr, name, word.len) == 0;
}

static bool place_find(struct slice name, enum place *place)
{
    static const struct {
        const char *name;
        enum place place;
    } known[] = {
        {"PING", NO_KEY},
        {"ECHO", NO_KEY},
        {"HELLO", NO_KEY},
        {"INFO", NO_KEY},
        {"CONFIG", NO_KEY},
        {"TIME", NO_KEY},
        {"ROLE", NO_KEY},
        {"CLIENT", NO_KEY},
        {"CLUSTER", NO_KEY},
        {"COMMAND", NO_KEY},
        {"SCRIPT", NO_KEY},
        {"FUNCTION", NO_KEY},
        {"ACL", NO_KEY},
        {"DBSIZE", NO_KEY},
        {"LASTSAVE", NO_KEY},
        {"LATENCY", NO_KEY},
        {"SLOWLOG", NO_KEY},
        {"WAIT", NO_KEY},
        {"WAITAOF", NO_KEY},
        {"SCAN", NO_KEY},
        {"KEYS", NO_KEY},
        {"RANDOMKEY", NO_KEY},
        {"PUBLISH", NO_KEY},
        {"OBJECT", SECOND},
        {"MEMORY", SECOND},
        {"XINFO", SECOND},
        {"XGROUP", SECOND},
        {"BITOP", SECOND},
        {"EVAL", COUNTED_LATER},
        {"EVALSHA", COUNTED_LATER},
        {"FCALL", COUNTED_LATER},
        {"EVAL_RO", COUNTED_LATER},
        {"EVALSHA_RO", COUNTED_LATER},
        {"FCALL_RO", COUNTED_LATER},
        {"BLMPOP", COUNTED_LATER},
        {"BZMPOP", COUNTED_LATER},
        {"LMPOP", COUNTED},
        {"ZMPOP", COUNTED},
        {"SINTERCARD", COUNTED},
        {"ZINTERCARD", COUNTED},
        {"ZUNION", COUNTED},
        {"ZINTER", COUNTED},
        {"ZDIFF", COUNTED},
        {"XREAD", STREAMS},
        {"XREADGROUP", STREAMS},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (word_is(name, known[i].name)) {
            *place = known[i].place;
            return true;
        }
    }
    return false;
}

static size_t key_index(enum place place, const struct slice *argv, size_t argc)
{
    int64_t count = 0;
    size_t at = 0;
    switch (place) {
    case NO_KEY: return 0;
    case SECOND: return 2;
    case COUNTED:
    case COUNTED_LATER:
        at = place == COUNTED ? 1 : 2;
        return at < argc && slice_to_int64(argv[at], &count) && count > 0 ? at + 1 : 0;
    case STREAMS:
        while (at < argc && !word_is(argv[at], "STREAMS")) {
            at++;
        }
        return at + 1;
    }
    return 0;
}

bool command_key(const struct slice *argv, size_t argc, struct slice *key)
{
    enum place place;
    size_t index = place_find(argv[0], &place) ? key_index(place, argv, argc) : 1;
    if (index == 0 || index >= argc) {
        return false;
    }
    *key = argv[index];
    return true;
}
