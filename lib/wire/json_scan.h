/* Inside of the JSON module: the strict check that runs before cJSON sees a text. */
#ifndef WIRE_JSON_SCAN_H
#define WIRE_JSON_SCAN_H

#include "base/err.h"
#include "base/slice.h"

/* ERR_OK when the text is exactly one JSON value (RFC 8259) within the limits of json.h; else
 * ERR_INVALID with line, column and what was expected there. Needs no memory, whatever the text. */
enum err json_scan(struct slice text, struct reason *reason) MUST_CHECK;

/* Length of the UTF-8 sequence that `s` begins with, 0 when it is not one; len > 0. */
size_t json_utf8_step(const char *s, size_t len);

#endif
