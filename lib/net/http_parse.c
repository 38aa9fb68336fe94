#include "net/http_parse.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a head says about framing, while its headers are walked through. */
struct seen {
    int hosts;
    int lengths;
    int encodings;
    int expects;
    bool close;
    bool keep_alive;
    struct slice length;
    struct slice encoding;
    struct slice expect;
};

static bool is_alnum(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool http_is_token(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (!is_alnum(c) && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c))) {
            return false;
        }
    }
    return name.len > 0;
}

bool http_is_header_value(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return false;
        }
    }
    return true;
}

static bool is_same(struct slice a, const char *text)
{
    return a.len == strlen(text) && strncasecmp(a.ptr, text, a.len) == 0;
}

enum err http_head_find(struct slice in, size_t *scanned, size_t *length)
{
    while (*scanned < in.len) {
        const char *feed = memchr(in.ptr + *scanned, '\n', in.len - *scanned);
        size_t at = feed ? (size_t)(feed - in.ptr) : in.len;
        if (feed && (at == 0 || feed[-1] != '\r')) {
            return ERR_PROTOCOL;
        }
        if (feed && (at == 1 || feed[-2] == '\n')) {
            *length = at + 1;
            return ERR_OK;
        }
        *scanned = feed ? at + 1 : in.len;
    }
    return ERR_UNAVAILABLE;
}

/* Takes the next line off; the caller has delimited the head, so there is one. */
static struct slice next_line(char **at)
{
    char *feed = strchr(*at, '\n');
    struct slice line = slice_make(*at, (size_t)(feed - *at) - 1);
    *at = feed + 1;
    return line;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* All slices are parts of the mutable bytes of the head. */
static void terminate(struct slice s)
{
    *(char *)(uintptr_t)(s.ptr + s.len) = '\0';
}

static bool parse_header(struct slice line, struct http_header *out)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    if (!colon) {
        return false;
    }
    out->name = slice_make(line.ptr, (size_t)(colon - line.ptr));
    out->value = trim(slice_make(colon + 1, line.len - out->name.len - 1));
    if (!http_is_token(out->name) || !http_is_header_value(out->value)) {
        return false;
    }
    terminate(out->name);
    terminate(out->value);
    return true;
}

static void note_connection(struct slice value, struct seen *seen)
{
    while (value.len > 0) {
        const char *comma = memchr(value.ptr, ',', value.len);
        size_t n = comma ? (size_t)(comma - value.ptr) : value.len;
        struct slice option = trim(slice_make(value.ptr, n));
        seen->close = seen->close || is_same(option, "close");
        seen->keep_alive = seen->keep_alive || is_same(option, "keep-alive");
        n += comma != NULL;
        value = slice_make(value.ptr + n, value.len - n);
    }
}

static void note_header(const struct http_header *header, struct seen *seen)
{
    if (is_same(header->name, "host")) {
        seen->hosts++;
    } else if (is_same(header->name, "connection")) {
        note_connection(header->value, seen);
    } else if (is_same(header->name, "content-length")) {
        seen->lengths++;
        seen->length = header->value;
    } else if (is_same(header->name, "transfer-encoding")) {
        seen->encodings++;
        seen->encoding = header->value;
    } else if (is_same(header->name, "expect")) {
        seen->expects++;
        seen->expect = header->value;
    }
}

static int refuse(int status, const char *text, const char **why)
{
    *why = text;
    return status;
}

static int parse_headers(char *at, char *end, struct http_head *head, struct seen *seen,
                         const char **why)
{
    size_t lines = 0;
    for (const char *c = at; c < end; c++) {
        lines += *c == '\n';
    }
    if (lines - 1 > HTTP_HEADERS_MAX) { /* the last line is the empty one */
        return refuse(431, "more than 100 headers", why);
    }
    head->headers = mem_alloc(lines * sizeof(struct http_header));
    for (head->header_count = 0; head->header_count < lines - 1; head->header_count++) {
        struct http_header *header = &head->headers[head->header_count];
        if (!parse_header(next_line(&at), header)) {
            return refuse(400, "a header line is malformed", why);
        }
        note_header(header, seen);
    }
    return 0;
}

/* RFC 9112 section 6: a message that gives its length in two ways is an attack or a bug. */
static int parse_framing(struct http_head *head, const struct seen *seen, const char **why)
{
    head->keep_alive = !seen->close && (head->minor >= 1 || seen->keep_alive);
    if (seen->encodings > 0) {
        if (seen->lengths > 0 || seen->encodings > 1 || head->minor == 0) {
            return refuse(400, "Transfer-Encoding contradicts the rest of the head", why);
        }
        if (!is_same(seen->encoding, "chunked")) {
            return refuse(501, "the only known Transfer-Encoding is chunked", why);
        }
        head->framing = HTTP_BODY_CHUNKED;
        return 0;
    }
    if (seen->lengths > 0) {
        bool digit = seen->length.len > 0 && is_alnum((unsigned char)seen->length.ptr[0]);
        if (seen->lengths > 1 || !digit || !slice_to_int64(seen->length, &head->length)) {
            return refuse(400, "Content-Length is not one number", why);
        }
        head->framing = HTTP_BODY_LENGTH;
    }
    return 0;
}

/* "HTTP/1.x" */
static bool parse_version(struct slice s, int *major, int *minor)
{
    if (s.len != 8 || !slice_has_prefix(s, "HTTP/") || s.ptr[6] != '.' || s.ptr[5] < '0' ||
        s.ptr[5] > '9' || s.ptr[7] < '0' || s.ptr[7] > '9') {
        return false;
    }
    *major = s.ptr[5] - '0';
    *minor = s.ptr[7] - '0';
    return true;
}

static bool is_target(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= 0x20 || c == 0x7F || c == '#') {
            return false;
        }
    }
    return s.len > 0;
}

static int parse_request_line(struct slice line, struct http_head *head, const char **why)
{
    static const char bad[] = "the request line is malformed";
    const char *first = memchr(line.ptr, ' ', line.len);
    const char *last = memrchr(line.ptr, ' ', line.len);
    if (!first || first == last) {
        return refuse(400, bad, why);
    }
    const char *end = line.ptr + line.len;
    int major = 0;
    head->method = slice_make(line.ptr, (size_t)(first - line.ptr));
    head->target = slice_make(first + 1, (size_t)(last - first) - 1);
    if (!parse_version(slice_make(last + 1, (size_t)(end - last) - 1), &major, &head->minor) ||
        !http_is_token(head->method) || !is_target(head->target)) {
        return refuse(400, bad, why);
    }
    if (major != 1) {
        return refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here", why);
    }
    terminate(head->method);
    terminate(head->target);
    return 0;
}

static int parse_expect(struct http_head *head, const struct seen *seen, const char **why)
{
    if (head->minor >= 1 && seen->hosts != 1) {
        return refuse(400, "exactly one Host header is needed", why);
    }
    if (seen->expects > 0 && !is_same(seen->expect, "100-continue")) {
        return refuse(417, "the only known expectation is 100-continue", why);
    }
    head->expects_continue = seen->expects > 0 && head->minor >= 1;
    return 0;
}

int http_request_parse(char *bytes, size_t len, struct http_head *head, const char **why)
{
    *head = (struct http_head){0};
    if (memchr(bytes, '\0', len)) {
        return refuse(400, "the head has a NUL character", why);
    }
    struct seen seen = {0};
    char *at = bytes;
    int status = parse_request_line(next_line(&at), head, why);
    status = status ? status : parse_headers(at, bytes + len, head, &seen, why);
    status = status ? status : parse_framing(head, &seen, why);
    status = status ? status : parse_expect(head, &seen, why);
    if (status) {
        http_head_fini(head);
    }
    return status;
}

static int parse_status_line(struct slice line, struct http_head *head, const char **why)
{
    int major = 0;
    int64_t status = 0;
    if (line.len < 12 || !parse_version(slice_make(line.ptr, 8), &major, &head->minor) ||
        major != 1 || line.ptr[8] != ' ' || (line.len > 12 && line.ptr[12] != ' ') ||
        !slice_to_int64(slice_make(line.ptr + 9, 3), &status) || status < 100) {
        return refuse(502, "the status line is malformed", why);
    }
    head->status = (int)status;
    return 0;
}

static void set_response_framing(struct http_head *head, bool to_head)
{
    if (to_head || head->status < 200 || head->status == 204 || head->status == 304) {
        head->framing = HTTP_BODY_NONE;
    } else if (head->framing == HTTP_BODY_NONE) {
        head->framing = HTTP_BODY_TO_CLOSE;
        head->keep_alive = false;
    }
}

int http_response_parse(char *bytes, size_t len, bool to_head, struct http_head *head,
                        const char **why)
{
    *head = (struct http_head){0};
    if (memchr(bytes, '\0', len)) {
        return refuse(502, "the head has a NUL character", why);
    }
    struct seen seen = {0};
    char *at = bytes;
    int status = parse_status_line(next_line(&at), head, why);
    status = status ? status : parse_headers(at, bytes + len, head, &seen, why);
    status = status ? status : parse_framing(head, &seen, why);
    if (status) {
        http_head_fini(head);
        return status;
    }
    set_response_framing(head, to_head);
    return 0;
}

void http_head_fini(struct http_head *head)
{
    free(head->headers);
    *head = (struct http_head){0};
}

const char *http_head_get(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (is_same(head->headers[i].name, name)) {
            return head->headers[i].value.ptr;
        }
    }
    return NULL;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool http_percent_decode(char *text, size_t len, bool plus, struct slice *out)
{
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            if (low < 0 || high + low == 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        text[to++] = c;
    }
    text[to] = '\0';
    *out = slice_make(text, to);
    return true;
}

const char *http_method_text(enum http_method method)
{
    switch (method) {
    case HTTP_GET: return "GET";
    case HTTP_POST: return "POST";
    case HTTP_PUT: return "PUT";
    case HTTP_DELETE: return "DELETE";
    case HTTP_HEAD: return "HEAD";
    case HTTP_OTHER: break;
    }
    return "OTHER";
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return "Status";
}
