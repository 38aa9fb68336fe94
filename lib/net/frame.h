/*
 * Frames on the wire: standard length-delimited protobuf, i.e. the length as a varint, then that
 * many bytes. Pure functions.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include "base/err.h"
#include "base/slice.h"

enum { FRAME_HEAD_MAX = 5 };

/* Takes the next frame off `*in`. ERR_OK: `*frame` is set and `*in` moved behind it;
 * ERR_UNAVAILABLE: more bytes are needed; ERR_LIMIT: announced length over max; ERR_PROTOCOL: not a
 * varint of 32 bits. */
enum err frame_next(struct slice *in, size_t max, struct slice *frame) MUST_CHECK;
/* Writes the varint of a length below 2^32; returns its length, 1 … 5. */
size_t frame_head(size_t length, unsigned char out[FRAME_HEAD_MAX]);

#endif
