/*
 * gate_read.c - the reading side: what is queued is answered at once, the rest by reader threads.
 */
#include "tier/gate_state.h"

#include "base/check.h"

#include <string.h>
#include <time.h>

static const aic_view nothing = {NULL, 0};

/* ---------------------------------------------------------------------------------------------------------- jobs -- */

struct job *gate_take_jobs(struct gate *gate)
{
    struct job *jobs = gate->first_job;
    gate->first_job = NULL;
    gate->last_job = NULL;
    gate->job_count = 0;
    return jobs;
}

void gate_answer_jobs(struct gate *gate, struct job *jobs, aic_status status)
{
    while (jobs != NULL) {
        struct job *job = jobs;
        jobs = job->next;
        job->done(job->context, status, nothing);
        mem_free(gate->mem, MEM_QUEUE, job, sizeof *job);
    }
}

static void add_job(struct gate *gate, struct job *job)
{
    if (gate->last_job != NULL) gate->last_job->next = job;
    else gate->first_job = job;
    gate->last_job = job;
    gate->job_count++;
    pthread_cond_signal(&gate->jobs_changed);
}

static struct job *next_job(struct gate *gate)
{
    struct job *job = gate->first_job;
    if (job == NULL) return NULL;
    gate->first_job = job->next;
    if (gate->first_job == NULL) gate->last_job = NULL;
    gate->job_count--;
    return job;
}

/* ----------------------------------------------------------------------------------------------------- admission -- */

/* Opens the breaker when a read hangs. The jobs behind it would wait for nothing: they are handed out to be answered.
 */
static struct job *trip_if_hung(struct gate *gate, uint64_t now_ns)
{
    for (unsigned i = 0; i < gate->reader_count; i++) {
        uint64_t since_ns = gate->readers[i].busy_since_ns;
        if (since_ns == 0 || now_ns < since_ns + GATE_HANG_NS) continue;
        if (!breaker_trip(&gate->reads, now_ns)) return NULL;
        FIGURE_COUNT(&gate->counts, storage_errors, 1);
        gate_note(gate, GATE_NOTE_READS_DOWN);
        return gate_take_jobs(gate);
    }
    return NULL;
}

/* Makes a job and queues it, or says why not. */
static aic_status submit(struct gate *gate, const aic_key *key, gate_done_fn *done, void *context,
                         struct waiter *waiter)
{
    if (gate->stopping) return AIC_CLOSED;
    if (gate->distrusted) return AIC_MISS;
    if (gate->job_count >= GATE_MAX_JOBS) return AIC_BUSY;
    struct job *job = mem_alloc(gate->mem, MEM_QUEUE, sizeof *job);
    if (job == NULL) return AIC_NO_MEMORY;
    enum breaker_pass pass = breaker_admit(&gate->reads, gate_now(gate));
    if (pass == BREAKER_REFUSED) {
        mem_free(gate->mem, MEM_QUEUE, job, sizeof *job);
        return AIC_UNAVAILABLE;
    }
    *job = (struct job){
        .key = *key, .done = done, .context = context, .waiter = waiter, .probe = pass == BREAKER_PROBE};
    add_job(gate, job);
    return AIC_OK;
}

static void read_for(struct gate *gate, const aic_key *key, gate_done_fn *done, void *context, struct waiter *waiter)
{
    gate_lock(gate);
    struct queue_item *item = queue_find(&gate->queue, key);
    struct job *hopeless = NULL;
    aic_status status = AIC_OK;
    if (item != NULL) {
        queue_item_pin(item);
    } else {
        hopeless = trip_if_hung(gate, gate_now(gate));
        status = submit(gate, key, done, context, waiter);
    }
    gate_unlock(gate);
    gate_answer_jobs(gate, hopeless, AIC_UNAVAILABLE);
    if (item != NULL) {
        done(context, item->is_delete ? AIC_MISS : AIC_OK,
             item->is_delete ? nothing : (aic_view){item->record, item->size});
        queue_item_release(&item);
    } else if (status != AIC_OK) {
        done(context, status, nothing);
    }
}

void gate_read(struct gate *gate, const aic_key *key, gate_done_fn *done, void *context)
{
    read_for(gate, key, done, context, NULL);
}

/* ----------------------------------------------------------------------------------------------- waiting for one -- */

static struct waiter *create_waiter(struct gate *gate)
{
    struct waiter *waiter = mem_zalloc(gate->mem, MEM_QUEUE, sizeof *waiter);
    if (waiter == NULL) return NULL;
    waiter->mem = gate->mem;
    atomic_init(&waiter->references, 2);
    atomic_init(&waiter->gone, false);
    buf_init(&waiter->record, gate->mem, MEM_QUEUE);
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&waiter->answered, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_mutex_init(&waiter->lock, NULL) == 0);
    return waiter;
}

static void release_waiter(struct waiter *waiter)
{
    /* Acquire-release, partner: the same line in the other thread. */
    if (atomic_fetch_sub_explicit(&waiter->references, 1, memory_order_acq_rel) > 1) return;
    buf_fini(&waiter->record);
    pthread_mutex_destroy(&waiter->lock);
    pthread_cond_destroy(&waiter->answered);
    mem_free(waiter->mem, MEM_QUEUE, waiter, sizeof *waiter);
}

static void answer_waiter(void *context, aic_status status, aic_view record)
{
    struct waiter *waiter = context;
    pthread_mutex_lock(&waiter->lock);
    if (!waiter->left) {
        if (status == AIC_OK) buf_append_view(&waiter->record, record);
        waiter->status = status == AIC_OK ? buf_status(&waiter->record) : status;
        waiter->done = true;
        pthread_cond_signal(&waiter->answered);
    }
    pthread_mutex_unlock(&waiter->lock);
    release_waiter(waiter);
}

/* The answer, or AIC_TIMEOUT; whatever comes later is dropped. */
static aic_status await(struct waiter *waiter, unsigned deadline_ms, struct buf *out)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += deadline_ms / 1000;
    until.tv_nsec += (long)(deadline_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&waiter->lock);
    int late = 0;
    while (!waiter->done && late == 0) late = pthread_cond_timedwait(&waiter->answered, &waiter->lock, &until);
    aic_status status = waiter->done ? waiter->status : AIC_TIMEOUT;
    if (status == AIC_OK) {
        buf_append_view(out, buf_view(&waiter->record));
        status = buf_status(out);
    }
    waiter->left = true;
    atomic_store_explicit(&waiter->gone, true, memory_order_relaxed);
    pthread_mutex_unlock(&waiter->lock);
    return status;
}

aic_status gate_get(struct gate *gate, const aic_key *key, unsigned deadline_ms, struct buf *out)
{
    struct waiter *waiter = create_waiter(gate);
    if (waiter == NULL) return AIC_NO_MEMORY;
    read_for(gate, key, answer_waiter, waiter, waiter);
    aic_status status = await(waiter, deadline_ms, out);
    release_waiter(waiter);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- readers -- */

/* What the read says of the tier. Returns the jobs to be answered when the breaker opens now. */
static struct job *learn(struct gate *gate, aic_status status, bool probe)
{
    if (!gate_is_failure(status)) {
        if (breaker_success(&gate->reads, probe)) gate_note(gate, GATE_NOTE_READS_UP);
        return NULL;
    }
    FIGURE_COUNT(&gate->counts, storage_errors, 1);
    if (!breaker_failure(&gate->reads, probe, gate_now(gate))) return NULL;
    gate_note(gate, GATE_NOTE_READS_DOWN);
    return gate_take_jobs(gate);
}

/* What was queued meanwhile is newer than anything the tier can say. *item is pinned. */
static bool is_newer_queued(struct gate *gate, const struct job *job, struct queue_item **item, aic_status *status)
{
    *item = queue_find(&gate->queue, &job->key);
    if (*item == NULL) return false;
    queue_item_pin(*item);
    *status = (*item)->is_delete ? AIC_MISS : AIC_OK;
    return true;
}

/* Can the job be answered without the tier? */
static bool skip(struct gate *gate, const struct job *job, struct queue_item **item, aic_status *status)
{
    if (!is_newer_queued(gate, job, item, status)) {
        if (gate->distrusted) {
            *status = AIC_MISS;
        } else if (gate->reads.state != BREAKER_CLOSED && !job->probe) {
            *status = AIC_UNAVAILABLE;
        } else if (job->waiter != NULL && !job->probe &&
                   atomic_load_explicit(&job->waiter->gone, memory_order_relaxed)) {
            *status = AIC_TIMEOUT; /* nobody waits: do not work for nobody */
        } else {
            return false;
        }
    }
    if (job->probe) breaker_cancel(&gate->reads, gate_now(gate));
    return true;
}

/* Asks the tier, without the lock. *job is NULL afterwards when the end of the gate has answered it. */
static aic_status ask_tier(struct reader *reader, struct job **job)
{
    struct gate *gate = reader->gate;
    uint64_t now_ns = gate_now(gate);
    reader->busy_since_ns = now_ns > 0 ? now_ns : 1;
    reader->job = *job;
    reader->key = (*job)->key;
    gate_unlock(gate);
    buf_clear(&reader->record);
    aic_status status = gate->tier->ops->get(gate->tier, &reader->key, &reader->record);
    if (status == AIC_OK) status = buf_status(&reader->record);
    gate_lock(gate);
    reader->busy_since_ns = 0;
    *job = reader->job;
    reader->job = NULL;
    return status;
}

/* Under the lock, which it gives up on the way. */
static void serve(struct reader *reader, struct job *job)
{
    struct gate *gate = reader->gate;
    struct queue_item *item;
    aic_status status;
    struct job *hopeless = NULL;
    if (!skip(gate, job, &item, &status)) {
        bool probe = job->probe;
        uint64_t distrusts = gate->distrusts;
        status = ask_tier(reader, &job);
        if (job == NULL) return;
        gate_look_for_damage(gate);
        hopeless = learn(gate, status, probe);
        if (!is_newer_queued(gate, job, &item, &status) && gate->distrusts != distrusts) status = AIC_MISS;
    }
    gate_unlock(gate);
    gate_answer_jobs(gate, hopeless, AIC_UNAVAILABLE);
    aic_view record = item != NULL ? (aic_view){item->record, item->size} : buf_view(&reader->record);
    job->done(job->context, status, status == AIC_OK ? record : nothing);
    queue_item_release(&item);
    mem_free(gate->mem, MEM_QUEUE, job, sizeof *job);
    if (reader->record.capacity > GATE_KEEP_BYTES) buf_fini(&reader->record);
    gate_lock(gate);
}

void *gate_reader_main(void *argument)
{
    struct reader *reader = argument;
    struct gate *gate = reader->gate;
    gate_lock(gate);
    while (!gate->stopping) {
        struct job *job = next_job(gate);
        if (job != NULL) serve(reader, job);
        else gate_wait(gate, &gate->jobs_changed, UINT64_MAX);
    }
    gate_thread_ends(gate);
    return NULL;
}
