/*
 * head.c - see head.h. One table of 256 bytes classifies characters for every grammar rule used here.
 */
#include "serve/http/head.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TOKEN = 1, TARGET = 2, VALUE = 4, HOST = 8, HEX = 16, DIGIT = 32 };

/* tchar, characters of a URI, characters of a field value (HTAB, SP, VCHAR, obs-text), of a registered name. */
static const uint8_t CLASS[256] = {
    ['0' ... '9'] = TOKEN | TARGET | VALUE | HOST | HEX | DIGIT,
    ['A' ... 'F'] = TOKEN | TARGET | VALUE | HOST | HEX,
    ['G' ... 'Z'] = TOKEN | TARGET | VALUE | HOST,
    ['a' ... 'f'] = TOKEN | TARGET | VALUE | HOST | HEX,
    ['g' ... 'z'] = TOKEN | TARGET | VALUE | HOST,
    ['-'] = TOKEN | TARGET | VALUE | HOST,
    ['.'] = TOKEN | TARGET | VALUE | HOST,
    ['_'] = TOKEN | TARGET | VALUE | HOST,
    ['~'] = TOKEN | TARGET | VALUE | HOST,
    ['!'] = TOKEN | TARGET | VALUE | HOST,
    ['$'] = TOKEN | TARGET | VALUE | HOST,
    ['%'] = TOKEN | TARGET | VALUE | HOST,
    ['&'] = TOKEN | TARGET | VALUE | HOST,
    ['\''] = TOKEN | TARGET | VALUE | HOST,
    ['*'] = TOKEN | TARGET | VALUE | HOST,
    ['+'] = TOKEN | TARGET | VALUE | HOST,
    ['('] = TARGET | VALUE | HOST,
    [')'] = TARGET | VALUE | HOST,
    [';'] = TARGET | VALUE | HOST,
    ['='] = TARGET | VALUE | HOST,
    [','] = TARGET | VALUE,
    ['/'] = TARGET | VALUE,
    [':'] = TARGET | VALUE,
    ['?'] = TARGET | VALUE,
    ['@'] = TARGET | VALUE,
    ['['] = TARGET | VALUE,
    [']'] = TARGET | VALUE,
    ['#'] = TOKEN | VALUE,
    ['^'] = TOKEN | VALUE,
    ['`'] = TOKEN | VALUE,
    ['|'] = TOKEN | VALUE,
    ['"'] = VALUE,
    ['<'] = VALUE,
    ['>'] = VALUE,
    ['\\'] = VALUE,
    ['{'] = VALUE,
    ['}'] = VALUE,
    ['\t'] = VALUE,
    [' '] = VALUE,
    [128 ... 255] = VALUE,
};

static bool is(char byte, unsigned class)
{
    return (CLASS[(unsigned char)byte] & class) != 0;
}

/* The length of the longest prefix of this class. */
static size_t span_of(const char *data, size_t size, unsigned class)
{
    size_t at = 0;
    while (at < size && is(data[at], class)) at++;
    return at;
}

bool head_is_token(aic_view text)
{
    return text.size > 0 && span_of(text.data, text.size, TOKEN) == text.size;
}

/*
 * Has this word a byte below SP, or DEL? A borrow may blame a byte above a guilty one as well, which changes nothing.
 * (Mycroft's test for a zero byte, as in Bit Twiddling Hacks.)
 */
static bool has_control(uint64_t word)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t low = (word - ones * 0x20) & ~word;
    uint64_t del = word ^ ones * 0x7f;
    del = (del - ones) & ~del;
    return ((low | del) & ones * 0x80) != 0;
}

/* Eight bytes at a time as long as there is not even a tab; values are most of a head. */
bool head_is_value(aic_view text)
{
    size_t at = 0;
    if (text.size == 0) return true; /* of an absent view, too */
    for (; text.size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, text.data + at, sizeof word);
        if (has_control(word)) break;
    }
    return span_of(text.data + at, text.size - at, VALUE) == text.size - at;
}

static unsigned hex_digit(char byte)
{
    if (byte <= '9') return (unsigned)(byte - '0');
    return (unsigned)((byte | 0x20) - 'a' + 10);
}

size_t head_decode(aic_view text, bool plus, char *out)
{
    size_t size = 0;
    for (size_t at = 0; at < text.size; at++) {
        char byte = text.data[at];
        if (byte == '%') {
            if (text.size - at < 3 || !is(text.data[at + 1], HEX) || !is(text.data[at + 2], HEX)) return SIZE_MAX;
            byte = (char)(hex_digit(text.data[at + 1]) << 4 | hex_digit(text.data[at + 2]));
            at += 2;
        } else if (byte == '+' && plus) {
            byte = ' ';
        }
        out[size++] = byte;
    }
    return size;
}

enum head_outcome head_refuse(struct head_refusal *why, int status, const char *code, const char *format, ...)
{
    va_list arguments;
    why->status = status;
    why->code = code;
    va_start(arguments, format);
    vsnprintf(why->message, sizeof why->message, format, arguments);
    va_end(arguments);
    return HEAD_REFUSED;
}

static enum head_outcome target_too_long(struct head_refusal *why, const struct head_limits *limits)
{
    return head_refuse(why, 414, "uri_too_long", "The request target has more than the %zu bytes that are accepted.",
                       limits->target_bytes);
}

static enum head_outcome malformed(struct head_refusal *why, const char *message)
{
    return head_refuse(why, 400, "bad_request", "%s", message);
}

/* --------------------------------------------------------------------------------------------------- the scan -- */

static enum head_outcome scan_limits(const struct head_scan *scan, size_t looked_at, const struct head_limits *limits,
                                     struct head_refusal *why)
{
    /* Method, two spaces and version take less than 32 bytes of any request line that can be accepted. */
    if (scan->line == scan->begin && looked_at - scan->begin > limits->target_bytes + 32)
        return target_too_long(why, limits);
    if (looked_at > limits->header_bytes)
        return head_refuse(why, 431, "header_too_large",
                           "The head of the request has more than the %zu bytes that are accepted "
                           "(limits.header_bytes).",
                           limits->header_bytes);
    return HEAD_MORE;
}

enum head_outcome head_scan(struct head_scan *scan, const char *data, size_t size, const struct head_limits *limits,
                            size_t *end, struct head_refusal *why)
{
    if (scan->checked == 0 && size > 0) {
        if (data[0] == '\r') { /* one empty line before the request line is tolerated */
            if (size < 2) return HEAD_MORE;
            if (data[1] != '\n') return malformed(why, "A carriage return stands where a request line is expected.");
            if (size < 3) return HEAD_MORE;
            scan->begin = scan->line = 2;
        }
        if (!is(data[scan->begin], TOKEN)) return malformed(why, "The request line does not start with a method.");
        scan->checked = scan->begin;
    }
    while (scan->checked < size) {
        const char *found = memchr(data + scan->checked, '\n', size - scan->checked);
        size_t stop = found != NULL ? (size_t)(found - data) + 1 : size;
        if (scan_limits(scan, stop, limits, why) == HEAD_REFUSED) return HEAD_REFUSED;
        scan->checked = (uint32_t)stop;
        if (found == NULL) return HEAD_MORE;
        if (stop - scan->line < 2 || data[stop - 2] != '\r')
            return malformed(why, "A line of the head ends without a carriage return.");
        if (stop - scan->line == 2) {
            *end = stop;
            return HEAD_COMPLETE;
        }
        scan->line = (uint32_t)stop;
    }
    return HEAD_MORE;
}

/* ---------------------------------------------------------------------------------------------------- targets -- */

/* `host`, `host:port`, `[v6]`, `[v6]:port`; no user, no empty host. */
static bool is_authority(aic_view text, bool port_required)
{
    size_t at = 0;
    if (text.size > 0 && text.data[0] == '[') {
        at = 1;
        while (at < text.size && (is(text.data[at], HEX) || text.data[at] == ':' || text.data[at] == '.')) at++;
        if (at < 4 || at == text.size || text.data[at] != ']') return false;
        at++;
    } else {
        at = span_of(text.data, text.size, HOST);
        if (at == 0) return false;
    }
    if (at == text.size) return !port_required;
    if (text.data[at] != ':') return false;
    size_t digits = text.size - at - 1;
    if (digits == 0) return !port_required;
    if (digits > 5 || span_of(text.data + at + 1, digits, DIGIT) != digits) return false;
    unsigned port = 0;
    for (size_t i = at + 1; i < text.size; i++) port = port * 10 + (unsigned)(text.data[i] - '0');
    return port <= 65535;
}

aic_view head_host(aic_view authority)
{
    const char *end = memrchr(authority.data, ':', authority.size);
    if (authority.size > 0 && authority.data[0] == '[') {
        end = memchr(authority.data, ']', authority.size);
        authority.data++;
        authority.size--;
    }
    if (end != NULL) authority.size = (size_t)(end - authority.data);
    if (authority.size > 0 && authority.data[authority.size - 1] == '.') authority.size--;
    return authority;
}

/* Is the host of `host:port` a name, which whoever owns it may point anywhere? Addresses are what they are, and
 * localhost and the names below it belong to nobody (RFC 6761, 6.3). */
static bool is_named(aic_view authority)
{
    static const char local[] = "localhost";
    const size_t size = sizeof local - 1;
    char text[INET_ADDRSTRLEN] = "";
    struct in_addr address;
    aic_view host = head_host(authority);
    if (authority.data[0] == '[') return false;
    if (host.size >= size && strncasecmp(host.data + host.size - size, local, size) == 0)
        return host.size > size && host.data[host.size - size - 1] != '.';
    if (host.size < sizeof text) memcpy(text, host.data, host.size);
    return inet_pton(AF_INET, text, &address) != 1;
}

static bool escapes_are_whole(aic_view text)
{
    const char *at = text.data;
    const char *stop = text.data + text.size;
    while ((at = memchr(at, '%', (size_t)(stop - at))) != NULL) {
        if (stop - at < 3 || !is(at[1], HEX) || !is(at[2], HEX)) return false;
        at += 3;
    }
    return true;
}

static struct head_span span_between(size_t from, size_t to)
{
    return (struct head_span){(uint16_t)from, (uint16_t)(to - from)};
}

/* `from` is the offset of the path's slash (or of the query, or the end). */
static void split_path(struct head *head, const char *base, size_t from, size_t to)
{
    const char *mark = memchr(base + from, '?', to - from);
    size_t path_end = mark != NULL ? (size_t)(mark - base) : to;
    head->path = span_between(from, path_end);
    head->has_query = mark != NULL;
    head->query = mark != NULL ? span_between(path_end + 1, to) : (struct head_span){(uint16_t)to, 0};
}

static enum head_outcome parse_absolute(struct head *head, const char *base, size_t from, size_t to,
                                        struct head_refusal *why)
{
    size_t scheme = 0;
    if (to - from > 7 && strncasecmp(base + from, "http://", 7) == 0) scheme = 7;
    else if (to - from > 8 && strncasecmp(base + from, "https://", 8) == 0) scheme = 8;
    if (scheme == 0) return malformed(why, "The request target is neither a path nor an http URI.");
    size_t host = from + scheme;
    size_t host_end = host;
    while (host_end < to && base[host_end] != '/' && base[host_end] != '?') host_end++;
    aic_view authority = {base + host, host_end - host};
    if (!is_authority(authority, false)) return malformed(why, "The host of the request target is not valid.");
    head->absolute = true;
    head->target_named = is_named(authority);
    split_path(head, base, host_end, to);
    return HEAD_COMPLETE;
}

static enum head_outcome parse_target(struct head *head, const char *base, size_t from, size_t to,
                                      struct head_refusal *why)
{
    aic_view target = {base + from, to - from};
    if (target.size == 0 || span_of(target.data, target.size, TARGET) != target.size)
        return malformed(why, "The request target is empty or has a character that a URI cannot have.");
    if (!escapes_are_whole(target))
        return malformed(why, "The request target has a percent sign without two hexadecimal digits.");
    head->target = span_between(from, to);
    head->path = head->query = (struct head_span){(uint16_t)from, 0};
    if (head->verb == HTTP_VERB_CONNECT) {
        head->authority = true;
        if (is_authority(target, true)) return HEAD_COMPLETE;
        return malformed(why, "CONNECT takes a host and a port.");
    }
    if (target.data[0] == '/') {
        split_path(head, base, from, to);
        return HEAD_COMPLETE;
    }
    if (target.size == 1 && target.data[0] == '*') {
        head->asterisk = true;
        if (head->verb == HTTP_VERB_OPTIONS) return HEAD_COMPLETE;
        return malformed(why, "Only OPTIONS takes an asterisk as its target.");
    }
    return parse_absolute(head, base, from, to, why);
}

/* ----------------------------------------------------------------------------------------------- request line -- */

static bool verb_find(aic_view method, enum http_verb *out)
{
    static const aic_view names[] = {
#define HEAD_VERB_NAME(name) {#name, sizeof(#name) - 1},
        HTTP_VERB_MAP(HEAD_VERB_NAME)
#undef HEAD_VERB_NAME
    };
    static_assert(COUNT_OF(names) == HTTP_VERB_COUNT, "each verb has its name");
    for (unsigned i = 0; i < COUNT_OF(names); i++) {
        if (names[i].size != method.size || memcmp(names[i].data, method.data, method.size) != 0) continue;
        *out = (enum http_verb)i;
        return true;
    }
    return false;
}

/* "HTTP/1.1" exactly; a higher minor version is served as 1.1, another major version is 505. */
static enum head_outcome parse_version(struct head *head, aic_view text, struct head_refusal *why)
{
    if (text.size != 8 || memcmp(text.data, "HTTP/", 5) != 0 || !is(text.data[5], DIGIT) || text.data[6] != '.' ||
        !is(text.data[7], DIGIT))
        return malformed(why, "The request line does not end with HTTP/1.1 or HTTP/1.0.");
    if (text.data[5] != '1')
        return head_refuse(why, 505, "version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
    head->http10 = text.data[7] == '0';
    return HEAD_COMPLETE;
}

/* Method SP target SP version, single spaces. Syntax is judged before the meaning, so that nonsense is 400 and not 501.
 */
static enum head_outcome parse_request_line(struct head *head, const char *base, size_t from, size_t to,
                                            const struct head_limits *limits, struct head_refusal *why)
{
    size_t method_end = from + span_of(base + from, to - from, TOKEN);
    if (method_end == from || method_end == to || base[method_end] != ' ')
        return malformed(why, "The request line is not a method, a target and a version with single spaces between.");
    size_t target = method_end + 1;
    const char *space = memchr(base + target, ' ', to - target);
    if (space == NULL) return malformed(why, "The request line has no HTTP version.");
    size_t target_end = (size_t)(space - base);
    bool known = verb_find((aic_view){base + from, method_end - from}, &head->verb);
    if (!known) head->verb = HTTP_VERB_OPTIONS; /* any form of target is then read; the refusal comes below */
    if (target_end - target > limits->target_bytes) return target_too_long(why, limits);
    if (parse_version(head, (aic_view){space + 1, to - target_end - 1}, why) == HEAD_REFUSED) return HEAD_REFUSED;
    if (parse_target(head, base, target, target_end, why) == HEAD_REFUSED) return HEAD_REFUSED;
    if (!known) return head_refuse(why, 501, "method_not_implemented", "No resource here knows this method.");
    return HEAD_COMPLETE;
}

/* ----------------------------------------------------------------------------------------------------- fields -- */

/* What the fields that decide about framing add up to. */
struct framing {
    unsigned hosts, lengths, codings;
    bool close, keep_alive;
    bool expectation_failed;
    aic_view coding;
};

static bool equals(aic_view text, const char *lower, size_t size)
{
    return text.size == size && strncasecmp(text.data, lower, size) == 0;
}
#define EQUALS(text, literal) equals(text, literal, sizeof(literal) - 1)

static aic_view trim(const char *data, size_t size)
{
    while (size > 0 && (data[0] == ' ' || data[0] == '\t')) data++, size--;
    while (size > 0 && (data[size - 1] == ' ' || data[size - 1] == '\t')) size--;
    return (aic_view){data, size};
}

bool head_list_next(aic_view *rest, char separator, aic_view *element)
{
    if (rest->data == NULL) return false;
    const char *mark = memchr(rest->data, separator, rest->size);
    size_t size = mark != NULL ? (size_t)(mark - rest->data) : rest->size;
    *element = trim(rest->data, size);
    *rest = mark != NULL ? (aic_view){mark + 1, rest->size - size - 1} : (aic_view){NULL, 0};
    return true;
}

static enum head_outcome read_length(struct head *head, aic_view value, struct head_refusal *why)
{
    if (value.size == 0 || span_of(value.data, value.size, DIGIT) != value.size)
        return malformed(why, "Content-Length is not a plain decimal number.");
    uint64_t length = 0;
    for (size_t i = 0; i < value.size; i++) {
        uint64_t digit = (uint64_t)(value.data[i] - '0');
        if (length > (INT64_MAX - digit) / 10)
            return malformed(why, "Content-Length is too large to be a number of bytes.");
        length = length * 10 + digit;
    }
    head->content_length = length;
    return HEAD_COMPLETE;
}

static void read_connection(struct framing *framing, aic_view value)
{
    aic_view option;
    while (head_list_next(&value, ',', &option)) {
        if (EQUALS(option, "close")) framing->close = true;
        else if (EQUALS(option, "keep-alive")) framing->keep_alive = true;
    }
}

/* Looks at the fields that this layer understands; told apart by length first. */
static enum head_outcome read_field(struct head *head, struct framing *framing, aic_view name, aic_view value,
                                    struct head_refusal *why)
{
    switch (name.size) {
    case 4:
        if (!EQUALS(name, "host")) break;
        framing->hosts++;
        if (!is_authority(value, false)) return malformed(why, "Host is not a host name with an optional port.");
        head->host_named = is_named(value);
        break;
    case 6:
        if (!EQUALS(name, "expect")) break;
        if (EQUALS(value, "100-continue")) head->expect_continue = true;
        else framing->expectation_failed = true;
        break;
    case 10:
        if (EQUALS(name, "connection")) read_connection(framing, value);
        break;
    case 14:
        if (!EQUALS(name, "content-length")) break;
        framing->lengths++;
        return read_length(head, value, why);
    case 16:
        if (!EQUALS(name, "content-encoding")) break;
        for (aic_view coding; head_list_next(&value, ',', &coding);) /* an empty element says nothing */
            if (coding.size > 0 && !EQUALS(coding, "identity")) head->encoded = true;
        break;
    case 17:
        if (!EQUALS(name, "transfer-encoding")) break;
        framing->codings++;
        framing->coding = value;
        break;
    default: break;
    }
    return HEAD_COMPLETE;
}

static enum head_outcome parse_field(struct head *head, struct framing *framing, const char *base, size_t from,
                                     size_t to, struct head_refusal *why)
{
    size_t colon = from + span_of(base + from, to - from, TOKEN);
    if (colon == from && (base[from] == ' ' || base[from] == '\t'))
        return malformed(why, "A field line starts with a blank; folded lines are not accepted.");
    if (colon == from || colon == to || base[colon] != ':')
        return malformed(why, "A field line is not a name, directly followed by a colon, and a value.");
    aic_view value = trim(base + colon + 1, to - colon - 1);
    if (!head_is_value(value)) return malformed(why, "A field value has a control character.");
    if (head->field_count == HEAD_MAX_FIELDS)
        return head_refuse(why, 431, "too_many_fields",
                           "The request has more than the %d header fields that are accepted.", HEAD_MAX_FIELDS);
    size_t value_at = (size_t)(value.data - base);
    head->fields[head->field_count++] = (struct head_field){span_between(from, colon),
                                                            span_between(value_at, value_at + value.size)};
    return read_field(head, framing, (aic_view){base + from, colon - from}, value, why);
}

/* Only a single, final `chunked` is understood (RFC 9112, 6.1): others before it are 501, anything else leaves the
 * length unknown. */
static enum head_outcome judge_coding(struct head *head, const struct framing *framing, struct head_refusal *why)
{
    if (framing->codings == 0) return HEAD_COMPLETE;
    if (head->http10) return malformed(why, "HTTP/1.0 has no Transfer-Encoding.");
    if (framing->lengths > 0) return malformed(why, "Content-Length and Transfer-Encoding exclude each other.");
    if (framing->codings > 1) return malformed(why, "Transfer-Encoding is given twice.");
    if (EQUALS(framing->coding, "chunked")) {
        head->chunked = true;
        return HEAD_COMPLETE;
    }
    aic_view rest = framing->coding;
    aic_view coding = {NULL, 0};
    unsigned others = 0;
    unsigned chunked = 0;
    while (head_list_next(&rest, ',', &coding)) {
        if (!head_is_token(coding)) return malformed(why, "Transfer-Encoding is not a list of codings.");
        if (EQUALS(coding, "chunked")) chunked++;
        else others++;
    }
    if (chunked != 1 || !EQUALS(coding, "chunked"))
        return malformed(why, "The last transfer coding is not chunked, so that the body has no end.");
    if (others > 0)
        return head_refuse(why, 501, "coding_not_implemented", "No transfer coding but chunked is implemented.");
    return malformed(why, "Transfer-Encoding is not a list of codings.");
}

static enum head_outcome judge(struct head *head, const struct framing *framing, struct head_refusal *why)
{
    if (framing->hosts > 1) return malformed(why, "Host is given more than once.");
    if (framing->hosts == 0 && !head->http10) return malformed(why, "Host is missing.");
    if (framing->lengths > 1) return malformed(why, "Content-Length is given more than once.");
    if (judge_coding(head, framing, why) == HEAD_REFUSED) return HEAD_REFUSED;
    if (head->http10) head->expect_continue = false;
    else if (framing->expectation_failed)
        return head_refuse(why, 417, "expectation_failed", "The only expectation that is met here is 100-continue.");
    head->keep_alive = !framing->close && (!head->http10 || framing->keep_alive);
    return HEAD_COMPLETE;
}

/* The parser is entered with whole lines: every line of data[begin..end) ends with CRLF, the last one is empty. */
enum head_outcome head_parse(struct head *head, const char *data, size_t begin, size_t end,
                             const struct head_limits *limits, struct head_refusal *why)
{
    CHECK(end <= HEAD_MAX_BYTES);
    memset(head, 0, offsetof(struct head, fields));
    struct framing framing = {0};
    size_t at = begin;
    for (bool first = true; at + 2 < end; first = false) {
        const char *newline = memchr(data + at, '\n', end - at);
        size_t stop = (size_t)(newline - data) - 1;
        enum head_outcome outcome = first ? parse_request_line(head, data, at, stop, limits, why)
                                          : parse_field(head, &framing, data, at, stop, why);
        if (outcome == HEAD_REFUSED) return HEAD_REFUSED;
        at = stop + 2;
    }
    return judge(head, &framing, why);
}

enum head_outcome head_parse_line(struct head *head, const char *data, size_t size, const struct head_limits *limits,
                                  struct head_refusal *why)
{
    memset(head, 0, offsetof(struct head, fields));
    return parse_request_line(head, data, 0, size - 2, limits, why);
}

const struct head_field *head_find(const struct head *head, const char *base, const char *name, size_t name_size)
{
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct head_field *field = &head->fields[i];
        if (field->name.size == name_size && strncasecmp(base + field->name.at, name, name_size) == 0) return field;
    }
    return NULL;
}
