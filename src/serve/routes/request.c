#include "serve/routes/request.h"

#include "base/check.h"
#include "cache/cache.h"

static struct key_text text_of(const struct json *json, uint32_t token)
{
    struct key_text text = {0};
    if (token == FIELDS_ABSENT) return text;
    text.json = json;
    text.token = token;
    return text;
}

aic_status request_read(const struct json *json, struct buf *scratch, const struct call *call, const uint32_t *tokens,
                        struct request *out, aic_error *error)
{
    aic_view wanted, ns, model;
    TRY(fields_name(json, tokens[REQUEST_OPERATION], "operation", scratch, &out->operation, error));
    TRY(fields_name(json, tokens[REQUEST_NAMESPACE], "namespace", scratch, &wanted, error));
    TRY(call_namespace(call, wanted, &ns, error));
    TRY(fields_name(json, tokens[REQUEST_MODEL], "model", scratch, &model, error));
    bool options = tokens[REQUEST_OPTIONS] != FIELDS_ABSENT;
    out->key = (struct key_request){
        .ns = ns,
        .operation = out->operation,
        .text = text_of(json, tokens[REQUEST_TEXT]),
        .options = options ? json : NULL,
        .options_token = options ? tokens[REQUEST_OPTIONS] : 0,
        .question = text_of(json, tokens[REQUEST_QUESTION]),
    };
    return cache_take_model(&out->key, model, error);
}
