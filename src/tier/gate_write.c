/*
 * gate_write.c - the writing side: the queue's entrance, and the thread that applies, syncs, and empties a tier that is
 * distrusted.
 */
#include "tier/gate_state.h"

#include "base/check.h"

/* ------------------------------------------------------------------------------------------------------ entrance -- */

void gate_begin_distrust(struct gate *gate)
{
    queue_drop(&gate->queue);
    gate->distrusts++;
    if (gate->distrusted) return;
    gate->distrusted = true;
    gate_note(gate, GATE_NOTE_DISTRUSTED);
    pthread_cond_signal(&gate->writes_changed);
    pthread_cond_broadcast(&gate->progress);
}

static bool is_damaged(struct tier *tier)
{
    return tier->ops->damaged != NULL && tier->ops->damaged(tier);
}

void gate_look_for_damage(struct gate *gate)
{
    if (gate->distrusted || !is_damaged(gate->tier)) return;
    FIGURE_COUNT(&gate->counts, storage_dropped_writes, gate->queue.waiting);
    gate_begin_distrust(gate);
}

/* Queues the item, or releases it. Under the lock. */
static aic_status add(struct gate *gate, struct queue_item *item)
{
    aic_status status = gate->stopping ? AIC_CLOSED : queue_add(&gate->queue, item, gate_now(gate));
    if (status != AIC_OK) queue_item_release(&item);
    else pthread_cond_signal(&gate->writes_changed);
    return status;
}

/* A put that finds no room leaves a delete of its key behind, so that no older value is served. Under the lock. */
static void drop_put(struct gate *gate, const aic_key *key)
{
    FIGURE_COUNT(&gate->counts, storage_dropped_writes, 1);
    if (!gate->queue_is_full) {
        gate_note(gate, GATE_NOTE_QUEUE_FULL);
        gate->refused = 0;
    }
    gate->queue_is_full = true;
    gate->refused++;
    gate->refused_ns = gate_now(gate);
    struct queue_item *item = queue_item_create(gate->mem, key, NULL, 0);
    if (item == NULL || add(gate, item) != AIC_OK) gate_begin_distrust(gate);
}

static uint64_t parts_bytes(const struct iovec *parts, size_t part_count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < part_count; i++) bytes += parts[i].iov_len;
    return bytes;
}

/* A record that the tier can never take does not even go into the queue; what it should replace goes. */
static aic_status refuse_put(struct gate *gate, const aic_key *key, struct gate_health *health)
{
    TRY(gate_delete(gate, key));
    gate_lock(gate);
    FIGURE_COUNT(&gate->counts, storage_refused_writes, 1);
    if (health != NULL) *health = gate_health_now(gate);
    gate_unlock(gate);
    return AIC_TOO_LARGE;
}

aic_status gate_put(struct gate *gate, const aic_key *key, const struct iovec *parts, size_t part_count,
                    struct gate_health *health)
{
    uint64_t limit = gate->tier->max_record_bytes;
    if (limit > 0 && parts_bytes(parts, part_count) > limit) return refuse_put(gate, key, health);
    struct queue_item *item = queue_item_create(gate->mem, key, parts, part_count);
    if (item == NULL) return AIC_NO_MEMORY;
    gate_lock(gate);
    aic_status status;
    if (gate->distrusted) {
        FIGURE_COUNT(&gate->counts, storage_dropped_writes, 1);
        queue_item_release(&item);
        status = AIC_NOT_STORED;
    } else {
        status = add(gate, item);
        if (status == AIC_FULL) {
            drop_put(gate, key);
            status = AIC_NOT_STORED;
        }
    }
    if (health != NULL) *health = gate_health_now(gate);
    gate_unlock(gate);
    return status;
}

aic_status gate_delete(struct gate *gate, const aic_key *key)
{
    struct queue_item *item = queue_item_create(gate->mem, key, NULL, 0);
    if (item == NULL) return AIC_NO_MEMORY;
    gate_lock(gate);
    aic_status status = AIC_OK;
    if (gate->distrusted && !gate->stopping) {
        queue_item_release(&item); /* everything will go */
    } else {
        status = add(gate, item);
        if (status == AIC_FULL) {
            gate_begin_distrust(gate);
            status = AIC_OK;
        }
    }
    gate_unlock(gate);
    return status;
}

bool gate_removes(struct gate *gate, const aic_key *key)
{
    gate_lock(gate);
    const struct queue_item *item = queue_find(&gate->queue, key);
    bool removes = gate->distrusted || (item != NULL && item->is_delete);
    gate_unlock(gate);
    return removes;
}

size_t gate_unapplied(struct gate *gate, bool again, aic_key *keys, size_t max)
{
    gate_lock(gate);
    size_t count = queue_note(&gate->queue, again, keys, max);
    gate_unlock(gate);
    return count;
}

void gate_is_known(struct gate *gate, const aic_key *keys, size_t count)
{
    gate_lock(gate);
    for (size_t i = 0; i < count; i++) {
        struct queue_item *item = queue_find(&gate->queue, &keys[i]);
        if (item != NULL) item->noted = true;
    }
    gate_unlock(gate);
}

/* --------------------------------------------------------------------------------------------------------- flush -- */

/* Until everything up to `sequence` is applied. */
static aic_status await_applied(struct gate *gate, uint64_t sequence, uint64_t until_ns)
{
    while (queue_oldest_sequence(&gate->queue) <= sequence) {
        uint64_t now_ns = gate_now(gate);
        if (!gate_health_now(gate).writes_up) return AIC_UNAVAILABLE;
        if (now_ns >= until_ns) return AIC_TIMEOUT;
        gate_wait(gate, &gate->progress, until_ns - now_ns);
    }
    return gate->distrusted ? AIC_UNAVAILABLE : AIC_OK;
}

/* Until a sync that begins from now on is done. */
static aic_status await_sync(struct gate *gate, uint64_t until_ns)
{
    uint64_t number = gate->syncs_begun + 1;
    gate->sync_wanted = true;
    pthread_cond_signal(&gate->writes_changed);
    while (gate->syncs_done < number) {
        uint64_t now_ns = gate_now(gate);
        if (!gate_health_now(gate).writes_up) return AIC_UNAVAILABLE;
        if (now_ns >= until_ns) return AIC_TIMEOUT;
        gate_wait(gate, &gate->progress, until_ns - now_ns);
    }
    return AIC_OK;
}

aic_status gate_flush(struct gate *gate, bool to_disk, unsigned deadline_ms)
{
    gate_lock(gate);
    uint64_t until_ns = gate_now(gate) + deadline_ms * GATE_MS_NS;
    gate->flushing++;
    pthread_cond_signal(&gate->writes_changed);
    aic_status status = await_applied(gate, gate->queue.next_sequence - 1, until_ns);
    if (status == AIC_OK && to_disk) status = await_sync(gate, until_ns);
    gate->flushing--;
    gate_unlock(gate);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- writer -- */

enum step { STEP_WAIT, STEP_APPLY, STEP_SYNC, STEP_CLEAR, STEP_END };

/* The record, not the tier, is what is wrong. */
static bool is_refusal(aic_status status)
{
    return status == AIC_FULL || status == AIC_DAMAGED || status == AIC_INVALID || status == AIC_TOO_LARGE ||
           status == AIC_NOT_STORED;
}

/* Applies one by one what the tier refuses together; a put that it refuses by itself becomes a delete. *applied gets
 * how many are through. */
static aic_status apply_singly(struct gate *gate, struct tier_write *writes, size_t count, size_t *applied,
                               uint64_t *dropped)
{
    for (size_t i = 0; i < count; i++) {
        aic_status status = gate->tier->ops->apply(gate->tier, &writes[i], 1);
        if (is_damaged(gate->tier)) return AIC_DAMAGED;
        if (is_refusal(status) && writes[i].record.data != NULL) {
            ++*dropped;
            writes[i].record = (aic_view){NULL, 0};
            status = gate->tier->ops->apply(gate->tier, &writes[i], 1);
        }
        if (status != AIC_OK) return status;
        *applied = i + 1;
    }
    return AIC_OK;
}

/* Without the lock: only the writer touches flying items, apart from readers of their records. */
static aic_status apply(struct gate *gate, struct queue_item **items, size_t count, size_t *applied, uint64_t *dropped)
{
    struct tier_write writes[GATE_BATCH_ITEMS];
    for (size_t i = 0; i < count; i++) {
        aic_view record = items[i]->is_delete ? (aic_view){NULL, 0} : (aic_view){items[i]->record, items[i]->size};
        writes[i] = (struct tier_write){.key = items[i]->key, .record = record};
    }
    *applied = 0;
    aic_status status = gate->tier->ops->apply(gate->tier, writes, count);
    if (status == AIC_OK) *applied = count;
    if (is_damaged(gate->tier)) return AIC_DAMAGED; /* not the records */
    return is_refusal(status) ? apply_singly(gate, writes, count, applied, dropped) : status;
}

/* The writer goes into the tier, without the lock, and comes back. */
static void enter_tier(struct gate *gate)
{
    gate->write_since_ns = clock_mono_ns(clock_system());
    gate_unlock(gate);
}

static void leave_tier(struct gate *gate)
{
    gate_lock(gate);
    gate->write_since_ns = 0;
    if (gate->write_hang_told) gate_note(gate, GATE_NOTE_WRITES_MOVE);
    gate->write_hang_told = false;
}

/* What a call of the writer says of the tier. */
static void learn(struct gate *gate, aic_status status, bool probe)
{
    if (status == AIC_OK) {
        if (breaker_success(&gate->writes, probe)) gate_note(gate, GATE_NOTE_WRITES_UP);
        return;
    }
    FIGURE_COUNT(&gate->counts, storage_errors, 1);
    gate->write_retry_ns = gate_now(gate) + GATE_RETRY_NS;
    if (breaker_failure(&gate->writes, probe, gate_now(gate))) gate_note(gate, GATE_NOTE_WRITES_DOWN);
    if (gate->stopping) gate->gave_up = true;
}

static void step_apply(struct gate *gate, bool probe)
{
    struct queue_item *items[GATE_BATCH_ITEMS];
    size_t count = queue_take(&gate->queue, items, GATE_BATCH_ITEMS, GATE_BATCH_BYTES);
    size_t applied;
    uint64_t dropped = 0;
    enter_tier(gate);
    aic_status status = apply(gate, items, count, &applied, &dropped);
    leave_tier(gate);
    for (size_t i = 0; i < applied; i++) gate->unsynced_bytes += queue_item_bytes(items[i]);
    FIGURE_COUNT(&gate->counts, storage_dropped_writes, dropped);
    queue_land(&gate->queue, items, applied);
    queue_return(&gate->queue, items + applied, count - applied);
    learn(gate, status, probe);
}

static void step_sync(struct gate *gate, bool probe)
{
    uint64_t number = ++gate->syncs_begun;
    uint64_t bytes = gate->unsynced_bytes;
    gate->sync_wanted = false;
    enter_tier(gate);
    aic_status status = gate->tier->ops->sync(gate->tier);
    leave_tier(gate);
    gate->sync_due_ns = gate_now(gate) + gate->sync_ns;
    if (status == AIC_OK) {
        gate->syncs_done = number;
        gate->unsynced_bytes -= bytes;
    } else {
        gate->sync_wanted = true;
    }
    /* A sync that had nothing to do says nothing of the writes: it must not interrupt a row of failures. */
    if (status != AIC_OK || probe) learn(gate, status, probe);
}

static void step_clear(struct gate *gate, bool probe)
{
    enter_tier(gate);
    aic_status status = gate->tier->ops->clear(gate->tier);
    leave_tier(gate);
    if (status == AIC_OK) {
        gate->distrusted = false;
        gate_note(gate, GATE_NOTE_TRUSTED);
    }
    learn(gate, status, probe);
}

static bool is_calm(const struct gate *gate, uint64_t now_ns)
{
    return gate->queue.bytes <= gate->queue.max_bytes / 2 && now_ns >= gate->refused_ns + GATE_CALM_NS;
}

static void look_at_queue(struct gate *gate)
{
    if (!gate->queue_is_full || !is_calm(gate, gate_now(gate))) return;
    gate->queue_is_full = false;
    gate_note(gate, GATE_NOTE_QUEUE_FITS);
}

static bool batch_is_ready(const struct gate *gate, uint64_t now_ns)
{
    const struct queue *queue = &gate->queue;
    if (queue->waiting == 0) return false;
    return gate->flushing > 0 || queue->waiting >= GATE_BATCH_ITEMS || queue->bytes >= GATE_BATCH_BYTES ||
           now_ns >= queue->oldest->queued_ns + GATE_GATHER_NS;
}

static bool sync_is_due(const struct gate *gate, uint64_t now_ns)
{
    return gate->sync_wanted || now_ns >= gate->sync_due_ns || gate->unsynced_bytes >= GATE_SYNC_BYTES;
}

static enum step last_step(const struct gate *gate)
{
    if (gate->abandoned || gate->gave_up) return STEP_END;
    if (gate->distrusted) return STEP_CLEAR;
    return gate->queue.waiting > 0 ? STEP_APPLY : STEP_END;
}

/* What to do now, or how long to wait. While the breaker is not closed the queue goes before a sync: it is the better
 * probe. */
static enum step next_step(struct gate *gate, bool *probe, uint64_t *wait_ns)
{
    *probe = false;
    if (gate->stopping) return last_step(gate);
    uint64_t now_ns = gate_now(gate);
    bool ready = batch_is_ready(gate, now_ns);
    bool due = sync_is_due(gate, now_ns);
    if (!ready && !due && !gate->distrusted) {
        uint64_t next_ns = gate->sync_due_ns;
        if (gate->queue.waiting > 0 && gate->queue.oldest->queued_ns + GATE_GATHER_NS < next_ns) {
            next_ns = gate->queue.oldest->queued_ns + GATE_GATHER_NS;
        }
        *wait_ns = next_ns - now_ns;
        return STEP_WAIT;
    }
    *wait_ns = breaker_wait_ns(&gate->writes, now_ns);
    if (*wait_ns == 0 && now_ns < gate->write_retry_ns) *wait_ns = gate->write_retry_ns - now_ns;
    if (*wait_ns > 0) return STEP_WAIT;
    *probe = breaker_admit(&gate->writes, now_ns) == BREAKER_PROBE;
    if (gate->distrusted) return STEP_CLEAR;
    return due && !(*probe && gate->queue.waiting > 0) ? STEP_SYNC : STEP_APPLY;
}

/* What an end leaves behind although it tried: counted, never silent. */
static void drop_the_rest(struct gate *gate)
{
    FIGURE_COUNT(&gate->counts, storage_dropped_writes, gate->queue.waiting);
    queue_drop(&gate->queue);
}

void *gate_writer_main(void *argument)
{
    struct gate *gate = argument;
    gate_lock(gate);
    for (;;) {
        bool probe;
        uint64_t wait_ns = 0;
        gate_look_for_damage(gate);
        enum step step = next_step(gate, &probe, &wait_ns);
        if (step == STEP_END) break;
        if (step == STEP_WAIT) gate_wait(gate, &gate->writes_changed, wait_ns);
        if (step == STEP_APPLY) step_apply(gate, probe);
        if (step == STEP_SYNC) step_sync(gate, probe);
        if (step == STEP_CLEAR) step_clear(gate, probe);
        look_at_queue(gate);
        if (step != STEP_WAIT) pthread_cond_broadcast(&gate->progress);
        if (step != STEP_WAIT || gate->notes != 0) {
            gate_unlock(gate); /* tells the log */
            gate_lock(gate);
        }
    }
    drop_the_rest(gate);
    gate_thread_ends(gate);
    return NULL;
}
