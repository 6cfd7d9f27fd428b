/*
 * page.c - the web page and its files, from the program itself: they work offline and need no directory.
 */
#include "serve/http/negotiate.h"
#include "serve/routes/assets.h"
#include "serve/routes/handlers.h"
#include "serve/routes/reply.h"

#include <stdio.h>
#include <string.h>

static const struct asset *find(aic_view path)
{
    for (size_t i = 0; i < asset_count; i++)
        if (strlen(assets[i].url) == path.size && memcmp(assets[i].url, path.data, path.size) == 0) return &assets[i];
    return NULL;
}

#define TAG_MAX 40

/* The packed bytes are another representation and have a tag of their own: "0123456789abcdef-gzip". */
static aic_view write_tag(const struct asset *asset, bool packed, char out[TAG_MAX])
{
    size_t size = strlen(asset->tag);
    int wrote = snprintf(out, TAG_MAX, "%.*s%s", (int)size - 1, asset->tag, packed ? "-gzip\"" : "\"");
    return (aic_view){out, (size_t)wrote};
}

void handle_page(struct http_exchange *exchange)
{
    const struct asset *asset = find(http_path(exchange));
    if (asset == NULL) {
        http_reply_problem(exchange, 404, "not_found", NULL, "the web page has no such file");
        return;
    }
    char text[TAG_MAX];
    bool packed = negotiate(exchange, "Accept-Encoding", "gzip", "identity");
    aic_view tag = write_tag(asset, packed, text);
    http_reply_header(exchange, "ETag", tag);
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-cache"));
    http_reply_header(exchange, "Vary", AIC_LITERAL("Accept-Encoding"));
    http_reply_header(exchange, "X-Content-Type-Options", AIC_LITERAL("nosniff"));
    http_reply_header(exchange, "Referrer-Policy", AIC_LITERAL("no-referrer"));
    http_reply_header(exchange, "Content-Security-Policy",
                      AIC_LITERAL("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                                  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"));
    enum condition condition = negotiate_condition(exchange, tag);
    if (condition == CONDITION_KNOWN) http_reply_empty(exchange, 304);
    if (condition == CONDITION_FAILED) reply_condition_failed(exchange);
    if (condition != CONDITION_HOLDS) return;
    if (packed) http_reply_header(exchange, "Content-Encoding", AIC_LITERAL("gzip"));
    aic_view body = packed ? asset->packed : asset->plain;
    http_reply_pieces(exchange, 200, asset->type, &body, 1, NULL, NULL);
}
