#include "serve/routes/origin.h"

#include "base/view.h"

#include <string.h>
#include <strings.h>

static bool is_view(aic_view view, const char *text)
{
    return view_equal(view, aic_view_of(text));
}

/* Is "scheme://host:port" of this "host:port"? Browsers leave a scheme's own port out of both. */
static bool is_at(aic_view origin, aic_view host)
{
    const char *mark = memmem(origin.data, origin.size, "://", 3);
    if (mark == NULL || host.data == NULL) return false; /* "null": a page that may not say what it is */
    size_t skipped = (size_t)(mark - origin.data) + 3;
    return origin.size - skipped == host.size && strncasecmp(mark + 3, host.data, host.size) == 0;
}

bool origin_is_foreign(const struct http_exchange *exchange)
{
    enum http_verb verb = http_verb(exchange);
    if (verb == HTTP_VERB_GET || verb == HTTP_VERB_HEAD || verb == HTTP_VERB_OPTIONS) return false;
    size_t at = 0;
    aic_view said;
    bool known = false;
    while (http_header_next(exchange, "Sec-Fetch-Site", &at, &said)) {
        if (!is_view(said, "same-origin") && !is_view(said, "none")) return true;
        known = true;
    }
    if (known) return false;
    at = 0;
    while (http_header_next(exchange, "Origin", &at, &said)) {
        if (!is_at(said, http_host(exchange))) return true;
    }
    return false;
}
