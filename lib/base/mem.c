#include "base/mem.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static void *must(void *ptr)
{
    if (!ptr) {
        check_failed(__FILE__, __LINE__, "out of memory");
    }
    return ptr;
}

void *mem_alloc(size_t size)
{
    return must(malloc(size ? size : 1));
}

void *mem_zalloc(size_t size)
{
    return must(calloc(1, size ? size : 1));
}

void *mem_resize(void *old, size_t size)
{
    return must(realloc(old, size ? size : 1));
}

char *mem_strdup(const char *text)
{
    return mem_dup(text ? text : "", text ? strlen(text) : 0);
}

char *mem_dup(const void *data, size_t n)
{
    char *copy = mem_alloc(n + 1);
    if (n > 0) {
        memcpy(copy, data, n);
    }
    copy[n] = '\0';
    return copy;
}
