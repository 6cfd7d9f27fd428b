/*
 * lookup_answer.c - what a lookup or a get by key is answered with: the pinned response, and around it what was said of
 * it before.
 */
#include "base/check.h"
#include "serve/handlers.h"

#include <stdio.h>
#include <string.h>

static const char *tier_name(unsigned tier)
{
    return tier == AIC_IN_MEMORY ? "memory" : "storage";
}

/* The checksum that the record carries over everything in it: changes with every change of the entry. */
static uint64_t record_checksum(const struct cache_hit *hit)
{
    uint64_t checksum = 0;
    if (hit->pin.entry != NULL) pin_copy(&hit->pin, 8, &checksum, sizeof checksum);
    else if (hit->copy.size >= 16) memcpy(&checksum, hit->copy.data + 8, sizeof checksum);
    return checksum;
}

/* What the three kinds of answers to a hit need. */
struct found {
    struct http_exchange *exchange;
    struct answer *answer;
    aic_metadata metadata;
    uint64_t now_ms, age_seconds;
    aic_view pieces[HTTP_MAX_PIECES];
    size_t count;
};

static aic_status gather_pieces(struct found *found, size_t first)
{
    struct iovec vectors[HTTP_MAX_PIECES];
    size_t count;
    TRY(cache_hit_pieces(&found->answer->hit, &found->answer->plain, vectors, HTTP_MAX_PIECES - 3, &count));
    for (size_t i = 0; i < count; i++) found->pieces[first + i] = (aic_view){vectors[i].iov_base, vectors[i].iov_len};
    found->count = first + count;
    return AIC_OK;
}

/* A field value put together by hand: printf costs more than the rest of a hit's head. */
struct value {
    char text[128];
    size_t size;
};

static void value_add(struct value *value, const char *text)
{
    size_t size = strlen(text);
    CHECK(size <= sizeof value->text - value->size);
    memcpy(value->text + value->size, text, size);
    value->size += size;
}

static void value_add_u64(struct value *value, uint64_t number)
{
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    value_add(value, digits + at);
}

static void value_header(struct http_exchange *exchange, const char *name, const struct value *value)
{
    http_reply_header(exchange, name, (aic_view){value->text, value->size});
}

/*
 * Appends everything of an entry's metadata but the time that is left, and the end of the answer: "key":"...",...}}.
 * From the thread's memory of what was spelled before, or spelled now.
 */
static aic_status append_rest(struct found *found)
{
    struct front *front = front_of(found->exchange);
    struct buf *text = &found->answer->text;
    const aic_metadata *metadata = &found->metadata;
    uint64_t checksum = record_checksum(&found->answer->hit);
    aic_view known = tails_find(&front->tails, &metadata->key, checksum, metadata->tiers);
    if (known.data != NULL) {
        buf_append_view(text, known);
        return buf_status(text);
    }
    struct json_writer writer;
    json_writer_init(&writer, text);
    render_metadata_rest(&writer, metadata);
    buf_append(text, "}}", 2);
    TRY(buf_status(text));
    tails_add(&front->tails, &metadata->key, checksum, metadata->tiers, buf_view(text));
    return AIC_OK;
}

static void value_add_ttl(struct value *value, const struct found *found)
{
    uint64_t expires_ms = found->metadata.expires_ms;
    if (expires_ms == 0) value_add(value, "null");
    else value_add_u64(value, expires_ms > found->now_ms ? (expires_ms - found->now_ms + 999) / 1000 : 0);
}

#define KEY_MEMBER_BYTES 72 /* "key":"<64 digits>", the first member of the rest */

/*
 * {"hit":true,"key":...,"response": <pieces> ,"metadata":{"ttl_seconds":..., <rest>. The text holds the rest first,
 * then what stands before and after the response: the order of the pieces makes the answer.
 */
static aic_status answer_lookup(struct found *found)
{
    struct answer *answer = found->answer;
    struct buf *text = &answer->text;
    struct value before = {.size = 0}, after = {.size = 0};
    char key[KEY_MEMBER_BYTES];
    (void)buf_reserve(text, 1024); /* all of a usual answer at once; a failure sticks */
    TRY(append_rest(found));
    size_t rest = text->size;
    memcpy(key, text->data, sizeof key); /* the text may move when it grows */
    value_add(&before, answer->hit.tier == AIC_IN_MEMORY ? ",\"tier\":\"memory\",\"age_seconds\":"
                                                         : ",\"tier\":\"storage\",\"age_seconds\":");
    value_add_u64(&before, found->age_seconds);
    value_add(&before, ",\"ttl_seconds\":");
    value_add_ttl(&before, found);
    value_add(&before, ",\"response\":");
    value_add(&after, ",\"metadata\":{\"ttl_seconds\":");
    value_add_ttl(&after, found);
    value_add(&after, ",");
    buf_append(text, "{\"hit\":true,", 12);
    buf_append(text, key, sizeof key);
    buf_append(text, before.text, before.size);
    buf_append(text, after.text, after.size);
    TRY(buf_status(text));
    TRY(gather_pieces(found, 1));
    lookup_count(found->exchange, AIC_OK, &answer->hit);
    size_t head = text->size - rest - after.size;
    found->pieces[0] = (aic_view){text->data + rest, head};
    found->pieces[found->count++] = (aic_view){text->data + rest + head, after.size};
    found->pieces[found->count++] = (aic_view){text->data, rest};
    http_reply_pieces(found->exchange, 200, HTTP_JSON, found->pieces, found->count, answer_give, answer);
    return AIC_OK;
}

static void entry_headers(struct found *found, const char *tag)
{
    struct http_exchange *exchange = found->exchange;
    char key[AIC_KEY_HEX_SIZE];
    struct value age = {.size = 0}, status = {.size = 0};
    aic_key_format(&found->metadata.key, key);
    value_add_u64(&age, found->age_seconds);
    value_add(&status, "aicache; hit; ");
    if (found->metadata.expires_ms > 0) {
        value_add(&status, "ttl=");
        value_add_u64(&status, (found->metadata.expires_ms - found->now_ms) / 1000);
        value_add(&status, "; ");
    }
    value_add(&status, "detail=");
    value_add(&status, tier_name(found->answer->hit.tier));
    http_reply_header(exchange, "ETag", aic_view_of(tag));
    value_header(exchange, "Age", &age);
    value_header(exchange, "Cache-Status", &status);
    http_reply_header(exchange, "x-cache", AIC_LITERAL("HIT"));
    http_reply_header(exchange, "x-cache-key", aic_view_of(key));
}

/* The checksum as an entity tag: 16 hex digits in quotes. */
static void write_tag(uint64_t checksum, char out[19])
{
    out[0] = out[17] = '"';
    for (size_t i = 0; i < 16; i++) out[1 + i] = "0123456789abcdef"[checksum >> (60 - 4 * i) & 15];
    out[18] = '\0';
}

/* Is the tag in an If-None-Match list? Weak comparison (RFC 9110, 13.1.2): a W/ in front makes no difference. */
static bool names_tag(aic_view list, const char *tag)
{
    if (list.size == 1 && list.data[0] == '*') return true;
    size_t size = strlen(tag);
    return list.data != NULL && memmem(list.data, list.size, tag, size) != NULL;
}

/* The response as the body, or 304. */
static aic_status answer_entry(struct found *found)
{
    char tag[19];
    write_tag(record_checksum(&found->answer->hit), tag);
    if (names_tag(http_header(found->exchange, "If-None-Match"), tag)) {
        lookup_count(found->exchange, AIC_OK, &found->answer->hit);
        entry_headers(found, tag);
        http_reply_empty(found->exchange, 304);
        answer_give(found->answer);
        return AIC_OK;
    }
    TRY(gather_pieces(found, 0));
    lookup_count(found->exchange, AIC_OK, &found->answer->hit);
    entry_headers(found, tag);
    http_reply_pieces(found->exchange, 200, HTTP_JSON, found->pieces, found->count, answer_give, found->answer);
    return AIC_OK;
}

static aic_status answer_metadata(struct found *found)
{
    struct json_writer writer;
    json_writer_init(&writer, &found->answer->text);
    render_metadata(&writer, &found->metadata, found->now_ms);
    TRY(buf_status(&found->answer->text));
    lookup_count(found->exchange, AIC_OK, &found->answer->hit);
    http_reply_bytes(found->exchange, 200, HTTP_JSON, buf_view(&found->answer->text));
    answer_give(found->answer);
    return AIC_OK;
}

void lookup_answer_miss(struct http_exchange *exchange, aic_status status)
{
    const struct call *call = call_of(exchange);
    lookup_count(exchange, status, NULL);
    if (call->by_key) {
        http_reply_header(exchange, "x-cache", AIC_LITERAL("MISS"));
        http_reply_problem(exchange, 404, "not_found", "key", "no entry has this key");
        return;
    }
    char key[AIC_KEY_HEX_SIZE];
    char body[128];
    aic_key_format(&call->key, key);
    int size = snprintf(body, sizeof body, "{\"hit\":false,\"key\":\"%s\"}", key);
    http_reply_bytes(exchange, 200, HTTP_JSON, (aic_view){body, (size_t)size});
}

void lookup_answer_hit(struct http_exchange *exchange, struct cache_hit *hit)
{
    struct front *front = front_of(exchange);
    const struct call *call = call_of(exchange);
    struct found found = {.exchange = exchange, .answer = answer_take(front)};
    if (found.answer == NULL) {
        cache_hit_release(hit);
        reply_status(exchange, AIC_NO_MEMORY, NULL);
        return;
    }
    cache_hit_move(&found.answer->hit, hit);
    cache_hit_metadata(&found.answer->hit, &found.metadata);
    found.now_ms = clock_wall_ms(front->routes->options.clock);
    if (found.now_ms > found.metadata.created_ms) found.age_seconds = (found.now_ms - found.metadata.created_ms) / 1000;
    /* The clock moved on since the entry was found: what expired in between is shown with nothing left. */
    if (found.metadata.expires_ms > 0 && found.metadata.expires_ms < found.now_ms)
        found.now_ms = found.metadata.expires_ms;
    aic_status status = call->metadata_only ? answer_metadata(&found)
                        : call->by_key      ? answer_entry(&found)
                                            : answer_lookup(&found);
    if (status == AIC_OK) return;
    answer_give(found.answer);
    if (status == AIC_DAMAGED) lookup_answer_miss(exchange, status);
    else reply_status(exchange, status, NULL);
}
