/* A Lua script that was embedded at build time, or composed by the SDK. */
#ifndef REDIS_SCRIPT_H
#define REDIS_SCRIPT_H

#include <stddef.h>

struct redis_script {
    const char *name; /* file name without ending: "txn_create" */
    const char *text;
    size_t len;
    const char *sha1; /* 40 lower-case hex digits: what SCRIPT LOAD answers for the same bytes */
    int keys;         /* number of KEYS it takes */
};

#endif
