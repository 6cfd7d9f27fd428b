#include "serve/routes/call.h"

#include "base/check.h"
#include "base/status.h"
#include "base/view.h"
#include "cache/cache.h"
#include "serve/routes/fields.h"
#include "serve/routes/front.h"

#include <stdio.h>
#include <string.h>

aic_status call_namespace(const struct call *call, aic_view wanted, aic_view *out, aic_error *error)
{
    if (wanted.data != NULL) TRY(cache_check_name("namespace", wanted, error));
    struct auth_caller caller = {.ns = call_ns(call), .admin = call->admin};
    return auth_namespace(&caller, wanted, out, error);
}

static aic_status refuse_query(aic_error *error)
{
    return error_set(error, AIC_INVALID, NULL, "the query has a broken escape or more than %d parameters",
                     HTTP_MAX_QUERY);
}

aic_status call_query(struct http_exchange *exchange, const char *name, aic_view *out, aic_error *error)
{
    aic_view found = {0};
    size_t count, wanted = strlen(name);
    if (http_query_count(exchange, &count) != AIC_OK) return refuse_query(error);
    for (size_t i = 0; i < count; i++) {
        aic_view other, value;
        http_query_at(exchange, i, &other, &value);
        if (other.size != wanted || memcmp(other.data, name, wanted) != 0) continue;
        if (found.data != NULL) return error_set(error, AIC_INVALID, name, "this parameter came twice");
        found = value;
    }
    *out = found;
    return AIC_OK;
}

static bool is_listed(const char *known, aic_view name)
{
    while (*known != '\0') {
        size_t size = strcspn(known, " ");
        if (size == name.size && memcmp(known, name.data, size) == 0) return true;
        known += size;
        known += strspn(known, " ");
    }
    return false;
}

aic_status call_check_query(struct http_exchange *exchange, const struct http_route *route, aic_error *error)
{
    size_t count;
    if (route->query == NULL) return AIC_OK;
    if (http_query_count(exchange, &count) != AIC_OK) return refuse_query(error);
    for (size_t i = 0; i < count; i++) {
        aic_view name, value;
        http_query_at(exchange, i, &name, &value);
        if (is_listed(route->query, name)) continue;
        char field[64];
        name = view_plain_name(name, sizeof field - 1);
        snprintf(field, sizeof field, "%.*s", (int)name.size, name.data);
        return error_set(error, AIC_INVALID, field, "this query parameter is not known here; known %s%s",
                         *route->query == '\0' ? "is none" : "are: ", route->query);
    }
    return AIC_OK;
}

aic_status call_check_no_body(struct http_exchange *exchange, aic_error *error)
{
    return fields_read(&front_of(exchange)->json, http_body(exchange), NULL, 0, NULL, error);
}

aic_status call_key(struct http_exchange *exchange, aic_key *key, aic_view *ns, aic_error *error)
{
    const struct call *call = call_of(exchange);
    aic_view wanted;
    if (aic_key_parse(http_parameter(exchange, 0), key) != AIC_OK)
        return error_set(error, AIC_INVALID, "key", "this is no key; 64 lower-case hex digits are accepted");
    TRY(call_query(exchange, "namespace", &wanted, error));
    if (wanted.data == NULL && call->admin) {
        *ns = AIC_LITERAL("");
        return AIC_OK;
    }
    return call_namespace(call, wanted, ns, error);
}
