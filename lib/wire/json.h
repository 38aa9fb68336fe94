/*
 * JSON on cJSON, whose types stay in wire/. Values belong to their document.
 */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct json; /* a value of a document, or its root; NULL means absent */

enum { JSON_DEPTH_MAX = 32 };

/* Parses exactly one JSON value of RFC 8259. Refuses with ERR_INVALID and the place (line, column):
 * bytes that are not UTF-8, nesting deeper than JSON_DEPTH_MAX, a string with a NUL character
 * (\u0000), half a surrogate pair, a number of more than 60 characters, anything behind the value.
 * An object that has a field twice is refused by the name of the field: readers differ on which one
 * counts. Free with json_free. */
enum err json_parse(struct slice text, struct json **out, struct reason *reason) MUST_CHECK;
void json_free(struct json *root);
/* Takes a member out of the object: from now on a document of its own. NULL: there is none. */
struct json *json_take(struct json *object, const char *name);

/* NULL when absent, when `object` is NULL or not an object; also when the member is JSON null. */
const struct json *json_get(const struct json *object, const char *name);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_string(const struct json *value);
bool json_is_number(const struct json *value);
bool json_is_bool(const struct json *value);
size_t json_count(const struct json *array);
const struct json *json_at(const struct json *array, size_t index);
/* Iteration over the members of an object or the elements of an array. */
const struct json *json_first(const struct json *value);
const struct json *json_next(const struct json *member);
struct slice json_name(const struct json *member);
/* Value of a string, else the empty slice. */
struct slice json_string(const struct json *value);
bool json_bool(const struct json *value);
double json_double(const struct json *value); /* of a number, else 0 */

/* Typed members: absent or null leaves *out alone and is ERR_OK; a wrong type or a value out of
 * range is ERR_INVALID with "field 'x': …". */
enum err json_read_string(const struct json *object, const char *name, struct slice *out,
                          struct reason *reason) MUST_CHECK;
enum err json_read_bool(const struct json *object, const char *name, bool *out,
                        struct reason *reason) MUST_CHECK;
/* Whole numbers only (5, 5.0, 5e0), min…max; nothing beyond ±(2^53 - 1), where readers that hold
 * numbers as doubles begin to differ. */
enum err json_read_int(const struct json *object, const char *name, int64_t min, int64_t max,
                       int64_t *out, struct reason *reason) MUST_CHECK;

/* Writing: appends to a buf; commas are put by the writer. Names and strings are escaped; bytes
 * that are not UTF-8 become U+FFFD, so the output is always valid JSON. */
struct json_writer {
    struct buf *out;
    bool comma;
};
void json_writer_init(struct json_writer *w, struct buf *out);
/* `name` is NULL inside an array and at the root. */
void json_open_object(struct json_writer *w, const char *name);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w, const char *name);
void json_close_array(struct json_writer *w);
void json_put_string(struct json_writer *w, const char *name, struct slice value);
void json_put_text(struct json_writer *w, const char *name, const char *value); /* NULL: null */
void json_put_int(struct json_writer *w, const char *name, int64_t value);
void json_put_double(struct json_writer *w, const char *name, double value); /* not finite: null */
void json_put_bool(struct json_writer *w, const char *name, bool value);
/* A member of an object, as it is; numbers as doubles. */
void json_put_value(struct json_writer *w, const struct json *member);
void json_put_null(struct json_writer *w, const char *name);
/* Text that is valid JSON already; empty: null. */
void json_put_raw(struct json_writer *w, const char *name, struct slice json);

#endif
