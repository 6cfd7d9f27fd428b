/*
 * remove.c - what takes entries away: by key, by keys, by what they have in common, all of them. Workers' jobs, since
 * each must look into storage.
 */
#include "base/check.h"
#include "base/plural.h"
#include "base/status.h"
#include "cache/cache.h"
#include "serve/http/negotiate.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/reply.h"
#include "serve/routes/select.h"
#include "serve/routes/tag.h"
#include "serve/routes/work.h"

#include <stdio.h>
#include <string.h>

/* On a worker: from here on no kill brings back what cache_hide() removed. AIC_UNAVAILABLE explains. */
static aic_status make_last(struct work *work, const aic_key *keys, size_t count)
{
    if (cache_make_last(work->front->routes->overview.options.cache, keys, count) == AIC_OK) return AIC_OK;
    return error_set(
        &work->error, AIC_UNAVAILABLE, NULL,
        "storage takes no writes, nor does the file 'removals' in data_dir: what was removed is hidden while "
        "this daemon runs, but may be back after it; repeat this when storage is up again");
}

/* ------------------------------------------------------------------------------------------------------- by key -- */

struct delete_job {
    struct work work;
    aic_key key;
    aic_view ns; /* empty: any */
    bool conditional;
};

/* Only what the client means, where it says so. On a worker; the request's fields stay as they are until the reply. */
static bool is_meant(void *context, const struct record *record)
{
    char text[TAG_BYTES];
    return negotiate_condition(context, tag_write(record, text)) == CONDITION_HOLDS;
}

static void run_delete(struct work *work)
{
    struct delete_job *job = (struct delete_job *)work;
    aic_cache *cache = work->front->routes->overview.options.cache;
    work->status = job->conditional ? cache_hide_if(cache, job->ns, &job->key, is_meant, work->exchange)
                                    : cache_hide(cache, job->ns, &job->key);
    aic_status lasting = cache_is_hidden(cache, &job->key, work->status) ? make_last(work, &job->key, 1) : AIC_OK;
    if (lasting != AIC_OK) work->status = lasting;
}

static void finish_delete(struct work *work)
{
    if (work->status == AIC_OK) http_reply_empty(work->exchange, 204);
    else if (work->status == AIC_MISS) reply_no_entry(work->exchange);
    else if (work->status == AIC_STALE) reply_condition_failed(work->exchange);
    else http_reply_error(work->exchange, work->status, work->error.status != AIC_OK ? &work->error : NULL);
    work_free(work);
}

void handle_delete(struct http_exchange *exchange)
{
    aic_error error = {0};
    aic_key key;
    aic_view ns;
    aic_status status = call_key(exchange, &key, &ns, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        return;
    }
    struct delete_job *job = work_create(exchange, LANE_REMOVALS, sizeof *job);
    if (job == NULL) return;
    job->work.run = run_delete;
    job->work.finish = finish_delete;
    job->key = key;
    job->ns = ns;
    job->conditional = http_header(exchange, "If-Match").data != NULL ||
                       http_header(exchange, "If-None-Match").data != NULL;
    work_start(&job->work);
}

/* ------------------------------------------------------------------------------------------------------ by keys -- */

#define MAX_KEYS 10000

/* The keys whose removal has to last are gathered in `hidden`. */
static aic_status delete_keys(struct work *work, struct buf *hidden, uint64_t *deleted, uint64_t *missing)
{
    aic_cache *cache = work->front->routes->overview.options.cache;
    static const struct field_rule rules[] = {{"keys", FIELD_ARRAY, true, true, "an array of keys"}};
    uint32_t keys;
    struct json *json = &work->json;
    TRY(fields_read(json, work->text, rules, COUNT_OF(rules), &keys, &work->error));
    if (json->tokens[keys].members > MAX_KEYS)
        return error_set(&work->error, AIC_INVALID, "keys", "at most %d keys are accepted", MAX_KEYS);
    /* All keys are read before the first is removed: a bad one refuses the whole. */
    for (unsigned pass = 0; pass < 2; pass++) {
        size_t index = 0;
        for (uint32_t at = keys + 1; at < json->tokens[keys].next; at = json->tokens[at].next, index++) {
            aic_key key;
            char field[32];
            snprintf(field, sizeof field, "keys[%zu]", index);
            if (json->tokens[at].type != JSON_STRING || aic_key_parse(json_source(json, at), &key) != AIC_OK)
                return error_set(&work->error, AIC_INVALID, field,
                                 "this is no key; 64 lower-case hex digits are accepted");
            if (pass == 0) continue;
            aic_status status = cache_hide(cache, AIC_LITERAL(""), &key);
            if (status < 0) return status;
            if (cache_is_hidden(cache, &key, status)) buf_append(hidden, &key, sizeof key);
            ++*(status == AIC_OK ? deleted : missing);
        }
    }
    TRY(buf_status(hidden));
    return make_last(work, (const aic_key *)hidden->data, hidden->size / sizeof(aic_key));
}

static void run_delete_many(struct work *work)
{
    struct buf hidden;
    uint64_t deleted = 0, missing = 0;
    buf_init(&hidden, work->body.mem, MEM_CONNECTIONS);
    work->status = delete_keys(work, &hidden, &deleted, &missing);
    buf_fini(&hidden);
    if (work->status != AIC_OK) return;
    buf_printf(&work->body, "{\"status\":\"success\",\"deleted\":%llu,\"not_found\":%llu}", (unsigned long long)deleted,
               (unsigned long long)missing);
    work->status = buf_status(&work->body);
}

void handle_delete_many(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_REMOVALS, run_delete_many, WORK_LONG_MS);
}

/* --------------------------------------------------------------------------------------------------- invalidate -- */

static void write_message(struct json_writer *writer, const struct selection *selection, const aic_invalidated *result)
{
    char text[SELECT_MAX_TEXT + 96];
    aic_view pattern = selection->filter.pattern;
    uint64_t count = selection->dry_run ? result->matched : result->removed;
    const char *what = selection->dry_run
                           ? plural(count, "entry matches", "entries match")
                           : plural(count, "entry was removed that matches", "entries were removed that match");
    size_t size = (size_t)snprintf(text, sizeof text, "%llu %s the pattern ", (unsigned long long)count, what);
    CHECK(pattern.size <= sizeof text - size);
    memcpy(text + size, pattern.data, pattern.size); /* any UTF-8, NUL too */
    json_key(writer, "message");
    json_put_view(writer, (aic_view){text, size + pattern.size});
}

static void write_invalidated(struct buf *out, const struct selection *selection, const aic_invalidated *result)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "matched");
    json_put_u64(&writer, result->matched);
    json_key(&writer, "removed");
    json_put_u64(&writer, result->removed);
    json_key(&writer, "bytes_freed");
    json_put_u64(&writer, result->bytes_freed);
    json_key(&writer, "dry_run");
    json_put_bool(&writer, selection->dry_run);
    if (selection->filter.pattern.size > 0) write_message(&writer, selection, result);
    json_close(&writer, '}');
}

struct invalidate_job {
    struct work work;
    struct selection selection;
};

static aic_status invalidate(struct work *work, struct selection *selection)
{
    if (work->text.size > 0)
        TRY(select_from_body(&work->json, &work->scratch, work->text, work->call,
                             SELECT_LABELS | SELECT_MORE | SELECT_REMOVAL, selection, &work->error));
    if (!selection->named)
        return error_set(
            &work->error, AIC_INVALID, NULL,
            "nothing is named: give namespace, operation, model, tag, pattern or older_than_seconds, or {\"all\":true} for everything");
    aic_invalidated result = {0};
    TRY(cache_invalidate(work->front->routes->overview.options.cache, &selection->filter, selection->dry_run,
                         &work->gone, &result, &work->error));
    write_invalidated(&work->body, selection, &result);
    return buf_status(&work->body);
}

static void run_invalidate(struct work *work)
{
    work->status = invalidate(work, &((struct invalidate_job *)work)->selection);
}

void handle_invalidate(struct http_exchange *exchange)
{
    struct invalidate_job *job = work_create(exchange, LANE_REMOVALS, sizeof *job);
    if (job == NULL) return;
    aic_error error = {0};
    /* Two sources could contradict each other. */
    size_t parameters;
    aic_status status = select_from_query(exchange, SELECT_LABELS | SELECT_MORE | SELECT_REMOVAL, &job->selection,
                                          &error);
    if (status == AIC_OK && job->work.text.size > 0 && http_query_count(exchange, &parameters) == AIC_OK &&
        parameters > 0)
        status = error_set(&error, AIC_INVALID, NULL, "either a body or query parameters are accepted, not both");
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        work_free(&job->work);
        return;
    }
    job->work.run = run_invalidate;
    job->work.finish = work_reply;
    job->work.deadline_ms = WORK_LONG_MS;
    work_start(&job->work);
}

/* -------------------------------------------------------------------------------------------------------- flush -- */

static void run_flush(struct work *work)
{
    aic_filter filter = {.all_namespaces = true, .all = true};
    aic_invalidated result = {0};
    work->status = cache_invalidate(work->front->routes->overview.options.cache, &filter, false, &work->gone, &result,
                                    &work->error);
    if (work->status != AIC_OK) return;
    buf_printf(&work->body, "{\"status\":\"success\",\"removed\":%llu,\"bytes_freed\":%llu}",
               (unsigned long long)result.removed, (unsigned long long)result.bytes_freed);
    work->status = buf_status(&work->body);
}

void handle_flush_all(struct http_exchange *exchange)
{
    aic_error error = {0};
    aic_status status = call_check_no_body(exchange, &error);
    if (status != AIC_OK) http_reply_error(exchange, status, &error);
    else work_answer(exchange, LANE_REMOVALS, run_flush, WORK_LONG_MS);
}
