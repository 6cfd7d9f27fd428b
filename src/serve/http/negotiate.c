#include "serve/http/negotiate.h"

#include "serve/http/head.h"

#include <string.h>
#include <strings.h>

/* "0", "0.25", "1.000" in thousandths; what is none counts as 1, as if nothing had been said. */
static int read_weight(aic_view text)
{
    int weight = 0;
    if (text.size == 0 || text.data[0] != '0') return 1000;
    for (size_t i = 2, digit = 100; i < text.size && i < 5; i++, digit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9') break;
        weight += (text.data[i] - '0') * (int)digit;
    }
    return weight;
}

/* The weight of a list's element, "name; parameter=value; q=0.5", if it is this name's; -1 for another. */
static int weight_of(aic_view element, const char *name)
{
    aic_view part;
    if (!head_list_next(&element, ';', &part) || part.size != strlen(name) ||
        strncasecmp(part.data, name, part.size) != 0)
        return -1;
    int weight = 1000;
    while (head_list_next(&element, ';', &part)) {
        if (part.size >= 2 && strncasecmp(part.data, "q=", 2) == 0)
            weight = read_weight((aic_view){part.data + 2, part.size - 2});
    }
    return weight;
}

/* The largest weight that the field's lines give this name; -1 when none does. */
static int listed_weight(const struct http_exchange *exchange, const char *field, const char *name)
{
    int most = -1;
    size_t at = 0;
    aic_view line, element;
    while (http_header_next(exchange, field, &at, &line)) {
        while (head_list_next(&line, ',', &element)) {
            int weight = weight_of(element, name);
            if (weight > most) most = weight;
        }
    }
    return most;
}

bool negotiate(const struct http_exchange *exchange, const char *field, const char *wanted, const char *usual)
{
    int weight = listed_weight(exchange, field, wanted);
    return weight > 0 && weight >= listed_weight(exchange, field, usual);
}

static bool is_tag(aic_view element, aic_view tag)
{
    return tag.size > 0 && element.size == tag.size && memcmp(element.data, tag.data, tag.size) == 0;
}

/* Is the field there, and does it hold the tag or `*`? */
static bool has_tag(const struct http_exchange *exchange, const char *field, aic_view tag, bool weak, bool *given)
{
    size_t at = 0;
    aic_view line, element;
    while (http_header_next(exchange, field, &at, &line)) {
        *given = true;
        if (line.size == 1 && line.data[0] == '*') return true;
        /* A comma inside another tag makes pieces of it; none of them has a quote at both ends. */
        while (head_list_next(&line, ',', &element)) {
            if (weak && element.size > 2 && memcmp(element.data, "W/", 2) == 0)
                element = (aic_view){element.data + 2, element.size - 2};
            if (is_tag(element, tag)) return true;
        }
    }
    return false;
}

enum condition negotiate_condition(const struct http_exchange *exchange, aic_view tag)
{
    bool given = false;
    if (!has_tag(exchange, "If-Match", tag, false, &given) && given) return CONDITION_FAILED;
    if (!has_tag(exchange, "If-None-Match", tag, true, &given)) return CONDITION_HOLDS;
    enum http_verb verb = http_verb(exchange);
    return verb == HTTP_VERB_GET || verb == HTTP_VERB_HEAD ? CONDITION_KNOWN : CONDITION_FAILED;
}
