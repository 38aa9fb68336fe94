/*
 * Trace context for branch calls: the header `traceparent` of W3C Trace Context, version 00.
 *
 * The trace id is a hash of the gid, so that every attempt of every branch, from any coordinator
 * and after any restart, belongs to one trace, and a person can compute it from the gid.
 */
#ifndef COORDINATOR_TRACE_H
#define COORDINATOR_TRACE_H

#include "base/rng.h"
#include "base/slice.h"

/* "00-" 32 hex digits "-" 16 hex digits "-01" and a NUL. */
enum { TRACEPARENT_SIZE = 56 };

/* Trace id from the gid (FNV-1a 128 bit), a random span id, sampled. Returns out. */
char *trace_parent_make(struct slice gid, struct rng *rng, char out[TRACEPARENT_SIZE]);
bool trace_parent_is_valid(struct slice text);

#endif
