#include "observe/alerts.h"

#include "base/check.h"
#include "observe/fields.h"

#include <stdio.h>
#include <string.h>

#define ALERTS_KEPT 100
#define LOOKUPS_NEEDED 50
#define QUIET_MS 300000
#define POOR_HIT_RATE 50.0
#define GOOD_HIT_RATE 55.0
#define DOWN_SECONDS 60
#define RATE_SPAN_NS 300000000000ULL /* the lookups of so long count */
#define RATE_STEP_NS 10000000000ULL  /* between two looks that are kept */
#define RATE_LOOKS (RATE_SPAN_NS / RATE_STEP_NS + 2)

/* What was counted up to a moment. */
struct rate_look {
    uint64_t time_ns, hits, misses;
};

struct alerts {
    struct mem *mem;
    const aic_clock *clock;
    alert_notify_fn *notify;
    void *context;
    pthread_mutex_t mutex;          /* guards all below */
    struct alert kept[ALERTS_KEPT]; /* in the order of their opening */
    size_t count;
    uint64_t total, resolved;
    struct rate_look looks[RATE_LOOKS]; /* the oldest first; of the thread that watches the hit rate, as the count */
    size_t look_count;
};

const char *alert_severity_name(enum alert_severity severity)
{
    static const char *const names[] = {"medium", "high", "critical"};
    static_assert(COUNT_OF(names) == ALERT_SEVERITIES, "each severity has its name");
    CHECK(severity < ALERT_SEVERITIES);
    return names[severity];
}

aic_status alerts_create(struct mem *mem, const aic_clock *clock, alert_notify_fn *notify, void *context,
                         struct alerts **out)
{
    struct alerts *made = mem_zalloc(mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    *made = (struct alerts){.mem = mem, .clock = clock, .notify = notify, .context = context};
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

void alerts_destroy(struct alerts **alerts)
{
    if (*alerts == NULL) return;
    pthread_mutex_destroy(&(*alerts)->mutex);
    mem_free((*alerts)->mem, MEM_MONITOR, *alerts, sizeof **alerts);
    *alerts = NULL;
}

bool alert_is(struct alert_key one, struct alert_key other)
{
    bool same_part = one.part == other.part ||
                     (one.part != NULL && other.part != NULL && strcmp(one.part, other.part) == 0);
    return one.cause == other.cause && same_part;
}

void alert_id(struct alert_key key, char out[ALERT_ID_BYTES])
{
    static const char *const ids[ALERT_CAUSES] = {
#define ALERT_CAUSE_ID(name, id) [ALERT_OF_##name] = id,
        ALERT_CAUSE_MAP(ALERT_CAUSE_ID)
#undef ALERT_CAUSE_ID
    };
    CHECK(key.cause > ALERT_OF_NOTHING && key.cause < ALERT_CAUSES);
    snprintf(out, ALERT_ID_BYTES, "%s%s%s", ids[key.cause], key.part != NULL ? ":" : "",
             key.part != NULL ? key.part : "");
}

/* The newest alert of this key, open or not. */
static struct alert *find(struct alerts *alerts, struct alert_key key)
{
    for (size_t i = alerts->count; i > 0; i--)
        if (alert_is(alerts->kept[i - 1].key, key)) return &alerts->kept[i - 1];
    return NULL;
}

/* Drops the oldest resolved alert, or the oldest of all when every one is open. */
static void make_room(struct alerts *alerts)
{
    if (alerts->count < ALERTS_KEPT) return;
    size_t victim = 0;
    while (victim < alerts->count && alerts->kept[victim].resolved_ms == 0) victim++;
    if (victim == alerts->count) victim = 0;
    memmove(&alerts->kept[victim], &alerts->kept[victim + 1], (alerts->count - victim - 1) * sizeof alerts->kept[0]);
    alerts->count--;
}

static struct alert *open_alert(struct alerts *alerts, struct alert_key key, enum alert_severity severity, uint64_t now)
{
    make_room(alerts);
    CHECK(alerts->count < ALERTS_KEPT);
    struct alert *alert = &alerts->kept[alerts->count++];
    *alert = (struct alert){.key = key, .severity = severity, .opened_ms = now};
    alerts->total++;
    return alert;
}

/* What is seen now, of an open alert: one that was worse stays as bad as it was. */
static void see(struct alert *alert, enum alert_severity severity, const char *message, uint64_t now)
{
    CHECK(alert->resolved_ms == 0);
    if (severity < alert->severity) return;
    alert->escalations += severity > alert->severity;
    alert->severity = severity;
    alert->changed_ms = now;
    snprintf(alert->message, sizeof alert->message, "%s", message);
}

/* Is there something to tell now? Then it counts as told. */
static bool must_tell(struct alert *alert, uint64_t quiet_ms, uint64_t now)
{
    bool opened = alert->told_ms == 0;
    if (!opened && (alert->severity <= alert->told_severity || now - alert->told_ms < quiet_ms)) return false;
    alert->told_ms = now;
    alert->told_severity = alert->severity;
    return true;
}

bool alerts_trigger(struct alerts *alerts, struct alert_key key, enum alert_severity severity, uint64_t quiet_ms,
                    const char *message)
{
    CHECK(severity < ALERT_SEVERITIES && (key.cause == ALERT_OF_DOWN) == (key.part != NULL));
    uint64_t now = clock_wall_ms(alerts->clock);
    pthread_mutex_lock(&alerts->mutex);
    struct alert *alert = find(alerts, key);
    bool open = alert != NULL && alert->resolved_ms == 0;
    bool quiet = alert != NULL && !open && now - alert->resolved_ms < quiet_ms;
    bool tell = false;
    struct alert copy;
    if (!quiet) {
        if (!open) alert = open_alert(alerts, key, severity, now);
        see(alert, severity, message, now);
        tell = must_tell(alert, quiet_ms, now);
        copy = *alert;
    }
    pthread_mutex_unlock(&alerts->mutex);
    if (tell && alerts->notify != NULL) alerts->notify(alerts->context, &copy);
    return !quiet;
}

bool alerts_resolve(struct alerts *alerts, struct alert_key key, const char *message)
{
    struct alert copy;
    pthread_mutex_lock(&alerts->mutex);
    struct alert *alert = find(alerts, key);
    bool known = alert != NULL, open = known && alert->resolved_ms == 0;
    if (open) {
        alert->resolved_ms = clock_wall_ms(alerts->clock);
        alerts->resolved++;
        copy = *alert; /* the list keeps what the alert was about */
        snprintf(copy.message, sizeof copy.message, "%s", message);
    }
    pthread_mutex_unlock(&alerts->mutex);
    if (open && alerts->notify != NULL) alerts->notify(alerts->context, &copy);
    return known;
}

void alerts_count_open(struct alerts *alerts, uint64_t counts[ALERT_SEVERITIES])
{
    memset(counts, 0, ALERT_SEVERITIES * sizeof counts[0]);
    pthread_mutex_lock(&alerts->mutex);
    for (size_t i = 0; i < alerts->count; i++)
        if (alerts->kept[i].resolved_ms == 0) counts[alerts->kept[i].severity]++;
    pthread_mutex_unlock(&alerts->mutex);
}

size_t alerts_read_open(struct alerts *alerts, struct alert *out, size_t most)
{
    size_t count = 0;
    pthread_mutex_lock(&alerts->mutex);
    for (size_t i = alerts->count; i > 0 && count < most; i--)
        if (alerts->kept[i - 1].resolved_ms == 0) out[count++] = alerts->kept[i - 1];
    pthread_mutex_unlock(&alerts->mutex);
    return count;
}

uint64_t alerts_open_count(struct alerts *alerts)
{
    uint64_t counts[ALERT_SEVERITIES], sum = 0;
    alerts_count_open(alerts, counts);
    for (unsigned severity = 0; severity < ALERT_SEVERITIES; severity++) sum += counts[severity];
    return sum;
}

static void write_alert(const struct alert *alert, struct json_writer *out)
{
    char id[ALERT_ID_BYTES];
    alert_id(alert->key, id);
    json_open(out, '{');
    put_text(out, "id", id);
    put_text(out, "severity", alert_severity_name(alert->severity));
    put_text(out, "message", alert->message);
    put_time(out, "opened", alert->opened_ms);
    put_time(out, "changed", alert->changed_ms);
    put_count(out, "escalations", alert->escalations);
    if (alert->resolved_ms > 0) put_time(out, "resolved", alert->resolved_ms);
    json_close(out, '}');
}

static void write_list(const struct alerts *alerts, const char *name, bool open, struct json_writer *out)
{
    json_key(out, name);
    json_open(out, '[');
    for (size_t i = alerts->count; i > 0; i--) {
        const struct alert *alert = &alerts->kept[i - 1];
        if ((alert->resolved_ms == 0) == open) write_alert(alert, out);
    }
    json_close(out, ']');
}

void alerts_write(struct alerts *alerts, struct json_writer *out)
{
    pthread_mutex_lock(&alerts->mutex);
    json_open(out, '{');
    write_list(alerts, "active", true, out);
    write_list(alerts, "past", false, out);
    put_count(out, "total_alerts", alerts->total);
    put_count(out, "resolved_alerts", alerts->resolved);
    json_close(out, '}');
    pthread_mutex_unlock(&alerts->mutex);
}

/* ------------------------------------------------------------------------------------------------------- rules -- */

enum alert_severity alert_of_downtime(double seconds)
{
    if (seconds >= 900) return ALERT_CRITICAL;
    return seconds >= 300 ? ALERT_HIGH : ALERT_MEDIUM;
}

enum alert_severity alert_of_hit_rate(double percent)
{
    if (percent < 10) return ALERT_CRITICAL;
    return percent < 30 ? ALERT_HIGH : ALERT_MEDIUM;
}

/* Keeps a look every ten seconds, and gives the one from which the last five minutes are counted. */
static struct rate_look look_back(struct alerts *alerts, struct rate_look now)
{
    struct rate_look *looks = alerts->looks;
    /* Counters that went back were reset: the minutes begin anew, with all that was counted since. */
    if (alerts->look_count > 0 &&
        (now.hits < looks[alerts->look_count - 1].hits || now.misses < looks[alerts->look_count - 1].misses)) {
        looks[0] = (struct rate_look){.time_ns = now.time_ns};
        alerts->look_count = 1;
    }
    while (alerts->look_count > 1 && now.time_ns - looks[1].time_ns >= RATE_SPAN_NS)
        memmove(looks, looks + 1, --alerts->look_count * sizeof looks[0]);
    if (alerts->look_count == 0 || now.time_ns - looks[alerts->look_count - 1].time_ns >= RATE_STEP_NS) {
        CHECK(alerts->look_count < RATE_LOOKS);
        looks[alerts->look_count++] = now;
    }
    return looks[0];
}

void alerts_watch_hit_rate(struct alerts *alerts, uint64_t hits, uint64_t misses, bool cold)
{
    static const struct alert_key key = {.cause = ALERT_OF_HIT_RATE};
    if (cold) {
        alerts->look_count = 0;
        return;
    }
    struct rate_look now = {clock_mono_ns(alerts->clock), hits, misses}, then = look_back(alerts, now);
    uint64_t new_hits = hits - then.hits, new_lookups = new_hits + misses - then.misses;
    if (new_lookups < LOOKUPS_NEEDED) return;
    double percent = (double)new_hits / (double)new_lookups * 100;
    bool poor = percent < POOR_HIT_RATE;
    char message[160];
    snprintf(message, sizeof message, "%s%.1f%% of the last %llu lookups were hits.", poor ? "Only " : "", percent,
             (unsigned long long)new_lookups);
    if (percent >= GOOD_HIT_RATE) alerts_resolve(alerts, key, message);
    if (poor) alerts_trigger(alerts, key, alert_of_hit_rate(percent), QUIET_MS, message);
}

void alerts_watch_pressure(struct alerts *alerts, const struct pressure_figures *now)
{
    static const struct alert_key key = {.cause = ALERT_OF_PRESSURE};
    double medium = now->warning_percent > PRESSURE_USUAL_WARNING ? now->warning_percent : PRESSURE_USUAL_WARNING;
    double critical = now->critical_percent > 95 ? now->critical_percent : 95;
    char message[128];
    snprintf(message, sizeof message, "Memory is at %.1f%% of its limit.", now->percent);
    if (now->percent <= medium - PRESSURE_LEAVE_POINTS) alerts_resolve(alerts, key, message);
    if (now->percent < medium) return;
    enum alert_severity severity = now->percent >= critical ? ALERT_CRITICAL
                                   : now->percent >= 85     ? ALERT_HIGH
                                                            : ALERT_MEDIUM;
    alerts_trigger(alerts, key, severity, 0, message);
}

void alerts_watch_part(struct alerts *alerts, const char *part, const char *state, double down_seconds)
{
    struct alert_key key = {.cause = ALERT_OF_DOWN, .part = part};
    char message[160];
    if (down_seconds <= 0) {
        snprintf(message, sizeof message, "%s is up again.", part);
        alerts_resolve(alerts, key, message);
        return;
    }
    if (down_seconds < DOWN_SECONDS) return;
    snprintf(message, sizeof message, "%s has been %s for %.0f seconds.", part, state, down_seconds);
    alerts_trigger(alerts, key, alert_of_downtime(down_seconds), 0, message);
}
