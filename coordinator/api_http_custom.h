/*
 * custom_data, the JSON text by which DTM's SDKs pass what only one type knows. Pure.
 *
 *   saga      {"concurrent": true, "orders": {"2": [0, 1]}}   step 2 comes after steps 0 and 1
 *   msg       {"delay": seconds}
 *   workflow  {"name": text, "data": base64}
 *
 * What is not a JSON object is the client's own business, but for a workflow: it is kept and shown.
 */
#ifndef COORDINATOR_API_HTTP_CUSTOM_H
#define COORDINATOR_API_HTTP_CUSTOM_H

#include "base/arena.h"
#include "coordinator/txn.h"

enum { CUSTOM_DELAY_S_MAX = 365 * 24 * 3600 };

/* Reads spec->custom_data into the spec; `steps` are spec->steps. What it needs lives in `arena`.
 */
enum err custom_data_decode(struct txn_spec *spec, enum txn_type type, struct txn_step *steps,
                            struct arena *arena, struct reason *reason) MUST_CHECK;

#endif
