#include "observe/pressure.h"

#include "base/check.h"
#include "base/status.h"
#include "observe/fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_MS 1800000ULL /* figures over half an hour */
#define SAMPLES 1800
#define ACTIONS_KEPT 20
#define CALM_NS 30000000000ULL /* normal for so long before the tier grows back */
#define TREND_SAMPLES 10
#define STABLE_POINTS 1.0

struct sample {
    uint64_t time_ms;
    double percent;
};

struct action {
    uint64_t time_ms;
    char text[128];
};

struct pressure {
    struct pressure_options options;
    pthread_mutex_t mutex; /* guards all below; taken under no other lock of the monitor */
    enum pressure_state state;
    uint64_t since_ms, calm_ns;
    uint64_t cache_max_bytes; /* configured */
    uint64_t cache_limit;     /* in force */
    uint64_t transitions[3];  /* into each state */
    struct sample samples[SAMPLES];
    size_t first, count;
    struct action actions[ACTIONS_KEPT];
    size_t action_count; /* ever */
    struct host_memory host;
    struct host_psi psi;
};
static_assert(COUNT_OF(((struct pressure *)NULL)->transitions) == PRESSURE_CRITICAL + 1, "each state is counted");

const char *pressure_state_name(enum pressure_state state)
{
    static const char *const names[] = {"normal", "warning", "critical"};
    static_assert(COUNT_OF(names) == PRESSURE_CRITICAL + 1, "each state has its name");
    CHECK((size_t)state < COUNT_OF(names));
    return names[state];
}

aic_status pressure_create(const struct pressure_options *options, struct pressure **out, aic_error *error)
{
    struct pressure_options filled = *options;
    if (filled.warning_percent == 0) filled.warning_percent = PRESSURE_USUAL_WARNING;
    if (filled.critical_percent == 0) filled.critical_percent = PRESSURE_USUAL_CRITICAL;
    if (!(filled.warning_percent > 0 && filled.warning_percent < filled.critical_percent &&
          filled.critical_percent <= 100))
        return error_set(error, AIC_INVALID, "pressure",
                         "warning and critical are percent: 0 < warning < critical <= 100");
    struct pressure *made = mem_zalloc(options->mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the pressure monitor");
    made->options = filled;
    made->cache_max_bytes = made->cache_limit = filled.cache_max_bytes;
    made->since_ms = clock_wall_ms(filled.clock);
    made->calm_ns = clock_mono_ns(filled.clock);
    host_memory_read(filled.root, &made->host);
    host_psi_read(filled.root, &made->psi);
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

void pressure_destroy(struct pressure **pressure)
{
    if (*pressure == NULL) return;
    pthread_mutex_destroy(&(*pressure)->mutex);
    mem_free((*pressure)->options.mem, MEM_MONITOR, *pressure, sizeof **pressure);
    *pressure = NULL;
}

/* ------------------------------------------------------------------------------------------------------- state -- */

static enum pressure_state next_state(const struct pressure *p, double percent, bool stalled)
{
    double warning = p->options.warning_percent, critical = p->options.critical_percent;
    if (percent >= critical) return PRESSURE_CRITICAL;
    if (p->state == PRESSURE_CRITICAL && percent > critical - PRESSURE_LEAVE_POINTS) return PRESSURE_CRITICAL;
    if (percent >= warning || stalled) return PRESSURE_WARNING;
    if (p->state != PRESSURE_NORMAL && percent > warning - PRESSURE_LEAVE_POINTS) return PRESSURE_WARNING;
    return PRESSURE_NORMAL;
}

static void remember(struct pressure *p, double percent)
{
    size_t at = (p->first + p->count) % SAMPLES;
    if (p->count == SAMPLES) p->first = (p->first + 1) % SAMPLES;
    else p->count++;
    p->samples[at] = (struct sample){clock_wall_ms(p->options.clock), percent};
}

/* What was decided under the lock and is done outside it. */
struct plan {
    bool entered;       /* a state was entered upwards */
    uint64_t resize_to; /* 0: leave it */
};

/*
 * Down by the excess over the point where the state is left, but never below a fifth of the configured size. A stall
 * without an excess (somebody else's, perhaps) only takes a twentieth off the limit.
 */
static uint64_t shrink_target(const struct pressure *p, double percent, uint64_t limit_bytes, uint64_t cache_bytes)
{
    double threshold = p->state == PRESSURE_CRITICAL ? p->options.critical_percent : p->options.warning_percent;
    double excess = (percent - (threshold - PRESSURE_LEAVE_POINTS)) / 100 * (double)limit_bytes;
    uint64_t least = p->cache_max_bytes / PRESSURE_FLOOR_DIVISOR;
    uint64_t from = excess > 0 ? cache_bytes : p->cache_limit;
    uint64_t give = excess > 0 ? (uint64_t)excess : p->cache_max_bytes / PRESSURE_STEP_DIVISOR;
    uint64_t target = from > give ? from - give : 0;
    return target < least ? least : target;
}

static struct plan decide(struct pressure *p, double percent, uint64_t limit_bytes, bool stalled, uint64_t cache_bytes)
{
    struct plan plan = {0};
    uint64_t now_ns = clock_mono_ns(p->options.clock);
    enum pressure_state before = p->state;
    p->state = next_state(p, percent, stalled);
    remember(p, percent);
    if (p->state != before) {
        p->since_ms = clock_wall_ms(p->options.clock);
        p->transitions[p->state]++;
    }
    if (p->state != PRESSURE_NORMAL) p->calm_ns = now_ns;
    plan.entered = p->state > before;
    if (plan.entered && p->cache_max_bytes > 0) {
        plan.resize_to = shrink_target(p, percent, limit_bytes, cache_bytes);
        if (plan.resize_to >= p->cache_limit) plan.resize_to = 0;
    } else if (p->state == PRESSURE_NORMAL && p->cache_limit < p->cache_max_bytes && now_ns - p->calm_ns >= CALM_NS) {
        uint64_t grown = p->cache_limit + p->cache_max_bytes / PRESSURE_STEP_DIVISOR + 1;
        plan.resize_to = grown < p->cache_max_bytes ? grown : p->cache_max_bytes;
    }
    if (plan.resize_to > 0) p->cache_limit = plan.resize_to;
    CHECK(p->cache_limit <= p->cache_max_bytes);
    return plan;
}

static void note(struct pressure *p, aic_log_level level, const char *text)
{
    pthread_mutex_lock(&p->mutex);
    struct action *action = &p->actions[p->action_count++ % ACTIONS_KEPT];
    action->time_ms = clock_wall_ms(p->options.clock);
    snprintf(action->text, sizeof action->text, "%s", text);
    pthread_mutex_unlock(&p->mutex);
    if (p->options.actions.log != NULL) p->options.actions.log(p->options.actions.context, level, text);
}

static void carry_out(struct pressure *p, const struct plan *plan, enum pressure_state state, double percent)
{
    const struct pressure_actions *do_ = &p->options.actions;
    char text[128];
    if (plan->entered) {
        snprintf(text, sizeof text, "memory pressure %s: %.1f%% of the limit", pressure_state_name(state), percent);
        note(p, state == PRESSURE_CRITICAL ? AIC_LOG_ERROR : AIC_LOG_WARNING, text);
    }
    if (plan->resize_to > 0 && do_->resize_cache != NULL) {
        do_->resize_cache(do_->context, plan->resize_to);
        snprintf(text, sizeof text, "memory tier %s %" PRIu64 " bytes", plan->entered ? "limited to" : "grown back to",
                 plan->resize_to);
        note(p, AIC_LOG_INFO, text);
    }
    if (plan->entered && do_->empty_pools != NULL) {
        snprintf(text, sizeof text, "free lists emptied: %zu bytes", do_->empty_pools(do_->context));
        note(p, AIC_LOG_INFO, text);
    }
    if (plan->entered && do_->purge_allocator != NULL) {
        do_->purge_allocator(do_->context);
        note(p, AIC_LOG_INFO, "allocator purged");
    }
}

enum pressure_state pressure_observe(struct pressure *p, double percent, uint64_t limit_bytes, bool stalled)
{
    const struct pressure_actions *actions = &p->options.actions;
    uint64_t cache_bytes = actions->cache_bytes != NULL ? actions->cache_bytes(actions->context) : 0;
    pthread_mutex_lock(&p->mutex);
    struct plan plan = decide(p, percent, limit_bytes, stalled, cache_bytes);
    enum pressure_state state = p->state;
    pthread_mutex_unlock(&p->mutex);
    carry_out(p, &plan, state, percent);
    return state;
}

void pressure_tick(struct pressure *p, const struct host_memory *host, bool stalled)
{
    struct host_memory now;
    struct host_psi psi;
    if (host != NULL) now = *host;
    else host_memory_read(p->options.root, &now);
    host_psi_read(p->options.root, &psi);
    pthread_mutex_lock(&p->mutex);
    p->host = now;
    p->psi = psi;
    pthread_mutex_unlock(&p->mutex);
    pressure_observe(p, host_pressure(&now), host_limit(&now), stalled);
}

enum pressure_state pressure_state(struct pressure *p)
{
    pthread_mutex_lock(&p->mutex);
    enum pressure_state state = p->state;
    pthread_mutex_unlock(&p->mutex);
    return state;
}

void pressure_read(struct pressure *p, struct pressure_figures *out)
{
    pthread_mutex_lock(&p->mutex);
    *out = (struct pressure_figures){.state = p->state,
                                     .since_ms = p->since_ms,
                                     .warning_percent = p->options.warning_percent,
                                     .critical_percent = p->options.critical_percent,
                                     .cache_limit = p->cache_limit,
                                     .cache_max_bytes = p->cache_max_bytes,
                                     .psi = p->psi,
                                     .limit_bytes = host_limit(&p->host),
                                     .cgroup_version = p->host.in_cgroup ? p->host.cgroup_version : 0};
    if (p->count > 0) out->percent = p->samples[(p->first + p->count - 1) % SAMPLES].percent;
    pthread_mutex_unlock(&p->mutex);
}

void pressure_set_cache_limit(struct pressure *p, uint64_t cache_max_bytes)
{
    pthread_mutex_lock(&p->mutex);
    p->cache_max_bytes = p->cache_limit = cache_max_bytes;
    pthread_mutex_unlock(&p->mutex);
}

/* ------------------------------------------------------------------------------------------------------ report -- */

static const struct sample *at(const struct pressure *p, size_t index)
{
    return &p->samples[(p->first + index) % SAMPLES];
}

/* Samples older than the window are still in the ring when ticks were rare. */
static size_t first_in_window(const struct pressure *p)
{
    uint64_t now = clock_wall_ms(p->options.clock);
    size_t index = 0;
    while (index < p->count && now > at(p, index)->time_ms && now - at(p, index)->time_ms > WINDOW_MS) index++;
    return index;
}

static double mean(const struct pressure *p, size_t from, size_t until)
{
    double sum = 0;
    for (size_t i = from; i < until; i++) sum += at(p, i)->percent;
    return until > from ? sum / (double)(until - from) : 0;
}

/* Mean of the last ten minus mean of the first ten; with fewer, last minus first. */
static const char *trend(const struct pressure *p, size_t from)
{
    size_t count = p->count - from;
    if (count < 2) return "insufficient_data";
    size_t width = count >= TREND_SAMPLES ? TREND_SAMPLES : 1;
    double change = mean(p, p->count - width, p->count) - mean(p, from, from + width);
    if (change < STABLE_POINTS && change > -STABLE_POINTS) return "stable";
    return change > 0 ? "increasing" : "decreasing";
}

static void write_psi(const struct host_psi *psi, struct json_writer *out)
{
    json_key(out, "psi");
    json_open(out, '{');
    put_flag(out, "available", psi->available);
    put_number(out, "some_avg10", psi->some_avg10);
    put_number(out, "some_avg60", psi->some_avg60);
    put_number(out, "some_avg300", psi->some_avg300);
    put_count(out, "some_total_us", psi->some_total_us);
    put_number(out, "full_avg10", psi->full_avg10);
    put_number(out, "full_avg60", psi->full_avg60);
    put_number(out, "full_avg300", psi->full_avg300);
    put_count(out, "full_total_us", psi->full_total_us);
    json_close(out, '}');
}

static void write_host(const struct host_memory *host, struct json_writer *out)
{
    json_key(out, "cgroup");
    json_open(out, '{');
    put_flag(out, "limited", host->in_cgroup);
    put_count(out, "version", host->cgroup_version);
    put_text(out, "path", host->cgroup_path);
    put_count(out, "limit_bytes", host->cgroup_limit_bytes);
    put_count(out, "usage_bytes", host->cgroup_usage_bytes);
    put_count(out, "working_set_bytes", host->cgroup_working_bytes);
    json_close(out, '}');
    json_key(out, "machine");
    json_open(out, '{');
    put_count(out, "total_bytes", host->total_bytes);
    put_count(out, "available_bytes", host->available_bytes);
    json_close(out, '}');
}

static void write_actions(const struct pressure *p, struct json_writer *out)
{
    json_key(out, "actions");
    json_open(out, '[');
    size_t kept = p->action_count < ACTIONS_KEPT ? p->action_count : ACTIONS_KEPT;
    for (size_t i = p->action_count - kept; i < p->action_count; i++) {
        const struct action *action = &p->actions[i % ACTIONS_KEPT];
        json_open(out, '{');
        put_time(out, "timestamp", action->time_ms);
        put_text(out, "action", action->text);
        json_close(out, '}');
    }
    json_close(out, ']');
}

void pressure_write(struct pressure *p, struct json_writer *out)
{
    pthread_mutex_lock(&p->mutex);
    size_t from = first_in_window(p);
    double peak = 0;
    for (size_t i = from; i < p->count; i++)
        if (at(p, i)->percent > peak) peak = at(p, i)->percent;
    json_open(out, '{');
    put_text(out, "current_state", pressure_state_name(p->state));
    put_time(out, "since", p->since_ms);
    put_number(out, "current_pressure", p->count > 0 ? at(p, p->count - 1)->percent : 0);
    put_number(out, "avg_pressure_30m", mean(p, from, p->count));
    put_number(out, "peak_pressure_30m", peak);
    put_text(out, "pressure_trends", trend(p, from));
    put_number(out, "warning_percent", p->options.warning_percent);
    put_number(out, "critical_percent", p->options.critical_percent);
    put_count(out, "memory_tier_limit_bytes", p->cache_limit);
    put_count(out, "memory_tier_configured_bytes", p->cache_max_bytes);
    put_count(out, "entered_warning", p->transitions[PRESSURE_WARNING]);
    put_count(out, "entered_critical", p->transitions[PRESSURE_CRITICAL]);
    write_psi(&p->psi, out);
    write_host(&p->host, out);
    write_actions(p, out);
    json_close(out, '}');
    pthread_mutex_unlock(&p->mutex);
}
