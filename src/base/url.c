#include "base/url.h"

#include "base/view.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* As RFC 3986 has it: from behind the last `@` before the path, query or fragment. */
static aic_view host_and_port(const char *url)
{
    const char *begin = strstr(url, "://");
    begin = begin != NULL ? begin + 3 : url;
    size_t size = strcspn(begin, "/?#");
    for (size_t at = size; at > 0; at--) {
        if (begin[at - 1] == '@') return (aic_view){begin + at, size - at};
    }
    return (aic_view){begin, size};
}

static bool is_host_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           (byte != '\0' && strchr("-._:[]", byte) != NULL);
}

const char *url_place(const char *url, char out[URL_PLACE_BYTES])
{
    const char *colon = strstr(url, "://");
    size_t scheme = colon != NULL ? (size_t)(colon - url) + 3 : 0;
    aic_view host = host_and_port(url);
    /* With a `@` behind it, it may be the end of a password that holds a slash as it is. */
    bool plain = host.size > 0 && scheme + host.size < URL_PLACE_BYTES && strchr(host.data + host.size, '@') == NULL;
    for (size_t i = 0; plain && i < host.size; i++) plain = is_host_byte(host.data[i]);
    /* "user:password" without a host looks like a port that is no number. */
    const char *port = plain ? memrchr(host.data, ':', host.size) : NULL;
    if (port != NULL && host.data[0] != '[')
        plain = strspn(port + 1, "0123456789") >= (size_t)(host.data + host.size - port - 1);
    for (size_t i = 0; i + 3 < scheme; i++) {
        if (!is_host_byte(url[i])) scheme = 0;
    }
    if (scheme > 16) scheme = 0;
    if (plain) snprintf(out, URL_PLACE_BYTES, "%.*s%.*s", (int)scheme, url, (int)host.size, host.data);
    else snprintf(out, URL_PLACE_BYTES, "%.*s(hidden)", (int)scheme, url);
    return out;
}

aic_view url_user_info(aic_view text)
{
    const char *end = text.size > 0 ? memrchr(text.data, '@', text.size) : NULL;
    if (end == NULL) return (aic_view){NULL, 0};
    const char *begin = memmem(text.data, (size_t)(end - text.data), "://", 3);
    if (begin != NULL) return (aic_view){begin + 3, (size_t)(end - begin - 3)};
    begin = text.data[0] == '-' ? memchr(text.data, '=', (size_t)(end - text.data)) : NULL;
    begin = begin != NULL ? begin + 1 : text.data;
    bool secret = memchr(begin, ':', (size_t)(end - begin)) != NULL;
    return secret ? (aic_view){begin, (size_t)(end - begin)} : (aic_view){NULL, 0};
}

void url_hide(char *message)
{
    static const char between[] = " \t\n'\",;";
    for (char *at = message + strspn(message, between); *at != '\0'; at += strspn(at, between)) {
        aic_view word = {at, strcspn(at, between)}, secret = url_user_info(word);
        at += word.size;
        if (secret.size == 0) continue;
        char *from = message + (secret.data - message);
        from[0] = '*';
        memmove(from + 1, from + secret.size, strlen(from + secret.size) + 1);
        at -= secret.size - 1;
    }
}

bool url_is_local(const char *url)
{
    char host[256];
    struct in_addr four;
    struct in6_addr six;
    aic_view whole = host_and_port(url);
    bool bracketed = whole.size > 0 && whole.data[0] == '[';
    const char *from = whole.data + bracketed;
    const char *end = memchr(from, bracketed ? ']' : ':', whole.size - bracketed);
    size_t size = end != NULL ? (size_t)(end - from) : whole.size - bracketed;
    if (size == 0 || size >= sizeof host) return false;
    memcpy(host, from, size);
    host[size] = '\0';
    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    if (host[size - 1] == '.') host[--size] = '\0';
    static const char name[] = "localhost", below[] = ".localhost";
    return strcasecmp(host, name) == 0 ||
           (size > sizeof below - 1 && strcasecmp(host + size - (sizeof below - 1), below) == 0);
}
