/*
 * Transactions as DTM's JSON (docs/http-api.md, "query" and "all"). Pure.
 */
#ifndef COORDINATOR_API_HTTP_VIEW_H
#define COORDINATOR_API_HTTP_VIEW_H

#include "coordinator/archive.h"
#include "wire/json.h"

/* {"transaction": {…} | null, "branches": […], "history": […], "keys": {…}}; no keys when there is
 * no transaction */
/* What the client of a workflow needs to go on: {"transaction": …, "progresses": […]}. */
void view_workflow(struct buf *out, const struct txn *txn);
void view_record(struct buf *out, const struct archive_record *record);
/* {"transactions": […], "next_position": "…"} */
void view_page(struct buf *out, const struct archive_page *page);

#endif
