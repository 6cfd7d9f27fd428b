#include "observe/probes.h"

#include "base/check.h"
#include "observe/fields.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_PARTS 16
#define NAME_BYTES 32
#define HISTORY_KEPT 60

struct past {
    uint64_t checked_ms;
    double response_ms;
    struct probe_result result;
};

struct part {
    struct probes *probes;
    char name[NAME_BYTES];
    probe_check_fn *check; /* NULL: disabled */
    void *context;
    pthread_t thread;
    bool started;
    uint64_t running_since_ns;      /* 0: no run under way */
    uint64_t healthy_ns;            /* when it was last seen healthy, or registered */
    struct past past[HISTORY_KEPT]; /* a ring */
    size_t runs;
};

struct probes {
    struct probe_options options;
    pthread_mutex_t mutex; /* guards the parts and `stopping`; taken last, no check runs under it */
    pthread_cond_t stop;
    bool stopping;
    struct part parts[MAX_PARTS];
    size_t count;
};

const char *probe_status_name(enum probe_status status)
{
    static const char *const names[] = {"healthy", "degraded", "unhealthy", "disabled"};
    return names[status];
}

aic_status probes_create(const struct probe_options *options, struct probes **out)
{
    struct probes *made = mem_zalloc(options->mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    made->options = *options;
    if (made->options.interval_ms == 0) made->options.interval_ms = 5000;
    if (made->options.deadline_ms == 0) made->options.deadline_ms = 2000;
    if (made->options.retries == 0) made->options.retries = 2;
    if (made->options.retries == UINT_MAX) made->options.retries = 0;
    if (made->options.backoff_seconds == 0) made->options.backoff_seconds = 0.1;
    if (made->options.backoff_seconds < 0) made->options.backoff_seconds = 0;
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&made->stop, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    *out = made;
    return AIC_OK;
}

void probes_destroy(struct probes **probes)
{
    struct probes *h = *probes;
    if (h == NULL) return;
    pthread_mutex_lock(&h->mutex);
    h->stopping = true;
    pthread_cond_broadcast(&h->stop);
    pthread_mutex_unlock(&h->mutex);
    for (size_t i = 0; i < h->count; i++)
        if (h->parts[i].started) pthread_join(h->parts[i].thread, NULL);
    pthread_cond_destroy(&h->stop);
    pthread_mutex_destroy(&h->mutex);
    mem_free(h->options.mem, MEM_MONITOR, h, sizeof *h);
    *probes = NULL;
}

static struct part *find(struct probes *probes, const char *name)
{
    for (size_t i = 0; i < probes->count; i++)
        if (strcmp(probes->parts[i].name, name) == 0) return &probes->parts[i];
    return NULL;
}

static aic_status add(struct probes *probes, const char *name, probe_check_fn *check, void *context)
{
    if (name == NULL || name[0] == '\0' || strlen(name) >= NAME_BYTES) return AIC_INVALID;
    pthread_mutex_lock(&probes->mutex);
    struct part *part = find(probes, name);
    bool room = part != NULL || probes->count < MAX_PARTS;
    if (part == NULL && room) part = &probes->parts[probes->count++];
    if (room) {
        *part = (struct part){.probes = probes, .check = check, .context = context};
        part->healthy_ns = clock_mono_ns(probes->options.clock);
        snprintf(part->name, sizeof part->name, "%s", name);
    }
    pthread_mutex_unlock(&probes->mutex);
    return room ? AIC_OK : AIC_FULL;
}

aic_status probes_register(struct probes *probes, const char *name, probe_check_fn *check, void *context)
{
    return check != NULL ? add(probes, name, check, context) : AIC_INVALID;
}

aic_status probes_register_disabled(struct probes *probes, const char *name)
{
    return add(probes, name, NULL, NULL);
}

/* --------------------------------------------------------------------------------------------------------- run -- */

/* Waits on the stop condition, so that destroying never waits for a pause. true: stopping. */
static bool wait_or_stop(struct probes *probes, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)(seconds * 1e9);
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&probes->mutex);
    while (!probes->stopping && pthread_cond_timedwait(&probes->stop, &probes->mutex, &until) != ETIMEDOUT) {
    }
    bool stopping = probes->stopping;
    pthread_mutex_unlock(&probes->mutex);
    return stopping;
}

static bool pause_before_retry(struct probes *probes, double seconds)
{
    if (probes->options.pause == NULL) return !wait_or_stop(probes, seconds);
    probes->options.pause(probes->options.pause_context, seconds);
    return true;
}

/* The check with its retries. Returns how long the longest try took. */
static uint64_t try_check(struct part *part, struct probe_result *result)
{
    struct probes *probes = part->probes;
    double backoff = probes->options.backoff_seconds;
    uint64_t longest = 0;
    for (unsigned attempt = 0;; attempt++) {
        *result = (struct probe_result){.status = PROBE_HEALTHY};
        uint64_t start = clock_mono_ns(probes->options.clock);
        aic_status status = part->check(part->context, result);
        uint64_t took = clock_mono_ns(probes->options.clock) - start;
        if (took > longest) longest = took;
        if (status == AIC_OK) return longest;
        if (result->status == PROBE_HEALTHY) result->status = PROBE_UNHEALTHY;
        if (result->details[0] == '\0')
            snprintf(result->details, sizeof result->details, "%s", aic_status_text(status));
        if (attempt == probes->options.retries || !pause_before_retry(probes, backoff)) return longest;
        backoff *= 2;
    }
}

/* A failure keeps its words behind those of the time-out; of an answer that came too late nothing is left to say. */
static void time_out(const struct probes *probes, double response_ms, struct probe_result *result)
{
    char error[PROBE_DETAILS_BYTES] = "";
    if (result->status != PROBE_HEALTHY) memcpy(error, result->details, sizeof error);
    result->status = PROBE_DEGRADED;
    int size = snprintf(result->details, sizeof result->details, "timed out: took %.0f ms, allowed are %llu ms",
                        response_ms, (unsigned long long)probes->options.deadline_ms);
    if (error[0] == '\0' || size < 0 || (size_t)size >= sizeof result->details) return;
    snprintf(result->details + size, sizeof result->details - (size_t)size, "; %s", error);
}

static void run(struct part *part)
{
    struct probes *probes = part->probes;
    uint64_t start = clock_mono_ns(probes->options.clock);
    pthread_mutex_lock(&probes->mutex);
    part->running_since_ns = start > 0 ? start : 1;
    pthread_mutex_unlock(&probes->mutex);
    struct past past;
    uint64_t longest = try_check(part, &past.result);
    uint64_t end = clock_mono_ns(probes->options.clock);
    past.checked_ms = clock_wall_ms(probes->options.clock);
    past.response_ms = (double)(end - start) / 1e6;
    /* Tries that failed in time are an error, however long the pauses between them were. */
    uint64_t counted = past.result.status == PROBE_UNHEALTHY ? longest : end - start;
    if (counted > probes->options.deadline_ms * 1000000) time_out(probes, past.response_ms, &past.result);
    pthread_mutex_lock(&probes->mutex);
    part->running_since_ns = 0;
    if (past.result.status == PROBE_HEALTHY) part->healthy_ns = end;
    part->past[part->runs++ % HISTORY_KEPT] = past;
    pthread_mutex_unlock(&probes->mutex);
}

static void *run_always(void *context)
{
    struct part *part = context;
    do run(part);
    while (!wait_or_stop(part->probes, (double)part->probes->options.interval_ms / 1000));
    return NULL;
}

aic_status probes_start(struct probes *probes)
{
    for (size_t i = 0; i < probes->count; i++) {
        struct part *part = &probes->parts[i];
        if (part->check == NULL || part->started) continue;
        if (pthread_create(&part->thread, NULL, run_always, part) != 0) return AIC_NO_MEMORY;
        part->started = true;
    }
    return AIC_OK;
}

aic_status probes_run(struct probes *probes, const char *name)
{
    pthread_mutex_lock(&probes->mutex);
    struct part *part = find(probes, name);
    pthread_mutex_unlock(&probes->mutex);
    if (part == NULL) return AIC_NOT_FOUND;
    if (part->check != NULL) run(part);
    return AIC_OK;
}

/* ------------------------------------------------------------------------------------------------------ report -- */

static void describe(const struct part *part, struct probe_report *out)
{
    const struct probe_options *options = &part->probes->options;
    *out = (struct probe_report){.status = PROBE_DISABLED};
    if (part->check == NULL) {
        snprintf(out->details, sizeof out->details, "not configured");
        return;
    }
    out->status = PROBE_HEALTHY;
    snprintf(out->details, sizeof out->details, "not checked yet");
    if (part->runs > 0) {
        const struct past *last = &part->past[(part->runs - 1) % HISTORY_KEPT];
        out->status = last->result.status;
        out->response_ms = last->response_ms;
        out->checked_ms = last->checked_ms;
        memcpy(out->details, last->result.details, sizeof out->details);
    }
    uint64_t now = clock_mono_ns(options->clock);
    if (part->running_since_ns > 0 && now > part->running_since_ns + options->deadline_ms * 1000000) {
        if (out->status == PROBE_HEALTHY) out->status = PROBE_DEGRADED;
        char before[PROBE_DETAILS_BYTES] = "";
        if (part->runs > 0 && out->status == PROBE_UNHEALTHY) memcpy(before, out->details, sizeof before);
        int size = snprintf(out->details, sizeof out->details, "timed out: no answer for %llu ms",
                            (unsigned long long)((now - part->running_since_ns) / 1000000));
        if (before[0] != '\0' && size > 0)
            snprintf(out->details + size, sizeof out->details - (size_t)size, "; before: %s", before);
    }
    if (out->status != PROBE_HEALTHY && now > part->healthy_ns)
        out->down_seconds = (double)(now - part->healthy_ns) / 1e9;
}

aic_status probes_get(struct probes *probes, const char *name, struct probe_report *out)
{
    pthread_mutex_lock(&probes->mutex);
    const struct part *part = find(probes, name);
    if (part != NULL) describe(part, out);
    pthread_mutex_unlock(&probes->mutex);
    return part != NULL ? AIC_OK : AIC_NOT_FOUND;
}

void probes_each(struct probes *probes, probe_visit_fn *visit, void *context)
{
    for (size_t i = 0; i < probes->count; i++) {
        struct probe_report report;
        pthread_mutex_lock(&probes->mutex);
        describe(&probes->parts[i], &report);
        pthread_mutex_unlock(&probes->mutex);
        visit(context, probes->parts[i].name, &report);
    }
}

static void write_past(const struct past *past, struct json_writer *out)
{
    json_open(out, '{');
    put_time(out, "timestamp", past->checked_ms);
    put_text(out, "status", probe_status_name(past->result.status));
    put_text(out, "details", past->result.details);
    put_number(out, "response_time_ms", past->response_ms);
    json_close(out, '}');
}

aic_status probes_write_history(struct probes *probes, const char *name, struct json_writer *out)
{
    pthread_mutex_lock(&probes->mutex);
    const struct part *part = find(probes, name);
    if (part != NULL) {
        json_open(out, '{');
        put_text(out, "part", part->name);
        json_key(out, "history");
        json_open(out, '[');
        size_t kept = part->runs < HISTORY_KEPT ? part->runs : HISTORY_KEPT;
        for (size_t i = 0; i < kept; i++) write_past(&part->past[(part->runs - 1 - i) % HISTORY_KEPT], out);
        json_close(out, ']');
        json_close(out, '}');
    }
    pthread_mutex_unlock(&probes->mutex);
    return part != NULL ? AIC_OK : AIC_NOT_FOUND;
}
