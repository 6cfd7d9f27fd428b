/*
 * lookup.c - POST /cache/lookup and GET /cache/entries/{key}: the hot path.
 *
 * A lookup whose body was seen before on this thread goes straight from the bytes to the key (memo.h); any other is
 * scanned and keyed. A hit in memory is answered from the pinned entry without copying the response. A miss in memory
 * asks storage and comes back through lookup_finish(); nothing here waits.
 */
#include "serve/routes/lookup.h"

#include "base/check.h"
#include "base/status.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/memo.h"
#include "serve/routes/work.h"

/* ----------------------------------------------------------------------------------------------------- counting -- */

/* Outcome, duration, age and savings. */
static void tally_lookup(struct front *front, struct labels_place place, enum tally_outcome outcome, uint64_t ns,
                         const struct cache_hit *hit, uint64_t age_ms)
{
    struct tally *tally = &front->tally;
    tally_count(tally, &front->routes->overview.labels, place, outcome);
    hist_record(&tally->lookup_ns[outcome], ns);
    if (hit == NULL) return;
    hist_record(&tally->age_ms, age_ms);
    const struct record *record = &hit->record;
    if (record->prompt_tokens > 0) FIGURE_COUNT_OWN(&tally->counts, prompt_tokens_saved, record->prompt_tokens);
    if (record->completion_tokens > 0)
        FIGURE_COUNT_OWN(&tally->counts, completion_tokens_saved, record->completion_tokens);
    if (record->cost_usd > 0) FIGURE_COUNT_OWN(&tally->counts, cost_saved_usd, record->cost_usd);
}

/* What a lookup that found nothing was for, when somebody listens; of a key alone it is not known. */
static aic_view missed_operation(struct front *front, const struct call *call, char room[AIC_MAX_NAME_BYTES])
{
    if (call->by_key || !cache_is_observed(front->routes->overview.options.cache)) return (aic_view){NULL, 0};
    return (aic_view){room, labels_operation(&front->routes->overview.labels, call->place, room)};
}

void lookup_count(struct http_exchange *exchange, aic_status status, const struct cache_hit *hit, uint64_t age_ms)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_cache *cache = front->routes->overview.options.cache;
    /* Who looks at an entry is served no response, and is no miss either. */
    if (call->by_key && (call->metadata_only || http_verb(exchange) == HTTP_VERB_HEAD)) return;
    unsigned tier = hit != NULL ? hit->tier : 0;
    enum tally_outcome outcome = hit == NULL             ? TALLY_MISS
                                 : tier == AIC_IN_MEMORY ? TALLY_HIT_MEMORY
                                                         : TALLY_HIT_STORAGE;
    if (call->place.generation == 0) {
        /* By key the operation shows only in what was found. */
        struct labels *labels = &front->routes->overview.labels;
        call->place = hit != NULL ? labels_find(labels, hit->record.ns, hit->record.operation)
                                  : labels_find(labels, call_ns(call), AIC_LITERAL("unknown"));
    }
    char room[AIC_MAX_NAME_BYTES];
    uint64_t ended_ns = http_now_ns(exchange);
    uint64_t started_ns = call->resumed_ns != 0 ? call->resumed_ns : http_received_ns(exchange);
    cache_count_lookup(cache, status, tier);
    tally_lookup(front, call->place, outcome, ended_ns - started_ns, hit, age_ms);
    cache_record_get(
        cache, status, tier,
        (struct cache_event){.key = &call->key,
                             .started_ns = started_ns,
                             .ended_ns = ended_ns,
                             .text_length = hit != NULL ? hit->record.text_length : call->text_length,
                             .operation = hit != NULL ? hit->record.operation : missed_operation(front, call, room),
                             .memory_before = call->memory_before});
}

/* --------------------------------------------------------------------------------------------------- looking up -- */

void lookup_finish(struct http_exchange *exchange, aic_status status, struct cache_hit *hit)
{
    if (status != AIC_OK) {
        lookup_answer_miss(exchange, status);
        return;
    }
    uint64_t bytes = hit->copy.capacity; /* 0 where it lies in memory now */
    if (bytes > 0 && !http_answer_hold(exchange, bytes)) {
        cache_hit_release(hit);
        http_reply_refused(exchange, http_answer_mem(exchange));
        return;
    }
    struct answer *answer = answer_take(front_of(exchange));
    if (answer == NULL) {
        cache_hit_release(hit);
        http_answer_let_go(http_thread(exchange), bytes);
        http_reply_error(exchange, AIC_NO_MEMORY, NULL);
        return;
    }
    answer->held = bytes;
    cache_hit_move(&answer->hit, hit);
    lookup_answer_hit(exchange, answer);
}

static void on_stored(void *context, aic_status status, struct cache_hit *hit)
{
    lookup_finish(context, status, hit);
}

static void ask_storage(struct http_exchange *exchange, aic_view ns)
{
    if (pending_start(front_of(exchange), ns, &call_of(exchange)->key, on_stored, exchange) == AIC_OK)
        http_defer(exchange, 0);
    else http_reply_error(exchange, AIC_NO_MEMORY, NULL);
}

/* call->key is known: memory now, or storage later. A hit is found where it stays until it is sent: it is too large to
 * be moved for nothing. */
static void look_up(struct http_exchange *exchange, aic_view ns)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_cache *cache = front->routes->overview.options.cache;
    call->memory_before = cache_observe_begin(cache);
    struct answer *answer = answer_take(front);
    if (answer == NULL) {
        http_reply_error(exchange, AIC_NO_MEMORY, NULL);
        return;
    }
    aic_status status = cache_lookup_memory(cache, ns, &call->key, &answer->hit);
    if (status == AIC_OK) {
        lookup_answer_hit(exchange, answer);
        return;
    }
    answer_give(answer);
    if (status == AIC_MISS && cache_has_storage(cache)) ask_storage(exchange, ns);
    else if (status == AIC_MISS) lookup_answer_miss(exchange, status);
    else http_reply_error(exchange, status, NULL);
}

void lookup_again(struct http_exchange *exchange)
{
    look_up(exchange, (aic_view){NULL, 0}); /* a key stands for exactly one namespace */
}

#define WAIT_ACCEPTED "a number of seconds from 0 to 120"
static const struct field_rule lookup_rules[] = {REQUEST_RULES, {"wait", FIELD_NUMBER, false, false, WAIT_ACCEPTED}};
enum { LOOKUP_WAIT = REQUEST_FIELDS, LOOKUP_FIELDS };
_Static_assert(COUNT_OF(lookup_rules) == LOOKUP_FIELDS && LEASE_MOST_WAIT_S == 120, "rules and their words agree");

static aic_status read_wait(const struct json *json, uint32_t token, uint32_t *wait_ms, aic_error *error)
{
    double seconds = 0;
    *wait_ms = 0;
    if (token == FIELDS_ABSENT) return AIC_OK;
    if (json_double(json, token, &seconds) != AIC_OK || !(seconds >= 0 && seconds <= LEASE_MOST_WAIT_S))
        return error_set(error, AIC_INVALID, "wait", WAIT_ACCEPTED " is accepted");
    *wait_ms = (uint32_t)(seconds * 1000 + 0.999);
    return AIC_OK;
}

aic_status lookup_key(struct front *front, const struct call *call, struct json *json, uint32_t object,
                      struct buf *scratch, struct lookup_request *out, aic_error *error)
{
    const struct overview_options *options = &front->routes->overview.options;
    uint32_t tokens[COUNT_OF(lookup_rules)];
    uint64_t started = clock_mono_ns(options->clock);
    TRY(fields_read_object(json, object, lookup_rules, COUNT_OF(lookup_rules), tokens, error));
    TRY(request_read(json, scratch, call, tokens, &out->request, error));
    TRY(read_wait(json, tokens[LOOKUP_WAIT], &out->wait_ms, error));
    TRY(cache_key(options->cache, &out->request.key, &out->key, &out->text_length, error));
    out->key_ns = clock_mono_ns(options->clock) - started;
    return AIC_OK;
}

static aic_status key_of_body(struct front *front, const struct call *call, struct json *json, struct buf *scratch,
                              aic_view body, struct lookup_request *out, aic_error *error)
{
    uint64_t started = clock_mono_ns(front->routes->overview.options.clock);
    TRY(fields_scan(json, body, lookup_rules, COUNT_OF(lookup_rules), error));
    TRY(lookup_key(front, call, json, 0, scratch, out, error));
    out->key_ns = clock_mono_ns(front->routes->overview.options.clock) - started;
    return AIC_OK;
}

void lookup_place(struct front *front, struct call *call, const struct lookup_request *request)
{
    hist_record(&front->tally.key_ns, request->key_ns);
    call->key = request->key;
    call->text_length = request->text_length;
    call->wait_ms = request->wait_ms;
    call->place = labels_find(&front->routes->overview.labels, request->request.key.ns, request->request.operation);
}

/* Parsed on this thread; `hash`: for the memo, to which a body that is too long for it does not go. */
static void look_up_inline(struct http_exchange *exchange, aic_view body, uint64_t hash)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_error error = {0};
    struct lookup_request request;
    buf_clear(&front->scratch);
    aic_status status = key_of_body(front, call, &front->json, &front->scratch, body, &request, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        return;
    }
    lookup_place(front, call, &request);
    aic_view ns = request.request.key.ns;
    struct memo_entry entry = {
        .hash = hash, .key = call->key, .text_length = call->text_length, .place = call->place, .admin = call->admin};
    if (call->wait_ms == 0) memo_add(&front->memo, &entry, call_ns(call), ns, body);
    look_up(exchange, ns);
}

/* A large body: scanned and hashed by a worker. */
struct key_job {
    struct work work;
    struct lookup_request request;
};

static void run_key(struct work *work)
{
    struct key_job *job = (struct key_job *)work;
    work->status = key_of_body(work->front, work->call, &work->json, &work->scratch, work->text, &job->request,
                               &work->error);
}

static void finish_key(struct work *work)
{
    struct key_job *job = (struct key_job *)work;
    if (work->status == AIC_OK) {
        lookup_place(work->front, work->call, &job->request);
        look_up(work->exchange, job->request.request.key.ns);
    } else {
        work_refuse(work);
    }
    work_free(work);
}

static void look_up_by_worker(struct http_exchange *exchange)
{
    struct key_job *job = work_create(exchange, LANE_QUICK, sizeof *job);
    if (job == NULL) return;
    job->work.run = run_key;
    job->work.finish = finish_key;
    work_start(&job->work);
}

void handle_lookup(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    aic_view body = http_body(exchange);
    if (body.size > WORK_LARGE_BODY) {
        look_up_by_worker(exchange);
        return;
    }
    if (body.size > front->memo.max_body) {
        look_up_inline(exchange, body, 0);
        return;
    }
    uint64_t hash = memo_hash(&front->memo, call_ns(call), body);
    const struct memo_entry *known = memo_find(&front->memo, hash, call_ns(call), call->admin, body);
    if (known != NULL) FIGURE_COUNT_OWN(&front->tally.counts, memo_hits, 1);
    else FIGURE_COUNT_OWN(&front->tally.counts, memo_misses, 1);
    if (known == NULL || !labels_hold(&front->routes->overview.labels, known->place)) {
        look_up_inline(exchange, body, hash);
        return;
    }
    call->key = known->key;
    call->text_length = known->text_length;
    call->place = known->place;
    look_up(exchange, memo_ns(known));
}

void handle_get(struct http_exchange *exchange)
{
    struct call *call = call_of(exchange);
    aic_error error;
    error_clear(&error);
    aic_view ns, metadata;
    call->by_key = true;
    aic_status status = call_key(exchange, &call->key, &ns, &error);
    if (status == AIC_OK) status = call_query(exchange, "metadata", &metadata, &error);
    if (status == AIC_OK && metadata.data != NULL)
        status = fields_bool_text(metadata, "metadata", &call->metadata_only, &error);
    if (status != AIC_OK) http_reply_error(exchange, status, &error);
    else look_up(exchange, ns);
}
