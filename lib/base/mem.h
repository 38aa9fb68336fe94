/* Memory for daemons: out of memory ends the process with a message, so callers never see NULL. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);              /* uninitialised; free with free() */
void *mem_zalloc(size_t size);             /* zeroed */
void *mem_resize(void *old, size_t size);  /* as realloc */
char *mem_strdup(const char *text);        /* NULL gives "" */
char *mem_dup(const void *data, size_t n); /* n bytes and a NUL behind them */

/* Allocates a zeroed `type`. */
#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

#endif
