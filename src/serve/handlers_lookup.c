/*
 * handlers_lookup.c - POST /cache/lookup and GET /cache/entries/{key}: the hot path.
 *
 * A lookup whose body was seen before on this thread goes straight from the bytes to the key (memo.h); any other is
 * scanned and keyed. A hit in memory is answered from the pinned entry without copying the response. A miss in memory
 * asks storage and comes back through lookup_finish(); nothing here waits.
 */
#include "base/check.h"
#include "base/status.h"
#include "serve/fields.h"
#include "serve/handlers.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------- counting -- */

static void add_cost(_Atomic double *total, double amount)
{
    /* Relaxed: one writer. */
    if (amount > 0)
        atomic_store_explicit(total, atomic_load_explicit(total, memory_order_relaxed) + amount, memory_order_relaxed);
}

struct tally_cell *front_cell(struct front *front, aic_view ns, aic_view operation)
{
    unsigned ns_number = tally_names_number(&front->routes->namespaces, ns);
    return tally_find(&front->tally, ns_number, tally_names_number(&front->routes->operations, operation));
}

void front_count_lookup(struct front *front, const struct http_exchange *exchange, struct tally_cell *cell,
                        enum tally_outcome outcome, const struct cache_hit *hit)
{
    struct tally *tally = &front->tally;
    const struct routes_options *options = &front->routes->options;
    tally_bump(&cell->counts[outcome], 1);
    hist_record(&tally->lookup_ns[outcome], clock_mono_ns(options->clock) - http_received_ns(exchange));
    if (hit == NULL) return;
    uint64_t now = clock_wall_ms(options->clock);
    hist_record(&tally->age_ms, now > hit->record.created_ms ? now - hit->record.created_ms : 0);
    if (hit->record.prompt_tokens > 0) tally_bump(&tally->prompt_tokens_saved, hit->record.prompt_tokens);
    if (hit->record.completion_tokens > 0) tally_bump(&tally->completion_tokens_saved, hit->record.completion_tokens);
    add_cost(&tally->cost_saved_usd, hit->record.cost_usd);
}

/* ------------------------------------------------------------------------------------------------ answering -- */

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
    TRY(cache_hit_pieces(&found->answer->hit, &found->answer->plain, vectors, HTTP_MAX_PIECES - 2, &count));
    for (size_t i = 0; i < count; i++) found->pieces[first + i] = (aic_view){vectors[i].iov_base, vectors[i].iov_len};
    found->count = first + count;
    return AIC_OK;
}

/* {"hit":true,...,"response": <pieces> ,"metadata":{...}} */
static aic_status answer_lookup(struct found *found)
{
    struct answer *answer = found->answer;
    struct buf *text = &answer->text;
    struct json_writer writer;
    (void)buf_reserve(text, 1024); /* a usual head and tail in one go; a failure sticks */
    json_writer_init(&writer, text);
    json_open(&writer, '{');
    json_key(&writer, "hit");
    json_put_bool(&writer, true);
    json_key(&writer, "key");
    render_key(&writer, &found->metadata.key);
    json_key(&writer, "tier");
    json_put_text(&writer, tier_name(answer->hit.tier));
    json_key(&writer, "age_seconds");
    json_put_u64(&writer, found->age_seconds);
    json_key(&writer, "ttl_seconds");
    render_ttl(&writer, found->metadata.expires_ms, found->now_ms);
    json_key(&writer, "response");
    size_t head = text->size;
    writer.comma = true; /* the response, which is sent from where it lies */
    json_key(&writer, "metadata");
    render_metadata(&writer, &found->metadata, found->now_ms);
    json_close(&writer, '}');
    TRY(buf_status(text));
    TRY(gather_pieces(found, 1));
    found->pieces[0] = (aic_view){text->data, head};
    found->pieces[found->count++] = (aic_view){text->data + head, text->size - head};
    http_reply_pieces(found->exchange, 200, HTTP_JSON, found->pieces, found->count, answer_give, answer);
    return AIC_OK;
}

/* A field value put together by hand: printf costs more than the rest of a hit's head. */
struct value {
    char text[96];
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
        entry_headers(found, tag);
        http_reply_empty(found->exchange, 304);
        answer_give(found->answer);
        return AIC_OK;
    }
    TRY(gather_pieces(found, 0));
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
    http_reply_bytes(found->exchange, 200, HTTP_JSON, buf_view(&found->answer->text));
    answer_give(found->answer);
    return AIC_OK;
}

/* Answers a miss. */
static void answer_miss(struct http_exchange *exchange)
{
    const struct call *call = call_of(exchange);
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

/* Answers a hit, which is moved from. A damaged one is a miss. */
static void answer_hit(struct http_exchange *exchange, struct cache_hit *hit)
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
    if (status == AIC_DAMAGED) answer_miss(exchange);
    else reply_status(exchange, status, NULL);
}

/* ---------------------------------------------------------------------------------------------- looking up -- */

static void count_and_answer(struct http_exchange *exchange, struct cache_hit *hit, enum tally_outcome outcome)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    if (call->cell == NULL) {
        /* By key the operation shows only in what was found. */
        call->cell = hit != NULL ? front_cell(front, hit->record.ns, hit->record.operation)
                                 : front_cell(front, call_ns(call), AIC_LITERAL("unknown"));
    }
    front_count_lookup(front, exchange, call->cell, outcome, hit);
    cache_record_get(front->routes->options.cache, http_received_ns(exchange), hit != NULL,
                     outcome == TALLY_HIT_MEMORY ? AIC_IN_MEMORY : AIC_IN_STORAGE,
                     hit != NULL ? hit->record.text_length : call->text_length);
    if (hit != NULL) answer_hit(exchange, hit);
    else answer_miss(exchange);
}

void lookup_finish(struct http_exchange *exchange, aic_status status, struct cache_hit *hit)
{
    cache_count_storage(front_of(exchange)->routes->options.cache, status);
    if (status == AIC_OK) count_and_answer(exchange, hit, TALLY_HIT_STORAGE);
    else count_and_answer(exchange, NULL, TALLY_MISS);
}

/* call->key is known: memory now, or storage later. */
static void look_up(struct http_exchange *exchange, aic_view ns)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_cache *cache = front->routes->options.cache;
    struct cache_hit hit = {0};
    aic_status status = cache_lookup_memory(cache, ns, &call->key, &hit);
    if (status == AIC_OK) count_and_answer(exchange, &hit, TALLY_HIT_MEMORY);
    else if (status != AIC_MISS) reply_status(exchange, status, NULL);
    else if (cache_has_storage(cache)) pending_start(exchange, ns, &call->key);
    else count_and_answer(exchange, NULL, TALLY_MISS);
}

static const struct field_rule lookup_rules[] = {REQUEST_RULES};

/* Body to key. Either thread kind: uses only what is handed in. */
static aic_status key_of_body(aic_cache *cache, const struct call *call, struct json *json, struct buf *scratch,
                              aic_view body, struct request *request, aic_key *key, uint64_t *text_length,
                              aic_error *error)
{
    uint32_t tokens[COUNT_OF(lookup_rules)];
    TRY(fields_read(json, body, lookup_rules, COUNT_OF(lookup_rules), tokens, error));
    TRY(request_read(json, scratch, call, tokens, request, error));
    return cache_key(cache, &request->key, key, text_length, error);
}

static void look_up_inline(struct http_exchange *exchange, aic_view body, uint64_t hash)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    const aic_clock *clock = front->routes->options.clock;
    aic_error error = {0};
    struct request request;
    buf_clear(&front->scratch);
    uint64_t started = clock_mono_ns(clock);
    aic_status status = key_of_body(front->routes->options.cache, call, &front->json, &front->scratch, body, &request,
                                    &call->key, &call->text_length, &error);
    if (status != AIC_OK) {
        reply_status(exchange, status, &error);
        return;
    }
    hist_record(&front->tally.key_ns, clock_mono_ns(clock) - started);
    call->cell = front_cell(front, request.key.ns, request.operation);
    struct memo_entry entry = {
        .hash = hash, .key = call->key, .text_length = call->text_length, .cell = call->cell, .admin = call->admin};
    memo_add(&front->memo, &entry, call_ns(call), request.key.ns, body);
    look_up(exchange, request.key.ns);
}

/* A large body: scanned and hashed by a worker. */
struct key_job {
    struct work work;
    aic_view body;
    struct json json;
    struct buf scratch;
    struct request request;
    uint64_t key_ns;
};

static void run_key(struct work *work)
{
    struct key_job *job = (struct key_job *)work;
    const struct routes_options *options = &work->front->routes->options;
    uint64_t started = clock_mono_ns(options->clock);
    work->status = key_of_body(options->cache, work->call, &job->json, &job->scratch, job->body, &job->request,
                               &work->call->key, &work->call->text_length, &work->error);
    job->key_ns = clock_mono_ns(options->clock) - started;
}

static void finish_key(struct work *work)
{
    struct key_job *job = (struct key_job *)work;
    struct front *front = work->front;
    if (work->status == AIC_OK) {
        hist_record(&front->tally.key_ns, job->key_ns);
        work->call->cell = front_cell(front, job->request.key.ns, job->request.operation);
        look_up(work->exchange, job->request.key.ns);
    } else {
        reply_status(work->exchange, work->status, &work->error);
    }
    json_fini(&job->json);
    buf_fini(&job->scratch);
    work_free(work);
}

static void look_up_by_worker(struct http_exchange *exchange, aic_view body)
{
    struct key_job *job = work_create(exchange, sizeof *job);
    if (job == NULL) return;
    job->work.run = run_key;
    job->work.finish = finish_key;
    job->body = body;
    json_init(&job->json, http_mem(exchange), MEM_CACHE);
    buf_init(&job->scratch, http_mem(exchange), MEM_CACHE);
    work_start(&job->work);
}

void handle_lookup(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_view body = http_body(exchange);
    if (body.size > HANDLERS_INLINE_BODY) {
        look_up_by_worker(exchange, body);
        return;
    }
    uint64_t hash = memo_hash(&front->memo, call_ns(call), body);
    const struct memo_entry *known = memo_find(&front->memo, hash, call_ns(call), call->admin, body);
    tally_bump(known != NULL ? &front->tally.memo_hits : &front->tally.memo_misses, 1);
    if (known == NULL) {
        look_up_inline(exchange, body, hash);
        return;
    }
    call->key = known->key;
    call->text_length = known->text_length;
    call->cell = known->cell;
    look_up(exchange, memo_ns(known));
}

void handle_get(struct http_exchange *exchange)
{
    struct call *call = call_of(exchange);
    aic_error error = {0};
    aic_view ns, metadata;
    call->by_key = true;
    aic_status status = call_key(exchange, &call->key, &ns, &error);
    if (status == AIC_OK) status = call_query(exchange, "metadata", &metadata, &error);
    if (status == AIC_OK && metadata.data != NULL)
        status = fields_bool_text(metadata, "metadata", &call->metadata_only, &error);
    if (status != AIC_OK) reply_status(exchange, status, &error);
    else look_up(exchange, ns);
}
