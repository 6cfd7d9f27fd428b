/*
 * request.h - the request within a body, as lookups, puts and explanations have it: {operation, text, options?,
 * question?, model?, namespace?, ...}. Any thread, with memory of its own.
 */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "cache/key.h"
#include "serve/routes/call.h"
#include "serve/routes/fields.h"

/* Views and tokens into the document and the scratch buffer that it was read with. */
struct request {
    struct key_request key;
    aic_view operation;
};
/* Reads the common members of the tokens in the order of REQUEST_RULES. */
AIC_MUST_CHECK aic_status request_read(const struct json *json, struct buf *scratch, const struct call *call,
                                       const uint32_t *tokens, struct request *out, aic_error *error);
#define REQUEST_RULES                                                                                                  \
    {"operation", FIELD_STRING, true, true, "a string of 1 to 128 bytes"},                                             \
        {"text", FIELD_STRING, true, true, "a string"}, {"options", FIELD_OBJECT, false, false, "an object"},          \
        {"model", FIELD_STRING, false, false, "a string of 1 to 128 bytes"},                                           \
        {"question", FIELD_STRING, false, false, "a string"},                                                          \
    {                                                                                                                  \
        "namespace", FIELD_STRING, false, false, "a string of 1 to 128 bytes"                                          \
    }
enum {
    REQUEST_OPERATION,
    REQUEST_TEXT,
    REQUEST_OPTIONS,
    REQUEST_MODEL,
    REQUEST_QUESTION,
    REQUEST_NAMESPACE,
    REQUEST_FIELDS
};

#endif
