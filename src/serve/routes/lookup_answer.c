/*
 * lookup_answer.c - what a lookup or a get by key is answered with: the pinned response, and around it what was said of
 * it before.
 */
#include "base/check.h"
#include "base/decimal.h"
#include "serve/http/negotiate.h"
#include "serve/routes/lookup.h"
#include "serve/routes/render.h"
#include "serve/routes/reply.h"
#include "serve/routes/tag.h"
#include "serve/routes/work.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The checksum that the record carries over everything in it, as it is packed: changes with every change of the entry.
 */
static uint64_t record_checksum(const struct cache_hit *hit)
{
    uint64_t checksum = 0;
    if (hit->pin.entry != NULL) pin_copy(&hit->pin, 8, &checksum, sizeof checksum);
    else if (hit->copy.size >= 16) memcpy(&checksum, hit->copy.data + 8, sizeof checksum);
    return checksum;
}

/* By which time a hit is told of. */
struct lookup_dates {
    uint64_t now_ms, age_ms;
};

/* What the three kinds of answers to a hit need. */
struct found {
    struct http_exchange *exchange;
    struct answer *answer;
    struct lookup_dates dates;
    aic_view pieces[HTTP_MAX_PIECES];
    size_t count;
};

static struct lookup_dates lookup_dates_of(const struct front *front, const struct record *record)
{
    struct lookup_dates dates = {.now_ms = clock_tick_ms(front->routes->overview.options.clock)};
    if (dates.now_ms < record->created_ms) dates.now_ms = record->created_ms; /* stored since the last tick */
    dates.age_ms = dates.now_ms - record->created_ms;
    /* The clock moved on since the entry was found: what expired in between is shown with nothing left. */
    if (record->expires_ms > 0 && record->expires_ms < dates.now_ms) dates.now_ms = record->expires_ms;
    return dates;
}

static aic_status gather_pieces(struct found *found, size_t first)
{
    struct iovec vectors[HTTP_MAX_PIECES];
    size_t count;
    const struct unpacked *unpacked = found->answer->wait.unpacked;
    const struct record *record = &found->answer->hit.record;
    if (unpacked != NULL || http_verb(found->exchange) == HTTP_VERB_HEAD) { /* of which the size alone is told */
        found->pieces[first] = unpacked != NULL ? unpacked_view(unpacked) : (aic_view){NULL, record->plain_bytes};
        found->count = first + 1;
        return AIC_OK;
    }
    if (record->form.compressed || record->plain_bytes > HTTP_SMALL_ANSWER)
        answer_expect(found->answer, found->exchange, record->plain_bytes);
    TRY(cache_hit_pieces(&found->answer->hit, &found->answer->plain, vectors, HTTP_MAX_PIECES - 3, &count));
    CHECK(first + count < COUNT_OF(found->pieces)); /* the rest of the answer follows */
    for (size_t i = 0; i < count; i++) found->pieces[first + i] = (aic_view){vectors[i].iov_base, vectors[i].iov_len};
    found->count = first + count;
    return AIC_OK;
}

/* Text put together by hand: printf costs more than the rest of a hit's head. */
struct value {
    char text[384];
    size_t size;
};

static void value_put(struct value *value, const char *text, size_t size)
{
    CHECK(size <= sizeof value->text - value->size);
    memcpy(value->text + value->size, text, size);
    value->size += size;
}
#define VALUE_PUT(value, literal) value_put(value, "" literal, sizeof(literal) - 1)

static void value_add_u64(struct value *value, uint64_t number)
{
    char room[DECIMAL_BYTES];
    aic_view digits = decimal(number, room);
    value_put(value, digits.data, digits.size);
}

/* Everything of an entry's metadata but the time that is left, and the end of the answer: "key":"...",...}} and a
 * newline. */
static void write_rest(struct buf *out, const aic_metadata *metadata)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    render_metadata_rest(&writer, metadata);
    buf_append(out, "}}\n", 3);
}

/* The same, from the thread's memory of what was spelled before, pinned by the answer, or spelled now, into `room`. */
static aic_status find_rest(struct found *found, struct buf *room, aic_view *out)
{
    struct tails *tails = &front_of(found->exchange)->tails;
    struct tail **tail = &found->answer->tail;
    aic_metadata metadata;
    cache_hit_metadata(&found->answer->hit, &metadata);
    uint64_t checksum = record_checksum(&found->answer->hit);
    *tail = tails_pin(tails, &metadata.key, checksum, metadata.tiers);
    if (*tail == NULL) {
        write_rest(room, &metadata);
        TRY(buf_status(room));
        tails_add(tails, &metadata.key, checksum, metadata.tiers, buf_view(room));
        *tail = tails_pin(tails, &metadata.key, checksum, metadata.tiers);
    }
    *out = *tail != NULL ? (aic_view){(*tail)->text, (*tail)->size} : buf_view(room);
    return AIC_OK;
}

static void value_add_ttl(struct value *value, uint64_t expires_ms, uint64_t now_ms)
{
    if (expires_ms == 0) VALUE_PUT(value, "null");
    else value_add_u64(value, expires_ms > now_ms ? (expires_ms - now_ms + 999) / 1000 : 0);
}

#define KEY_MEMBER_BYTES 72 /* "key":"<64 digits>", the first member of the rest */

/* {"hit":true,"key":...,"response": <pieces> ,"metadata":{"ttl_seconds":..., <rest>. Writes what stands before the
 * response, *head bytes, and what stands between it and the rest. */
static aic_status write_around(struct buf *text, const struct cache_hit *hit, struct lookup_dates dates, aic_view rest,
                               size_t *head)
{
    struct value before, after;
    before.size = after.size = 0;
    VALUE_PUT(&before, "{\"hit\":true,");
    value_put(&before, rest.data, KEY_MEMBER_BYTES);
    if (hit->tier == AIC_IN_MEMORY) VALUE_PUT(&before, ",\"tier\":\"memory\",\"age_seconds\":");
    else VALUE_PUT(&before, ",\"tier\":\"storage\",\"age_seconds\":");
    value_add_u64(&before, dates.age_ms / 1000);
    VALUE_PUT(&before, ",\"ttl_seconds\":");
    value_add_ttl(&before, hit->record.expires_ms, dates.now_ms);
    VALUE_PUT(&before, ",\"response\":");
    VALUE_PUT(&after, ",\"metadata\":{\"ttl_seconds\":");
    value_add_ttl(&after, hit->record.expires_ms, dates.now_ms);
    VALUE_PUT(&after, ",");
    buf_append(text, before.text, before.size);
    buf_append(text, after.text, after.size);
    *head = before.size;
    return buf_status(text);
}

aic_status lookup_write_hit(const struct front *front, struct cache_hit *hit, struct buf *scratch, struct buf *out,
                            uint64_t *age_ms)
{
    struct lookup_dates dates = lookup_dates_of(front, &hit->record);
    struct iovec pieces[HTTP_MAX_PIECES];
    size_t count, head = 0;
    struct buf rest;
    aic_metadata metadata;
    TRY(cache_hit_pieces(hit, scratch, pieces, COUNT_OF(pieces), &count));
    cache_hit_metadata(hit, &metadata);
    buf_init(&rest, out->mem, MEM_CACHE);
    write_rest(&rest, &metadata);
    aic_status status = buf_status(&rest);
    struct buf around;
    buf_init(&around, out->mem, MEM_CACHE);
    if (status == AIC_OK) status = write_around(&around, hit, dates, buf_view(&rest), &head);
    if (status == AIC_OK) {
        buf_append(out, around.data, head);
        for (size_t i = 0; i < count; i++) buf_append(out, pieces[i].iov_base, pieces[i].iov_len);
        buf_append(out, around.data + head, around.size - head);
        buf_append(out, rest.data, rest.size - 1); /* without the end of the line */
        status = buf_status(out);
    }
    buf_fini(&around);
    buf_fini(&rest);
    *age_ms = dates.age_ms;
    return status;
}

static aic_status answer_lookup(struct found *found)
{
    struct answer *answer = found->answer;
    const struct buf *text = &answer->text;
    struct buf room;
    aic_view rest;
    size_t head = 0;
    buf_init(&room, text->mem, MEM_CACHE);
    aic_status status = find_rest(found, &room, &rest);
    if (status == AIC_OK) status = write_around(&answer->text, &answer->hit, found->dates, rest, &head);
    if (status == AIC_OK && answer->tail == NULL) buf_append_view(&answer->text, rest);
    if (status == AIC_OK) status = buf_status(&answer->text);
    buf_fini(&room);
    TRY(status);
    TRY(gather_pieces(found, 1));
    lookup_count(found->exchange, AIC_OK, &answer->hit, found->dates.age_ms);
    found->pieces[0] = (aic_view){text->data, head};
    found->pieces[found->count++] = (aic_view){text->data + head, text->size - head};
    if (answer->tail != NULL) found->pieces[found->count++] = rest;
    http_reply_pieces(found->exchange, 200, HTTP_JSON, found->pieces, found->count, answer_give, answer);
    return AIC_OK;
}

static void entry_headers(struct found *found, aic_view tag)
{
    const struct cache_hit *hit = &found->answer->hit;
    struct value lines;
    char key[AIC_KEY_HEX_SIZE];
    aic_key_format(&hit->key, key);
    lines.size = 0;
    VALUE_PUT(&lines, "ETag: ");
    value_put(&lines, tag.data, tag.size);
    VALUE_PUT(&lines, "\r\nAge: ");
    value_add_u64(&lines, found->dates.age_ms / 1000);
    VALUE_PUT(&lines, "\r\nCache-Status: aicache; hit; ");
    if (hit->record.expires_ms > 0) {
        VALUE_PUT(&lines, "ttl=");
        value_add_u64(&lines, (hit->record.expires_ms - found->dates.now_ms) / 1000);
        VALUE_PUT(&lines, "; ");
    }
    if (hit->tier == AIC_IN_MEMORY) VALUE_PUT(&lines, "detail=memory");
    else VALUE_PUT(&lines, "detail=storage");
    VALUE_PUT(&lines, "\r\nx-cache: HIT\r\nx-cache-key: ");
    value_put(&lines, key, sizeof key - 1);
    VALUE_PUT(&lines, "\r\n");
    http_reply_lines(found->exchange, (aic_view){lines.text, lines.size});
}

/* The response as the body, 304, or 412. */
static aic_status answer_entry(struct found *found)
{
    char text[TAG_BYTES];
    aic_view tag = tag_write(&found->answer->hit.record, text);
    enum condition condition = negotiate_condition(found->exchange, tag);
    if (condition == CONDITION_FAILED) {
        reply_condition_failed(found->exchange);
        answer_give(found->answer);
        return AIC_OK;
    }
    if (condition == CONDITION_KNOWN) {
        lookup_count(found->exchange, AIC_OK, &found->answer->hit, found->dates.age_ms);
        entry_headers(found, tag);
        http_reply_empty(found->exchange, 304);
        answer_give(found->answer);
        return AIC_OK;
    }
    TRY(gather_pieces(found, 0));
    lookup_count(found->exchange, AIC_OK, &found->answer->hit, found->dates.age_ms);
    entry_headers(found, tag);
    http_reply_pieces(found->exchange, 200, HTTP_JSON, found->pieces, found->count, answer_give, found->answer);
    return AIC_OK;
}

static aic_status answer_metadata(struct found *found)
{
    struct json_writer writer;
    json_writer_init(&writer, &found->answer->text);
    aic_metadata metadata;
    cache_hit_metadata(&found->answer->hit, &metadata);
    render_metadata(&writer, &metadata, found->dates.now_ms);
    buf_append_byte(&found->answer->text, '\n');
    TRY(buf_status(&found->answer->text));
    lookup_count(found->exchange, AIC_OK, &found->answer->hit, found->dates.age_ms);
    http_reply_bytes(found->exchange, 200, HTTP_JSON, buf_view(&found->answer->text));
    answer_give(found->answer);
    return AIC_OK;
}

size_t lookup_write_miss(const aic_key *key, char out[LOOKUP_MISS_BYTES])
{
    char digits[AIC_KEY_HEX_SIZE];
    aic_key_format(key, digits);
    return (size_t)snprintf(out, LOOKUP_MISS_BYTES, "{\"hit\":false,\"key\":\"%s\"}", digits);
}

void lookup_answer_miss(struct http_exchange *exchange, aic_status status)
{
    const struct call *call = call_of(exchange);
    if (call->wait_ms > 0 && held_start(exchange)) return;
    lookup_count(exchange, status, NULL, 0);
    if (call->by_key) {
        http_reply_header(exchange, "x-cache", AIC_LITERAL("MISS"));
        reply_no_entry(exchange);
        return;
    }
    char body[LOOKUP_MISS_BYTES];
    size_t size = lookup_write_miss(&call->key, body);
    body[size++] = '\n';
    http_reply_bytes(exchange, 200, HTTP_JSON, (aic_view){body, size});
}

/* `full`: of AIC_NO_MEMORY, see http_reply_refused(). */
static void answer_failed(struct http_exchange *exchange, struct answer *answer, aic_status status,
                          const struct mem *full)
{
    answer_give(answer);
    if (status == AIC_DAMAGED) lookup_answer_miss(exchange, status);
    else if (status == AIC_NO_MEMORY) http_reply_refused(exchange, full);
    else http_reply_error(exchange, status, NULL);
}

/*
 * Responses larger than this are decompressed on a worker thread. Measured: decoding text costs 49 us for 64 KiB, 95 us
 * for 128, 222 us for 256, 841 us for 1 MiB; the way to a worker and back 15 us of CPU time. So a front thread holds
 * its other connections up for a fifth of a millisecond at most, and the way costs less than a tenth of what it spares.
 */
#define INLINE_DECODE 262144

/* On the front thread: the copy is made, or could not be. */
static void on_unpacked(struct message *post)
{
    struct answer *answer = (struct answer *)(void *)((char *)post - offsetof(struct answer, post));
    struct unpacked_wait *wait = &answer->wait;
    FIGURE_COUNT_OWN(&answer->front->tally.counts, worker_decodes, wait->first);
    if (wait->status == AIC_OK) lookup_answer_hit(answer->exchange, answer);
    else answer_failed(answer->exchange, answer, wait->status, wait->full);
}

/* On the thread that made it. */
static void on_told(struct unpacked_wait *wait)
{
    struct answer *answer = (struct answer *)(void *)((char *)wait - offsetof(struct answer, wait));
    http_post(answer->front->thread, &answer->post);
}

/* A large compressed response would hold up the other connections of the thread. False: it is answered later, or was
 * refused. */
static bool have_unpacked(struct http_exchange *exchange, struct answer *answer)
{
    answer->exchange = exchange;
    answer->post.run = on_unpacked;
    answer->wait.told = on_told;
    bool settled = unpacked_ask(&answer->front->routes->unpacked, http_answer_mem(exchange), &answer->hit,
                                record_checksum(&answer->hit), &answer->wait);
    if (!settled) http_defer(exchange, 0);
    else if (answer->wait.status != AIC_OK) answer_failed(exchange, answer, answer->wait.status, answer->wait.full);
    else return true;
    return false;
}

static bool is_for_a_worker(const struct http_exchange *exchange, const struct call *call, const struct answer *answer)
{
    const struct record *record = &answer->hit.record;
    if (!record->form.compressed || record->plain_bytes <= INLINE_DECODE || answer->wait.unpacked != NULL ||
        call->metadata_only || http_verb(exchange) == HTTP_VERB_HEAD)
        return false;
    char tag[TAG_BYTES]; /* 304 and 412 need no response */
    return !call->by_key || negotiate_condition(exchange, tag_write(record, tag)) == CONDITION_HOLDS;
}

void lookup_answer_hit(struct http_exchange *exchange, struct answer *answer)
{
    const struct call *call = call_of(exchange);
    const struct record *record = &answer->hit.record;
    if (is_for_a_worker(exchange, call, answer) && !have_unpacked(exchange, answer)) return;
    struct found found; /* its array of pieces is not worth zeroing */
    found.exchange = exchange;
    found.answer = answer;
    found.dates = lookup_dates_of(front_of(exchange), record);
    aic_status status = call->metadata_only ? answer_metadata(&found)
                        : call->by_key      ? answer_entry(&found)
                                            : answer_lookup(&found);
    if (status != AIC_OK) answer_failed(exchange, answer, status, mem_refused_by());
}
