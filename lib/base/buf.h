/* A growable byte buffer. A zeroed struct is an empty buffer. The bytes are always followed by a
 * NUL that does not count, so that `data` can be used as a C string once something was added. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
};

void buf_fini(struct buf *buf);  /* frees; the struct is an empty buffer again */
void buf_clear(struct buf *buf); /* keeps the memory */
/* Room for n more bytes; returns where they begin. The caller then adds to `len` by buf_grow. */
char *buf_reserve(struct buf *buf, size_t n);
void buf_grow(struct buf *buf, size_t n);
void buf_add(struct buf *buf, const void *data, size_t n);
void buf_add_slice(struct buf *buf, struct slice s);
void buf_add_str(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_drop_front(struct buf *buf, size_t n); /* forgets the first n bytes */
struct slice buf_slice(const struct buf *buf);  /* valid until the next change */

/* RFC 4648 base64 with padding. Decoding refuses anything else and leaves `out` as it was. */
void buf_add_base64(struct buf *out, struct slice data);
enum err buf_add_base64_decoded(struct buf *out, struct slice text) MUST_CHECK;

#endif
