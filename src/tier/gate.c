/*
 * gate.c - making and ending a gate, and what both of its sides use.
 *
 * Threads: `readers` for reads, one for writes, two for all other calls. An end waits for the gate's threads close_ms
 * long, then leaves hung ones behind: the gate is freed by the last of them.
 */
#include "tier/gate_state.h"

#include "base/check.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --------------------------------------------------------------------------------------------------------- tools -- */

void gate_lock(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
}

/* What a line cannot know by itself. */
struct tidings {
    const char *why;  /* writes fail; NULL: nobody knows */
    uint64_t refused; /* puts while the queue was full */
};

/* The rest of a line; empty for most. */
static void write_tail(enum gate_note note, const struct tidings *tidings, char *out, size_t size)
{
    out[0] = '\0';
    if (note == GATE_NOTE_WRITES_DOWN && tidings->why != NULL) snprintf(out, size, ": %s", tidings->why);
    if (note == GATE_NOTE_QUEUE_FITS)
        snprintf(out, size, ": %llu were not stored meanwhile", (unsigned long long)tidings->refused);
}

static void tell(void (*log)(void *, aic_log_level, const char *), void *context, unsigned notes,
                 const struct tidings *tidings)
{
    static const struct {
        aic_log_level level;
        const char *text;
    } lines[] = {
#define NOTE_LINE(name, level, text) {AIC_LOG_##level, text},
        GATE_NOTE_MAP(NOTE_LINE)
#undef NOTE_LINE
    };
    if (log == NULL) return;
    for (unsigned i = 0; i < COUNT_OF(lines); i++) {
        if ((notes >> i & 1) == 0) continue;
        char line[256], tail[128];
        write_tail((enum gate_note)i, tidings, tail, sizeof tail);
        snprintf(line, sizeof line, "%s%s", lines[i].text, tail);
        log(context, lines[i].level, line);
    }
}

void gate_unlock(struct gate *gate)
{
    unsigned notes = gate->abandoned ? 0 : gate->notes;
    gate->notes = 0;
    void (*log)(void *, aic_log_level, const char *) = gate->log;
    void *context = gate->log_context;
    bool ask = (notes >> GATE_NOTE_WRITES_DOWN & 1) != 0 && gate->tier->ops->trouble != NULL;
    struct tidings tidings = {ask ? gate->tier->ops->trouble(gate->tier).text : NULL, gate->refused};
    pthread_mutex_unlock(&gate->lock);
    tell(log, context, notes, &tidings);
}

void gate_note(struct gate *gate, enum gate_note note)
{
    gate->notes |= 1u << note;
    if (note == GATE_NOTE_WRITES_DOWN || note == GATE_NOTE_DISTRUSTED)
        gate->writes_down_ms = clock_wall_ms(gate->clock);
    if (note == GATE_NOTE_READS_DOWN) gate->reads_down_ms = clock_wall_ms(gate->clock);
}

uint64_t gate_now(const struct gate *gate)
{
    return clock_mono_ns(gate->clock);
}

void gate_wait(struct gate *gate, pthread_cond_t *condition, uint64_t ns)
{
    /* A clock of a test moves by itself: look again soon. */
    const uint64_t look_ns = 20 * GATE_MS_NS;
    if (ns > look_ns && gate->clock->mono_ns != clock_system()->mono_ns) ns = look_ns;
    if (ns == UINT64_MAX) {
        pthread_cond_wait(condition, &gate->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t sum = (uint64_t)until.tv_nsec + ns % 1000000000;
    until.tv_sec += (time_t)(ns / 1000000000 + sum / 1000000000);
    until.tv_nsec = (long)(sum % 1000000000);
    pthread_cond_timedwait(condition, &gate->lock, &until);
}

bool gate_is_failure(aic_status status)
{
    return status == AIC_IO || status == AIC_TIMEOUT || status == AIC_UNAVAILABLE || status == AIC_BUSY ||
           status == AIC_CLOSED || status == AIC_INTERNAL;
}

static void free_gate(struct gate *gate)
{
    gate->tier->ops->close(gate->tier);
    queue_fini(&gate->queue);
    for (unsigned i = 0; i < gate->reader_count; i++) buf_fini(&gate->readers[i].record);
    pthread_cond_destroy(&gate->calls_done);
    pthread_cond_destroy(&gate->calls_changed);
    pthread_cond_destroy(&gate->progress);
    pthread_cond_destroy(&gate->writes_changed);
    pthread_cond_destroy(&gate->jobs_changed);
    pthread_mutex_destroy(&gate->lock);
    mem_free(gate->mem, MEM_QUEUE, gate, sizeof *gate);
}

void gate_thread_ends(struct gate *gate)
{
    bool last = --gate->threads == 0 && gate->abandoned;
    pthread_cond_broadcast(&gate->progress);
    gate_unlock(gate);
    if (last) free_gate(gate);
}

/* -------------------------------------------------------------------------------------------------------- create -- */

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(condition, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

static void init_gate(struct gate *gate, const struct gate_options *options)
{
    gate->mem = options->mem;
    gate->clock = options->clock;
    gate->tier = options->tier;
    gate->log = options->log;
    gate->log_context = options->log_context;
    gate->sync_ns = (options->sync_ms > 0 ? options->sync_ms : 1000) * GATE_MS_NS;
    gate->write_hang_ns = (options->write_hang_ms > 0 ? options->write_hang_ms : 5000) * GATE_MS_NS;
    gate->close_ns = (options->close_ms > 0 ? options->close_ms : 5000) * GATE_MS_NS;
    gate->reader_count = options->readers > 0 ? options->readers : 2;
    if (gate->reader_count > GATE_MAX_READERS) gate->reader_count = GATE_MAX_READERS;
    CHECK(pthread_mutex_init(&gate->lock, NULL) == 0);
    init_condition(&gate->jobs_changed);
    init_condition(&gate->writes_changed);
    init_condition(&gate->progress);
    init_condition(&gate->calls_changed);
    init_condition(&gate->calls_done);
    gate->last_call = &gate->first_call;
    for (unsigned i = 0; i < GATE_CALLERS; i++) gate->callers[i].gate = gate;
    uint64_t now_ns = gate_now(gate);
    breaker_init(&gate->reads, now_ns);
    breaker_init(&gate->writes, now_ns + 1);
    gate->sync_due_ns = now_ns + gate->sync_ns;
    for (unsigned i = 0; i < gate->reader_count; i++) {
        gate->readers[i].gate = gate;
        buf_init(&gate->readers[i].record, gate->mem, MEM_QUEUE);
    }
}

struct gate_thread {
    pthread_t *thread;
    void *(*main)(void *argument);
    void *argument;
};

/* The threads of a gate by number; false behind the last one. */
static bool thread_at(struct gate *gate, unsigned number, struct gate_thread *out)
{
    unsigned readers = gate->reader_count, others = readers + GATE_CALLERS;
    if (number < readers) {
        struct reader *reader = &gate->readers[number];
        *out = (struct gate_thread){&reader->thread, gate_reader_main, reader};
    } else if (number < others) {
        struct caller *caller = &gate->callers[number - readers];
        *out = (struct gate_thread){&caller->thread, gate_caller_main, caller};
    } else {
        *out = (struct gate_thread){&gate->writer, gate_writer_main, gate};
    }
    return number <= others;
}

static void join_threads(struct gate *gate, unsigned count)
{
    struct gate_thread one;
    for (unsigned i = 0; i < count && thread_at(gate, i, &one); i++) pthread_join(*one.thread, NULL);
}

/* Nothing is begun any more, and who waits is answered. Under the lock. */
static void begin_stop(struct gate *gate)
{
    gate->stopping = true;
    pthread_cond_broadcast(&gate->jobs_changed);
    pthread_cond_broadcast(&gate->writes_changed);
    pthread_cond_broadcast(&gate->progress);
    gate_end_calls(gate);
}

static aic_status start_threads(struct gate *gate)
{
    struct gate_thread one;
    unsigned started = 0;
    gate->threads = gate->reader_count + GATE_CALLERS + 1;
    while (thread_at(gate, started, &one) && pthread_create(one.thread, NULL, one.main, one.argument) == 0) started++;
    if (started == gate->reader_count + GATE_CALLERS + 1) return AIC_OK;
    gate_lock(gate);
    begin_stop(gate);
    gate_unlock(gate);
    join_threads(gate, started);
    return AIC_NO_MEMORY;
}

aic_status gate_create(const struct gate_options *options, struct gate **out)
{
    struct gate *gate = mem_zalloc(options->mem, MEM_QUEUE, sizeof *gate);
    if (gate == NULL) {
        options->tier->ops->close(options->tier);
        return AIC_NO_MEMORY;
    }
    init_gate(gate, options);
    aic_status status = queue_init(&gate->queue, gate->mem, options->queue_bytes);
    if (status == AIC_OK) status = start_threads(gate);
    if (status != AIC_OK) {
        free_gate(gate);
        return status;
    }
    *out = gate;
    return AIC_OK;
}

/* ------------------------------------------------------------------------------------------------------- destroy -- */

static void wait_for_threads(struct gate *gate)
{
    uint64_t until_ns = gate_now(gate) + gate->close_ns;
    for (uint64_t now_ns = gate_now(gate); gate->threads > 0 && now_ns < until_ns; now_ns = gate_now(gate)) {
        gate_wait(gate, &gate->progress, until_ns - now_ns);
    }
}

/* Takes the jobs that hang in the tier away from their readers and leaves the threads to themselves. Under the lock;
 * unlocks. */
static void abandon(struct gate *gate)
{
    struct job *jobs = NULL;
    gate->abandoned = true;
    for (unsigned i = 0; i < gate->reader_count; i++) {
        struct reader *reader = &gate->readers[i];
        if (reader->job != NULL) {
            reader->job->next = jobs;
            jobs = reader->job;
            reader->job = NULL;
        }
    }
    struct gate_thread one;
    for (unsigned i = 0; thread_at(gate, i, &one); i++) pthread_detach(*one.thread);
    struct mem *mem = gate->mem;
    pthread_mutex_unlock(&gate->lock); /* from here on the gate may be gone */
    while (jobs != NULL) {
        struct job *job = jobs;
        jobs = job->next;
        job->done(job->context, AIC_TIMEOUT, (aic_view){NULL, 0});
        mem_free(mem, MEM_QUEUE, job, sizeof *job);
    }
}

/* The last word about writes that the tier did not take before the end. */
static void tell_lost(void (*log)(void *, aic_log_level, const char *), void *context, uint64_t lost)
{
    char line[128];
    if (log == NULL || lost == 0) return;
    snprintf(line, sizeof line, "storage: takes no writes at the end: %llu that were waiting for it are lost",
             (unsigned long long)lost);
    log(context, AIC_LOG_WARNING, line);
}

aic_status gate_destroy(struct gate **gate_slot)
{
    struct gate *gate = *gate_slot;
    *gate_slot = NULL;
    if (gate == NULL) return AIC_OK;
    gate_lock(gate);
    uint64_t dropped = gate->counts.storage_dropped_writes;
    begin_stop(gate);
    struct job *jobs = gate_take_jobs(gate);
    gate_unlock(gate);
    gate_answer_jobs(gate, jobs, AIC_CLOSED);
    gate_lock(gate);
    wait_for_threads(gate);
    void (*log)(void *, aic_log_level, const char *) = gate->log;
    void *context = gate->log_context;
    if (gate->threads > 0) {
        uint64_t waiting = gate->queue.waiting + gate->queue.flying;
        abandon(gate);
        tell_lost(log, context, waiting);
        return AIC_TIMEOUT;
    }
    gate_unlock(gate);
    join_threads(gate, UINT_MAX);
    bool lost = gate->counts.storage_dropped_writes != dropped || gate->distrusted;
    tell_lost(log, context, gate->counts.storage_dropped_writes - dropped);
    free_gate(gate);
    return lost ? AIC_NOT_STORED : AIC_OK;
}

/* ---------------------------------------------------------------------------------------------------- statistics -- */

const char *gate_kind(const struct gate *gate)
{
    return gate->tier->ops->kind;
}

uint64_t gate_max_record_bytes(const struct gate *gate)
{
    return gate->tier->max_record_bytes;
}

void gate_tier_stats(const struct gate *gate, struct tier_stats *out)
{
    gate->tier->ops->stats(gate->tier, out);
}

const char *gate_why(const struct gate *gate, aic_status status)
{
    const struct tier_ops *ops = gate->tier->ops;
    const char *text = status == AIC_IO && ops->trouble != NULL ? ops->trouble(gate->tier).text : NULL;
    return text != NULL ? text : aic_status_text(status);
}

/* Makes *longest_ns the time since somebody went into the tier, if that is a hang and the longest. */
static void look_at_hang(uint64_t since_ns, uint64_t now_ns, uint64_t least_ns, uint64_t *longest_ns)
{
    bool hangs = since_ns != 0 && now_ns > since_ns && now_ns - since_ns >= least_ns;
    if (hangs && now_ns - since_ns > *longest_ns) *longest_ns = now_ns - since_ns;
}

/* How long the read or the call takes that hangs longest; 0: none hangs. */
static uint64_t longest_hang_ns(const struct gate *gate, uint64_t now_ns)
{
    uint64_t longest_ns = 0;
    for (unsigned i = 0; i < gate->reader_count; i++)
        look_at_hang(gate->readers[i].busy_since_ns, now_ns, GATE_HANG_NS, &longest_ns);
    for (unsigned i = 0; i < GATE_CALLERS; i++)
        look_at_hang(gate->callers[i].busy_since_ns, now_ns, GATE_CALL_MS * GATE_MS_NS, &longest_ns);
    return longest_ns;
}

uint64_t gate_write_hang_ns(const struct gate *gate)
{
    if (gate->write_since_ns == 0) return 0;
    uint64_t took_ns = clock_mono_ns(clock_system()) - gate->write_since_ns;
    return took_ns >= gate->write_hang_ns ? took_ns : 0;
}

struct gate_health gate_health_now(const struct gate *gate)
{
    return (struct gate_health){
        .reads_up = gate->reads.state == BREAKER_CLOSED && longest_hang_ns(gate, gate_now(gate)) == 0,
        .writes_up = gate->writes.state == BREAKER_CLOSED && !gate->distrusted && gate_write_hang_ns(gate) == 0,
    };
}

/* When the breaker opened; of a read that hangs before it has, when that began. */
static uint64_t reads_down_since_ms(const struct gate *gate)
{
    if (gate->reads.state != BREAKER_CLOSED) return gate->reads_down_ms;
    return clock_wall_ms(gate->clock) - longest_hang_ns(gate, gate_now(gate)) / GATE_MS_NS;
}

/* The same for writes. */
static uint64_t writes_down_since_ms(const struct gate *gate)
{
    if (gate->writes.state != BREAKER_CLOSED || gate->distrusted) return gate->writes_down_ms;
    return clock_wall_ms(gate->clock) - gate_write_hang_ns(gate) / GATE_MS_NS;
}

/* What is the matter with writes that are down. */
static struct tier_trouble write_trouble(const struct gate *gate)
{
    if (gate_write_hang_ns(gate) != 0) return (struct tier_trouble){TIER_CAUSE_HANGS, "a write does not come back"};
    return gate->tier->ops->trouble != NULL ? gate->tier->ops->trouble(gate->tier) : (struct tier_trouble){0};
}

/* Nobody but who looks sees that the writer does not come back. */
static void look_at_writer(struct gate *gate)
{
    if (gate->write_hang_told || gate_write_hang_ns(gate) == 0) return;
    gate->write_hang_told = true;
    gate_note(gate, GATE_NOTE_WRITES_HANG);
}

void gate_stats(struct gate *gate, struct gate_stats *out)
{
    gate_lock(gate);
    look_at_writer(gate);
    struct gate_health health = gate_health_now(gate);
    *out = (struct gate_stats){
        .up = health.reads_up && health.writes_up,
        .reads_up = health.reads_up,
        .distrusted = gate->distrusted,
        .writes_down_ms = health.writes_up ? 0 : writes_down_since_ms(gate),
        .reads_down_ms = health.reads_up ? 0 : reads_down_since_ms(gate),
        .trouble = health.writes_up ? (struct tier_trouble){0} : write_trouble(gate),
    };
    gate_unlock(gate);
}

void gate_figures(struct gate *gate, struct figures *out)
{
    figures_add(out, &gate->counts);
    gate_lock(gate);
    struct gate_health health = gate_health_now(gate);
    out->storage_up = health.reads_up && health.writes_up;
    out->storage_reads_up = health.reads_up;
    out->queue_entries = gate->queue.waiting + gate->queue.flying;
    out->queue_bytes = gate->queue.bytes;
    out->queue_max_bytes = gate->queue.max_bytes;
    out->storage_breaks = gate->reads.opened + gate->writes.opened;
    gate_unlock(gate);
}
