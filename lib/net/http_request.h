/* Inside of the HTTP server: one request, from its complete head to its answer. */
#ifndef NET_HTTP_REQUEST_H
#define NET_HTTP_REQUEST_H

#include "net/http_parse.h"
#include "net/quota.h"
#include "net/socket.h"

struct server_conn;

enum { HTTP_ID_SIZE = 65 };

struct http_request {
    struct http_request *prev, *next; /* those in the handler's hands */
    struct http_server *server;
    struct server_conn *conn; /* NULL: the client has gone */
    enum http_method method;
    char *bytes; /* of the head; the slices below point into it */
    struct http_head head;
    struct slice path;
    struct http_header *query;
    size_t query_count;
    struct http_body body;
    struct quota_share share; /* of the body */
    struct buf extra;         /* headers of the answer */
    bool handed;              /* to the handler, and so in its list */
    char id[HTTP_ID_SIZE];
    char peer[ADDRESS_TEXT_SIZE];
};

/* Parses a complete head and prepares for the body. 0: fine; else the status to refuse with, and
 * why: then *out is NULL. `fallback_id` is used when the client gives none. */
int http_request_new(struct slice head, size_t body_max, const char *fallback_id,
                     struct http_request **out, const char **why) MUST_CHECK;
void http_request_free(struct http_request *request); /* must be in no list any more */

#endif
