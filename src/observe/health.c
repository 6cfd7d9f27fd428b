#include "observe/health.h"

#include "base/check.h"
#include "base/view.h"
#include "observe/fields.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 32
#define HISTORY_KEPT 60
#define LOOK_MS 50 /* so often it is looked whether an answer is there */
#define MS_NS 1000000ULL

enum question_state { ASKED, ANSWERED, DROPPED };

/* Whoever comes last, of the one who asked and the one who answers, frees it. */
struct health_question {
    struct mem *mem;
    const aic_clock *clock;
    aic_status answer;
    uint64_t answered_ns;
    _Atomic int state; /* of question_state; acquire-release: who comes second sees all of the first */
};

struct past {
    uint64_t checked_ms;
    double response_ms;
    struct health_result result;
};

struct slot {
    char name[NAME_BYTES];
    health_ask_fn *ask;
    health_judge_fn *judge; /* NULL: not configured */
    /* Of the run under way, by the thread that turns. */
    struct health_question *question; /* NULL: none is open */
    unsigned tries;                   /* begun; 0: no run is under way */
    uint64_t due_ns, try_ns, longest_ns;
    double backoff_seconds;
    /* Guarded by the mutex. */
    uint64_t running_since_ns;      /* 0: no run is under way */
    uint64_t healthy_ns;            /* when it was last seen healthy, or added */
    struct past past[HISTORY_KEPT]; /* a ring */
    size_t runs;
};

struct health {
    struct health_options options;
    pthread_mutex_t mutex; /* guards what slots say it does; taken last */
    struct slot slots[HEALTH_PARTS];
    size_t count;
};

const char *health_status_name(enum health_status status)
{
    static const char *const names[] = {"healthy", "degraded", "unhealthy", "disabled"};
    static_assert(COUNT_OF(names) == HEALTH_DISABLED + 1, "each status has its name");
    CHECK((size_t)status < COUNT_OF(names));
    return names[status];
}

aic_status health_create(const struct health_options *options, struct health **out)
{
    struct health *made = mem_zalloc(options->mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    made->options = *options;
    if (made->options.interval_ms == 0) made->options.interval_ms = 2000;
    if (made->options.deadline_ms == 0) made->options.deadline_ms = 2000;
    if (made->options.retries == 0) made->options.retries = 2;
    if (made->options.retries == UINT_MAX) made->options.retries = 0;
    if (made->options.backoff_seconds == 0) made->options.backoff_seconds = 0.1;
    if (made->options.backoff_seconds < 0) made->options.backoff_seconds = 0;
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

/* ---------------------------------------------------------------------------------------------------- questions -- */

static void free_question(struct health_question *question)
{
    mem_free(question->mem, MEM_MONITOR, question, sizeof *question);
}

/* Lets go of the slot's question, whether it is answered or not. */
static void drop_question(struct slot *slot)
{
    struct health_question *question = slot->question;
    slot->question = NULL;
    if (question == NULL) return;
    if (atomic_exchange_explicit(&question->state, DROPPED, memory_order_acq_rel) == ANSWERED) free_question(question);
}

void health_answer(struct health_question *question, aic_status answer)
{
    question->answer = answer;
    question->answered_ns = clock_mono_ns(question->clock);
    int before = atomic_exchange_explicit(&question->state, ANSWERED, memory_order_acq_rel);
    CHECK(before != ANSWERED);
    if (before == DROPPED) free_question(question);
}

void health_destroy(struct health **health)
{
    struct health *self = *health;
    if (self == NULL) return;
    *health = NULL;
    for (size_t i = 0; i < self->count; i++) drop_question(&self->slots[i]);
    pthread_mutex_destroy(&self->mutex);
    mem_free(self->options.mem, MEM_MONITOR, self, sizeof *self);
}

/* --------------------------------------------------------------------------------------------------------- runs -- */

aic_status health_add(struct health *health, const char *name, health_ask_fn *ask, health_judge_fn *judge)
{
    size_t part;
    if (name == NULL || name[0] == '\0' || strlen(name) >= NAME_BYTES) return AIC_INVALID;
    if (ask != NULL && judge == NULL) return AIC_INVALID;
    if (health_find(health, aic_view_of(name), &part) != AIC_OK) {
        if (health->count == HEALTH_PARTS) return AIC_FULL;
        part = health->count++;
    }
    struct slot *slot = &health->slots[part];
    drop_question(slot);
    *slot = (struct slot){.ask = ask, .judge = judge, .healthy_ns = clock_mono_ns(health->options.clock)};
    snprintf(slot->name, sizeof slot->name, "%s", name);
    return AIC_OK;
}

/* A failure keeps its words behind those of the time-out; of an answer that came too late nothing is left to say. */
static void time_out(const struct health *health, double response_ms, struct health_result *result)
{
    char error[HEALTH_DETAILS_BYTES] = "";
    if (result->status != HEALTH_HEALTHY) memcpy(error, result->details, sizeof error);
    result->status = HEALTH_DEGRADED;
    int size = snprintf(result->details, sizeof result->details, "timed out: took %.0f ms, allowed are %llu ms",
                        response_ms, (unsigned long long)health->options.deadline_ms);
    if (error[0] == '\0' || size < 0 || (size_t)size >= sizeof result->details) return;
    snprintf(result->details + size, sizeof result->details - (size_t)size, "; %s", error);
}

static void end_run(struct health *health, struct slot *slot, uint64_t end_ns, struct health_result *result)
{
    CHECK(slot->question == NULL && slot->tries > 0);
    struct past past = {.checked_ms = clock_wall_ms(health->options.clock),
                        .response_ms = (double)(end_ns - slot->running_since_ns) / 1e6};
    /* Tries that failed in time are an error, however long the pauses between them were. */
    uint64_t counted = result->status == HEALTH_UNHEALTHY ? slot->longest_ns : end_ns - slot->running_since_ns;
    if (counted > health->options.deadline_ms * MS_NS) time_out(health, past.response_ms, result);
    past.result = *result;
    slot->tries = 0;
    slot->due_ns = end_ns + health->options.interval_ms * MS_NS;
    pthread_mutex_lock(&health->mutex);
    slot->running_since_ns = 0;
    if (result->status == HEALTH_HEALTHY) slot->healthy_ns = end_ns;
    slot->past[slot->runs++ % HISTORY_KEPT] = past;
    pthread_mutex_unlock(&health->mutex);
}

/* The try has its answer: the run ends, or is tried again after a pause. */
static void end_try(struct health *health, struct slot *slot, aic_status answer, uint64_t end_ns)
{
    struct health_result result = {.status = HEALTH_HEALTHY};
    CHECK(slot->question == NULL); /* nobody answers this try a second time */
    aic_status status = slot->judge(health->options.context, answer, &result);
    if (slot->ask == NULL) end_ns = clock_mono_ns(health->options.clock); /* to judge was all there was to do */
    if (end_ns - slot->try_ns > slot->longest_ns) slot->longest_ns = end_ns - slot->try_ns;
    if (status != AIC_OK) {
        if (result.status == HEALTH_HEALTHY) result.status = HEALTH_UNHEALTHY;
        if (result.details[0] == '\0') snprintf(result.details, sizeof result.details, "%s", aic_status_text(status));
        if (slot->tries <= health->options.retries) {
            slot->due_ns = end_ns + (uint64_t)(slot->backoff_seconds * 1e9);
            slot->backoff_seconds *= 2;
            return;
        }
    }
    end_run(health, slot, end_ns, &result);
}

static void begin_try(struct health *health, struct slot *slot, uint64_t now_ns)
{
    CHECK(slot->question == NULL && slot->tries <= health->options.retries);
    if (slot->tries++ == 0) {
        slot->longest_ns = 0;
        slot->backoff_seconds = health->options.backoff_seconds;
        pthread_mutex_lock(&health->mutex);
        slot->running_since_ns = now_ns;
        pthread_mutex_unlock(&health->mutex);
    }
    slot->try_ns = now_ns;
    if (slot->ask == NULL) {
        end_try(health, slot, AIC_OK, now_ns);
        return;
    }
    struct health_question *question = mem_zalloc(health->options.mem, MEM_MONITOR, sizeof *question);
    if (question == NULL) {
        end_try(health, slot, AIC_NO_MEMORY, now_ns);
        return;
    }
    question->mem = health->options.mem;
    question->clock = health->options.clock;
    slot->question = question;
    slot->ask(health->options.context, question);
}

/* Is the open try over? Then it ends. */
static void look_for_answer(struct health *health, struct slot *slot, uint64_t now_ns)
{
    struct health_question *question = slot->question;
    bool answered = atomic_load_explicit(&question->state, memory_order_acquire) == ANSWERED;
    if (!answered && now_ns <= slot->try_ns + health->options.deadline_ms * MS_NS) return;
    aic_status answer = answered ? question->answer : AIC_TIMEOUT;
    uint64_t end_ns = answered ? question->answered_ns : now_ns;
    drop_question(slot);
    end_try(health, slot, answer, end_ns);
}

uint64_t health_turn(struct health *health)
{
    uint64_t least_ns = UINT64_MAX;
    for (size_t i = 0; i < health->count; i++) {
        struct slot *slot = &health->slots[i];
        if (slot->judge == NULL) continue;
        uint64_t now_ns = clock_mono_ns(health->options.clock);
        if (slot->question == NULL && now_ns >= slot->due_ns) begin_try(health, slot, now_ns);
        now_ns = clock_mono_ns(health->options.clock); /* an answer may be there by now */
        if (slot->question != NULL) look_for_answer(health, slot, now_ns);
        uint64_t next_ns = slot->question != NULL ? LOOK_MS * MS_NS : slot->due_ns > now_ns ? slot->due_ns - now_ns : 0;
        if (next_ns < least_ns) least_ns = next_ns;
    }
    return least_ns == UINT64_MAX ? health->options.interval_ms : (least_ns + MS_NS - 1) / MS_NS;
}

/* ------------------------------------------------------------------------------------------------------ reports -- */

size_t health_count(const struct health *health)
{
    return health->count;
}

aic_status health_find(const struct health *health, aic_view name, size_t *out)
{
    for (size_t i = 0; i < health->count; i++) {
        if (!view_equal(aic_view_of(health->slots[i].name), name)) continue;
        *out = i;
        return AIC_OK;
    }
    return AIC_NOT_FOUND;
}

/* A run that lasts longer than it may is told of before it has ended. */
static void describe_long_run(const struct health *health, const struct slot *slot, uint64_t now_ns,
                              struct health_report *out)
{
    if (slot->running_since_ns == 0 || now_ns <= slot->running_since_ns + health->options.deadline_ms * MS_NS) return;
    char before[HEALTH_DETAILS_BYTES] = "";
    if (out->status == HEALTH_HEALTHY) out->status = HEALTH_DEGRADED;
    if (slot->runs > 0 && out->status == HEALTH_UNHEALTHY) memcpy(before, out->details, sizeof before);
    int size = snprintf(out->details, sizeof out->details, "timed out: no answer for %llu ms",
                        (unsigned long long)((now_ns - slot->running_since_ns) / MS_NS));
    if (before[0] != '\0' && size > 0)
        snprintf(out->details + size, sizeof out->details - (size_t)size, "; before: %s", before);
}

void health_read(struct health *health, size_t part, struct health_report *out)
{
    CHECK(part < health->count);
    const struct slot *slot = &health->slots[part];
    *out = (struct health_report){.status = slot->judge != NULL ? HEALTH_HEALTHY : HEALTH_DISABLED};
    snprintf(out->details, sizeof out->details, "%s", slot->judge != NULL ? "not checked yet" : "not configured");
    if (slot->judge == NULL) return;
    pthread_mutex_lock(&health->mutex);
    uint64_t now_ns = clock_mono_ns(health->options.clock);
    if (slot->runs > 0) {
        const struct past *last = &slot->past[(slot->runs - 1) % HISTORY_KEPT];
        out->status = last->result.status;
        out->response_ms = last->response_ms;
        out->checked_ms = last->checked_ms;
        memcpy(out->details, last->result.details, sizeof out->details);
    }
    describe_long_run(health, slot, now_ns, out);
    if (out->status != HEALTH_HEALTHY && now_ns > slot->healthy_ns)
        out->down_seconds = (double)(now_ns - slot->healthy_ns) / 1e9;
    pthread_mutex_unlock(&health->mutex);
}

static void write_past(const struct past *past, struct json_writer *out)
{
    json_open(out, '{');
    put_time(out, "timestamp", past->checked_ms);
    put_text(out, "status", health_status_name(past->result.status));
    put_text(out, "details", past->result.details);
    put_number(out, "response_time_ms", past->response_ms);
    json_close(out, '}');
}

void health_write_history(struct health *health, size_t part, struct json_writer *out)
{
    CHECK(part < health->count);
    const struct slot *slot = &health->slots[part];
    json_open(out, '{');
    put_text(out, "part", slot->name);
    json_key(out, "history");
    json_open(out, '[');
    pthread_mutex_lock(&health->mutex);
    size_t kept = slot->runs < HISTORY_KEPT ? slot->runs : HISTORY_KEPT;
    for (size_t i = 0; i < kept; i++) write_past(&slot->past[(slot->runs - 1 - i) % HISTORY_KEPT], out);
    pthread_mutex_unlock(&health->mutex);
    json_close(out, ']');
    json_close(out, '}');
}
