/*
 * gate_call.c - what the tier is asked past readers and queue: one bounded piece of work after the other, each run by
 * one of two threads and waited for with a bound.
 *
 * A call owns copies of all that it needs, and its memory is the gate's: who has stopped waiting leaves it to the
 * thread that is in the tier with it. So a tier that hangs holds its own threads and nobody else.
 */
#include "tier/gate_state.h"

#include "base/check.h"
#include "base/status.h"

#include <string.h>

#define CALL_NS (GATE_CALL_MS * GATE_MS_NS)
#define CALL_DOWN_NS (CALL_NS / 10) /* where the tier is known to be down */
#define CALL_LOOK_NS (100 * GATE_MS_NS)

/* -------------------------------------------------------------------------------------------------------- a call -- */

static struct call *call_create(struct gate *gate, enum call_kind kind)
{
    struct call *call = mem_zalloc(gate->mem, MEM_STORAGE, sizeof *call);
    if (call == NULL) return NULL;
    call->kind = kind;
    call->gate = gate;
    struct buf *bufs[] = {&call->page.bytes, &call->texts, &call->name, &call->bytes};
    for (size_t i = 0; i < COUNT_OF(bufs); i++) buf_init(bufs[i], gate->mem, MEM_STORAGE);
    return call;
}

static void call_free(struct call *call)
{
    struct mem *mem = call->gate->mem;
    struct buf *bufs[] = {&call->page.bytes, &call->texts, &call->name, &call->bytes};
    for (size_t i = 0; i < COUNT_OF(bufs); i++) buf_fini(bufs[i]);
    mem_free(mem, MEM_STORAGE, call, sizeof *call);
}

/* A filter with the texts of its labels. AIC_NO_MEMORY. */
static aic_status call_take_filter(struct call *call, const struct tier_filter *filter)
{
    CHECK(filter->label_count <= GATE_CALL_LABELS);
    for (size_t i = 0; i < filter->label_count; i++) buf_append_view(&call->texts, filter->labels[i].value);
    TRY(buf_status(&call->texts));
    call->filter = *filter;
    call->filter.labels = call->labels;
    for (size_t i = 0, at = 0; i < filter->label_count; i++) {
        aic_view value = {call->texts.data + at, filter->labels[i].value.size};
        call->labels[i] = (struct tier_label){filter->labels[i].kind, value};
        at += value.size;
    }
    return AIC_OK;
}

/* -------------------------------------------------------------------------------------------------- the threads -- */

static aic_status look_for_keys(struct tier *tier, struct call *call)
{
    aic_key key;
    for (size_t at = 0; at < call->name.size; at += sizeof key) {
        memcpy(&key, call->name.data + at, sizeof key);
        buf_clear(&call->page.bytes);
        aic_status status = tier->ops->get(tier, &key, &call->page.bytes);
        if (status != AIC_OK && status != AIC_MISS && status != AIC_DAMAGED) return status;
        buf_append_byte(&call->bytes, status != AIC_MISS);
    }
    return buf_status(&call->bytes);
}

static aic_status call_tier(struct tier *tier, struct call *call)
{
    const struct tier_ops *ops = tier->ops;
    switch (call->kind) {
    case CALL_PAGE: return ops->select(tier, &call->filter, &call->page);
    case CALL_HOLDS: return look_for_keys(tier, call);
    case CALL_REMOVE:
        return ops->apply(tier, (const struct tier_write *)(const void *)call->bytes.data,
                          call->bytes.size / sizeof(struct tier_write));
    case CALL_EXPIRE: return ops->expire(tier, call->max, &call->removed);
    case CALL_HARDEN: return ops->harden != NULL ? ops->harden(tier) : AIC_NOT_FOUND;
    case CALL_BLOB_GET: return ops->blob_get(tier, buf_view(&call->name), &call->bytes);
    case CALL_BLOB_PUT: return ops->blob_put(tier, buf_view(&call->name), buf_view(&call->bytes));
    case CALL_BLOB_DROP: return ops->blob_put(tier, buf_view(&call->name), (aic_view){NULL, 0});
    case CALL_BLOB_NEXT: return ops->blob_next(tier, buf_view(&call->texts), &call->name, &call->bytes);
    case CALL_VERIFY: return ops->verify(tier, &call->check, &call->error);
    }
    return AIC_INTERNAL;
}

static struct call *next_call(struct gate *gate)
{
    struct call *call = gate->first_call;
    if (call == NULL) return NULL;
    gate->first_call = call->next;
    if (gate->first_call == NULL) gate->last_call = &gate->first_call;
    return call;
}

/* Under the lock, which it gives up on the way. */
static void run_call(struct caller *caller, struct call *call)
{
    struct gate *gate = caller->gate;
    uint64_t now_ns = gate_now(gate);
    call->state = CALL_RUNNING;
    caller->busy_since_ns = now_ns > 0 ? now_ns : 1;
    gate_unlock(gate);
    aic_status status = call_tier(gate->tier, call);
    gate_lock(gate);
    caller->busy_since_ns = 0;
    gate_look_for_damage(gate);
    if (call->state == CALL_LEFT) {
        call_free(call);
        return;
    }
    call->status = status;
    call->state = CALL_DONE;
    pthread_cond_broadcast(&gate->calls_done);
}

void *gate_caller_main(void *argument)
{
    struct caller *caller = argument;
    struct gate *gate = caller->gate;
    gate_lock(gate);
    while (!gate->stopping) {
        struct call *call = next_call(gate);
        if (call != NULL) run_call(caller, call);
        else gate_wait(gate, &gate->calls_changed, UINT64_MAX);
    }
    gate_thread_ends(gate);
    return NULL;
}

void gate_end_calls(struct gate *gate)
{
    for (struct call *call; (call = next_call(gate)) != NULL;) {
        call->status = AIC_CLOSED;
        call->state = CALL_DONE;
    }
    pthread_cond_broadcast(&gate->calls_changed);
    pthread_cond_broadcast(&gate->calls_done);
}

/* ------------------------------------------------------------------------------------------------- who waits -- */

/* Nobody waits for it any more: it goes at once, or with the thread that has it. Under the lock. */
static void leave(struct gate *gate, struct call *call)
{
    if (call->state == CALL_RUNNING) {
        call->state = CALL_LEFT;
        return;
    }
    struct call **at = &gate->first_call;
    while (*at != call) at = &(*at)->next;
    *at = call->next;
    if (call->next == NULL) gate->last_call = at;
    call_free(call);
}

static bool is_up(const struct gate *gate)
{
    struct gate_health health = gate_health_now(gate);
    return health.reads_up && health.writes_up;
}

/* Has the call run, if what it needs could be copied. AIC_TIMEOUT: *slot is NULL now. */
static aic_status run(struct gate *gate, struct call **slot)
{
    struct call *call = *slot;
    TRY(buf_status(&call->name));
    TRY(buf_status(&call->bytes));
    TRY(buf_status(&call->texts));
    gate_lock(gate);
    call->next = NULL;
    call->state = gate->stopping ? CALL_DONE : CALL_WAITING;
    call->status = AIC_CLOSED;
    if (!gate->stopping) {
        *gate->last_call = call;
        gate->last_call = &call->next;
        pthread_cond_signal(&gate->calls_changed);
    }
    for (uint64_t began_ns = gate_now(gate); call->state != CALL_DONE;) {
        uint64_t took_ns = gate_now(gate) - began_ns, most_ns = is_up(gate) ? CALL_NS : CALL_DOWN_NS;
        if (took_ns >= most_ns) break;
        gate_wait(gate, &gate->calls_done, most_ns - took_ns < CALL_LOOK_NS ? most_ns - took_ns : CALL_LOOK_NS);
    }
    aic_status status = call->status;
    if (call->state != CALL_DONE) {
        FIGURE_COUNT(&gate->counts, storage_errors, 1);
        leave(gate, call);
        *slot = NULL;
        status = AIC_TIMEOUT;
    }
    gate_unlock(gate);
    return status;
}

/* The same, and frees the call whatever became of it. */
static aic_status run_once(struct gate *gate, struct call *call)
{
    aic_status status = run(gate, &call);
    if (call != NULL) call_free(call);
    return status;
}

/* Visits the records of a page, and moves the place behind each. false: the visitor has had enough. */
static bool visit_page(const struct tier_walk *walk, const struct tier_page *page)
{
    struct tier_row row;
    aic_view record;
    for (size_t at = 0; tier_page_read(page, &at, &row, &record);) {
        if (walk->filter->any_order) walk->at->row = row.row + 1;
        else tier_place_after(walk->at, &row.key);
        if (!walk->visit(walk->context, &row.key, record)) return false;
    }
    *walk->at = page->next;
    return true;
}

aic_status gate_walk(struct gate *gate, const struct tier_walk *walk)
{
    struct call *call = call_create(gate, CALL_PAGE);
    if (call == NULL) return AIC_NO_MEMORY;
    aic_status status = call_take_filter(call, walk->filter);
    call->page.next = *walk->at;
    call->page.most = walk->most;
    call->page.most_bytes = walk->most_bytes;
    while (status == AIC_OK && !walk->at->ended && (walk->goes_on == NULL || walk->goes_on(walk->context))) {
        status = run(gate, &call);
        if (status != AIC_OK || !visit_page(walk, &call->page)) break;
    }
    if (call != NULL) call_free(call);
    return status;
}

/* Has the call run, appends its bytes, and frees it. */
static aic_status fetch(struct gate *gate, struct call *call, struct buf *out)
{
    aic_status status = run(gate, &call);
    if (status == AIC_OK) buf_append_view(out, buf_view(&call->bytes));
    if (call != NULL) call_free(call);
    return status == AIC_OK ? buf_status(out) : status;
}

aic_status gate_holds(struct gate *gate, const aic_key *keys, size_t count, bool *held)
{
    struct call *call = call_create(gate, CALL_HOLDS);
    if (call == NULL) return AIC_NO_MEMORY;
    buf_append(&call->name, keys, count * sizeof *keys);
    aic_status status = run(gate, &call);
    for (size_t i = 0; status == AIC_OK && i < count; i++) held[i] = call->bytes.data[i] != 0;
    if (call != NULL) call_free(call);
    return status;
}

aic_status gate_remove(struct gate *gate, const struct tier_write *deletes, size_t count)
{
    struct call *call = call_create(gate, CALL_REMOVE);
    if (call == NULL) return AIC_NO_MEMORY;
    for (size_t i = 0; i < count; i++) CHECK(deletes[i].record.data == NULL);
    buf_append(&call->bytes, deletes, count * sizeof *deletes);
    return run_once(gate, call);
}

aic_status gate_expire(struct gate *gate, size_t max, size_t *removed)
{
    struct call *call = call_create(gate, CALL_EXPIRE);
    if (call == NULL) return AIC_NO_MEMORY;
    call->max = max;
    aic_status status = run(gate, &call);
    if (status == AIC_OK) *removed = call->removed;
    if (call != NULL) call_free(call);
    return status;
}

aic_status gate_harden(struct gate *gate)
{
    struct call *call = call_create(gate, CALL_HARDEN);
    return call != NULL ? run_once(gate, call) : AIC_NO_MEMORY;
}

aic_status gate_blob_get(struct gate *gate, aic_view name, struct buf *out)
{
    struct call *call = call_create(gate, CALL_BLOB_GET);
    if (call == NULL) return AIC_NO_MEMORY;
    buf_append_view(&call->name, name);
    return fetch(gate, call, out);
}

aic_status gate_blob_put(struct gate *gate, aic_view name, aic_view value)
{
    struct call *call = call_create(gate, value.data != NULL ? CALL_BLOB_PUT : CALL_BLOB_DROP);
    if (call == NULL) return AIC_NO_MEMORY;
    buf_append_view(&call->name, name);
    buf_append_view(&call->bytes, value);
    return run_once(gate, call);
}

aic_status gate_blob_next(struct gate *gate, aic_view prefix, struct buf *name, struct buf *value)
{
    struct call *call = call_create(gate, CALL_BLOB_NEXT);
    if (call == NULL) return AIC_NO_MEMORY;
    buf_append_view(&call->texts, prefix);
    buf_append_view(&call->name, buf_view(name));
    aic_status status = run(gate, &call);
    if (status == AIC_OK) {
        buf_clear(name);
        buf_append_view(name, buf_view(&call->name));
        buf_clear(value);
        buf_append_view(value, buf_view(&call->bytes));
        status = buf_status(name) == AIC_OK ? buf_status(value) : AIC_NO_MEMORY;
    }
    if (call != NULL) call_free(call);
    return status;
}

aic_status gate_verify(struct gate *gate, bool (*goes_on)(void *context), void *context, aic_error *error)
{
    struct call *call = call_create(gate, CALL_VERIFY);
    if (call == NULL) return AIC_NO_MEMORY;
    aic_status status = AIC_OK;
    for (bool ended = false; status == AIC_OK && !ended; ended = call == NULL || call->check.ended)
        status = goes_on != NULL && !goes_on(context) ? AIC_CLOSED : run(gate, &call);
    if (call == NULL || status == AIC_CLOSED)
        (void)error_set(error, status, NULL, "storage: %s", aic_status_text(status));
    else if (status != AIC_OK && error != NULL) *error = call->error;
    if (call != NULL) call_free(call);
    return status;
}
