/*
 * put.c - PUT /cache/entries.
 *
 * A put of moderate size is scanned, keyed, compressed and stored on the front thread, which costs tens of
 * microseconds; a larger one on a thread of the quick lane. Storage is reached through its write-behind queue, so
 * neither waits, unless `durability` asks for it: that has the lane of removals, which wait for the same.
 */
#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"
#include "cache/token_usage.h"
#include "serve/http/negotiate.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/render.h"
#include "serve/routes/reply.h"
#include "serve/routes/request.h"
#include "serve/routes/work.h"

#include <string.h>

_Static_assert(AIC_MAX_TTL_SECONDS == 3155760000, "the words are true");

#define DURABILITY_ACCEPTED "memory, storage or disk"

static const struct field_rule put_rules[] = {
    REQUEST_RULES,
    {"response", FIELD_ANY, true, true, "any JSON value"},
    {"ttl", FIELD_NUMBER, false, true, "a whole number of seconds from 0 (never expires) to 3155760000"},
    {"tags", FIELD_ARRAY, false, false, "an array of strings"},
    {"tokens", FIELD_NUMBER | FIELD_OBJECT, false, false, TOKEN_USAGE_ACCEPTED},
    {"durability", FIELD_STRING, false, false, DURABILITY_ACCEPTED},
    {"cost_usd", FIELD_NUMBER, false, false, "a number of US dollars from 0 to 1e9"},
    {"lease", FIELD_STRING, false, false, "the `lease` that a lookup of this request was answered with"},
};
enum { PUT_RESPONSE = REQUEST_FIELDS, PUT_TTL, PUT_TAGS, PUT_TOKENS, PUT_DURABILITY, PUT_COST, PUT_LEASE, PUT_FIELDS };
_Static_assert(COUNT_OF(put_rules) == PUT_FIELDS, "rules and their names agree");

static aic_status read_cost(const struct json *json, uint32_t token, double *out, aic_error *error)
{
    if (token == FIELDS_ABSENT) return AIC_OK;
    double cost;
    if (json_double(json, token, &cost) != AIC_OK || !(cost >= 0 && cost <= 1e9))
        return error_set(error, AIC_INVALID, "cost_usd", "a number of US dollars from 0 to 1e9 is accepted");
    *out = cost;
    return AIC_OK;
}

static aic_status read_durability(const struct json *json, uint32_t token, aic_durability *out, aic_error *error)
{
    static const char *const words[] = {"memory", "storage", "disk"};
    static_assert(COUNT_OF(words) == AIC_DURABILITY_DISK - AIC_DURABILITY_MEMORY + 1, "each level has its word");
    if (token == FIELDS_ABSENT) return AIC_OK;
    for (unsigned i = 0; i < COUNT_OF(words); i++) {
        aic_view word = aic_view_of(words[i]), given = json_source(json, token);
        if (given.size != word.size || memcmp(given.data, word.data, word.size) != 0) continue;
        *out = (aic_durability)(AIC_DURABILITY_MEMORY + i);
        return AIC_OK;
    }
    return error_set(error, AIC_INVALID, "durability", DURABILITY_ACCEPTED " is accepted");
}

/* Everything that a put of either kind of thread uses. */
struct put_call {
    const struct overview_options *options;
    const struct call *call;
    struct json *json;
    struct buf *scratch;
    aic_view body;
    bool may_wait;  /* on a thread of the lane for that */
    bool must_wait; /* for storage: nothing is done yet, it goes to that lane */
    bool forbidden; /* If-Match or If-None-Match do not allow it */
    struct request request;
    aic_put_result result;
};

static aic_status store_body(struct put_call *self, aic_error *error)
{
    uint32_t tokens[PUT_FIELDS];
    aic_view tags[AIC_MAX_TAGS];
    const struct json *json = self->json;
    TRY(fields_read(self->json, self->body, put_rules, PUT_FIELDS, tokens, error));
    TRY(request_read(self->json, self->scratch, self->call, tokens, &self->request, error));
    struct cache_put put = {
        .request = self->request.key, .response = json_text(json, tokens[PUT_RESPONSE]), .tags = tags};
    if (tokens[PUT_TTL] != FIELDS_ABSENT) {
        put.ttl_given = true;
        TRY(fields_count(json, tokens[PUT_TTL], "ttl", put_rules[PUT_TTL].accepts, INT64_MAX, &put.ttl_seconds, error));
        TRY(cache_check_ttl(put.ttl_seconds, error));
    }
    TRY(fields_tags(json, tokens[PUT_TAGS], self->scratch, tags, &put.tag_count, error));
    if (tokens[PUT_TOKENS] != FIELDS_ABSENT)
        TRY(token_usage_read(json, tokens[PUT_TOKENS], &put.prompt_tokens, &put.completion_tokens, error));
    TRY(read_cost(json, tokens[PUT_COST], &put.cost_usd, error));
    aic_durability durability = AIC_DURABILITY_DEFAULT;
    TRY(read_durability(json, tokens[PUT_DURABILITY], &durability, error));
    TRY(cache_durability(self->options->cache, durability, &durability, error));
    TRY(fields_text(json, tokens[PUT_LEASE], self->scratch, &put.lease));
    if (self->forbidden) return AIC_STALE;
    self->must_wait = durability > AIC_DURABILITY_MEMORY && !self->may_wait;
    if (self->must_wait) return AIC_OK;
    aic_status status = cache_put(self->options->cache, &put, &self->result, error);
    if (status < 0) return status;
    TRY(cache_make_durable(self->options->cache, durability, &self->result, error));
    return status;
}

static void write_result(const struct put_call *self, struct buf *out)
{
    const aic_put_result *result = &self->result;
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "key");
    render_key(&writer, &result->key);
    json_key(&writer, "namespace");
    json_put_view(&writer, self->request.key.ns);
    json_key(&writer, "operation");
    json_put_view(&writer, self->request.operation);
    json_key(&writer, "expires_at");
    render_time_or_null(&writer, result->expires_ms);
    json_key(&writer, "size_bytes");
    json_put_u64(&writer, result->size_bytes);
    json_key(&writer, "stored_bytes");
    json_put_u64(&writer, result->stored_bytes);
    json_key(&writer, "compressed");
    json_put_bool(&writer, result->compressed);
    json_key(&writer, "tier");
    render_tiers(&writer, result->tiers);
    json_close(&writer, '}');
}

static void answer_put(struct http_exchange *exchange, const struct put_call *self, aic_status status,
                       const aic_error *error)
{
    struct front *front = front_of(exchange);
    if (status == AIC_STALE) {
        http_reply_problem(exchange, 412, "condition_failed", NULL,
                           "a put goes to all entries, which together have no ETag; If-Match and If-None-Match are "
                           "for /cache/entries/{key}");
        return;
    }
    if (status < 0) {
        http_reply_error(exchange, status, error);
        return;
    }
    hist_record(&front->tally.store_ns, clock_mono_ns(self->options->clock) - http_received_ns(exchange));
    struct buf body;
    char key[AIC_KEY_HEX_SIZE];
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    write_result(self, &body);
    aic_key_format(&self->result.key, key);
    http_reply_headerf(exchange, "Location", "/cache/entries/%s", key);
    reply_json(exchange, status == AIC_OK ? 201 : status_http(status), &body);
    buf_fini(&body);
}

struct put_job {
    struct work work;
    struct put_call put;
};

static void run_put(struct work *work)
{
    work->status = store_body(&((struct put_job *)work)->put, &work->error);
}

static void finish_put(struct work *work)
{
    struct put_call *put = &((struct put_job *)work)->put;
    if (work->status == AIC_OK && put->must_wait) {
        put->may_wait = true;
        work->lane = LANE_REMOVALS;
        buf_clear(put->scratch);
        work_again(work);
        return;
    }
    if (work->status < 0) work_refuse(work);
    else answer_put(work->exchange, put, work->status, &work->error);
    work_free(work);
}

static void put_by_worker(struct http_exchange *exchange, const struct put_call *put)
{
    struct put_job *job = work_create(exchange, put->must_wait ? LANE_REMOVALS : LANE_QUICK, sizeof *job);
    if (job == NULL) return;
    job->work.run = run_put;
    job->work.finish = finish_put;
    job->put = *put;
    job->put.json = &job->work.json;
    job->put.scratch = &job->work.scratch;
    job->put.may_wait = put->must_wait;
    work_start(&job->work);
}

void handle_put(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    struct put_call put = {.options = &front->routes->overview.options,
                           .call = call_of(exchange),
                           .body = http_body(exchange),
                           .forbidden = negotiate_condition(exchange, (aic_view){0}) != CONDITION_HOLDS,
                           .json = &front->json,
                           .scratch = &front->scratch};
    if (put.body.size > WORK_LARGE_BODY) {
        put_by_worker(exchange, &put);
        return;
    }
    aic_error error = {0};
    buf_clear(&front->scratch);
    aic_status status = store_body(&put, &error);
    if (put.must_wait) put_by_worker(exchange, &put);
    else answer_put(exchange, &put, status, &error);
}
