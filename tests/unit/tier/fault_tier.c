#include "fault_tier.h"

#include "base/check.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

static struct fault_tier *of(struct tier *tier)
{
    return (struct fault_tier *)tier;
}

static void hang_while(struct fault_tier *fault, const bool *flag)
{
    fault->hanging++;
    pthread_cond_broadcast(&fault->changed);
    while (*flag) pthread_cond_wait(&fault->changed, &fault->lock);
    fault->hanging--;
}

static size_t slot_of(struct fault_tier *fault, const aic_key *key)
{
    size_t slot = 0;
    while (slot < fault->slot_count && memcmp(fault->slots[slot].key.bytes, key->bytes, AIC_KEY_BYTES) != 0) slot++;
    return slot;
}

static aic_status fault_get(struct tier *tier, const aic_key *key, struct buf *out)
{
    struct fault_tier *fault = of(tier);
    pthread_mutex_lock(&fault->lock);
    fault->gets++;
    if (fault->hang_gets) hang_while(fault, &fault->hang_gets);
    if (fault->get_delay_ms > 0) {
        struct timespec delay = {.tv_nsec = (long)fault->get_delay_ms * 1000000};
        pthread_mutex_unlock(&fault->lock);
        nanosleep(&delay, NULL);
        pthread_mutex_lock(&fault->lock);
    }
    aic_status status = fault->get_status;
    size_t slot = slot_of(fault, key);
    if (status == AIC_OK && (slot == fault->slot_count || !fault->slots[slot].used)) status = AIC_MISS;
    if (status == AIC_OK) buf_append(out, fault->slots[slot].record, fault->slots[slot].size);
    pthread_mutex_unlock(&fault->lock);
    return status;
}

static void store(struct fault_tier *fault, const struct tier_write *write)
{
    size_t slot = slot_of(fault, &write->key);
    CHECK(slot < FAULT_SLOTS);
    if (slot == fault->slot_count) fault->slots[fault->slot_count++].key = write->key;
    mem_free(fault->mem, MEM_OTHER, fault->slots[slot].record, fault->slots[slot].size);
    fault->slots[slot].record = NULL;
    fault->slots[slot].used = write->record.data != NULL;
    fault->slots[slot].size = fault->slots[slot].used ? write->record.size : 0;
    if (fault->slots[slot].size == 0) return;
    fault->slots[slot].record = mem_alloc(fault->mem, MEM_OTHER, write->record.size);
    CHECK(fault->slots[slot].record != NULL);
    memcpy(fault->slots[slot].record, write->record.data, write->record.size);
}

static aic_status fault_apply(struct tier *tier, const struct tier_write *writes, size_t count)
{
    struct fault_tier *fault = of(tier);
    pthread_mutex_lock(&fault->lock);
    fault->applies++;
    if (count > fault->largest_batch) fault->largest_batch = count;
    if (fault->hang_applies) hang_while(fault, &fault->hang_applies);
    aic_status status = fault->apply_status;
    if (status == AIC_OK && count > 1) status = fault->bulk_status;
    for (size_t i = 0; status == AIC_OK && i < count; i++) {
        /* A record that begins with '!' is one that this tier never takes. */
        if (writes[i].record.size > 0 && writes[i].record.data[0] == '!') status = AIC_FULL;
    }
    for (size_t i = 0; status == AIC_OK && i < count; i++) store(fault, &writes[i]);
    pthread_cond_broadcast(&fault->changed);
    pthread_mutex_unlock(&fault->lock);
    return status;
}

static aic_status fault_sync(struct tier *tier)
{
    struct fault_tier *fault = of(tier);
    pthread_mutex_lock(&fault->lock);
    fault->syncs++;
    if (fault->hang_syncs) hang_while(fault, &fault->hang_syncs);
    aic_status status = fault->sync_status;
    pthread_mutex_unlock(&fault->lock);
    return status;
}

static aic_status fault_expire(struct tier *tier, size_t max, size_t *removed)
{
    struct fault_tier *fault = of(tier);
    pthread_mutex_lock(&fault->lock);
    fault->expires++;
    if (fault->hang_expires) hang_while(fault, &fault->hang_expires);
    *removed = max;
    pthread_mutex_unlock(&fault->lock);
    return AIC_OK;
}

static void forget_all(struct fault_tier *fault)
{
    for (size_t i = 0; i < fault->slot_count; i++)
        mem_free(fault->mem, MEM_OTHER, fault->slots[i].record, fault->slots[i].size);
    fault->slot_count = 0;
    memset(fault->slots, 0, sizeof fault->slots);
}

static aic_status fault_clear(struct tier *tier)
{
    struct fault_tier *fault = of(tier);
    pthread_mutex_lock(&fault->lock);
    fault->clears++;
    aic_status status = fault->clear_status;
    if (status == AIC_OK) forget_all(fault);
    pthread_mutex_unlock(&fault->lock);
    return status;
}

static void fault_close(struct tier *tier)
{
    struct fault_tier *fault = of(tier);
    bool *closed = fault->closed;
    if (fault->slots_at_close != NULL) atomic_store(fault->slots_at_close, fault->slot_count);
    forget_all(fault);
    pthread_cond_destroy(&fault->changed);
    pthread_mutex_destroy(&fault->lock);
    mem_free(fault->mem, MEM_OTHER, fault, sizeof *fault);
    if (closed != NULL) __atomic_store_n(closed, true, __ATOMIC_RELEASE);
}

struct fault_tier *fault_tier_create(struct mem *mem)
{
    static const struct tier_ops ops = {.kind = "fault",
                                        .get = fault_get,
                                        .apply = fault_apply,
                                        .sync = fault_sync,
                                        .expire = fault_expire,
                                        .clear = fault_clear,
                                        .close = fault_close};
    struct fault_tier *fault = mem_zalloc(mem, MEM_OTHER, sizeof *fault);
    CHECK(fault != NULL);
    fault->tier.ops = &ops;
    fault->mem = mem;
    CHECK(pthread_mutex_init(&fault->lock, NULL) == 0);
    CHECK(pthread_cond_init(&fault->changed, NULL) == 0);
    return fault;
}

void fault_tier_await_hanging(struct fault_tier *fault, unsigned count)
{
    pthread_mutex_lock(&fault->lock);
    while (fault->hanging < count) pthread_cond_wait(&fault->changed, &fault->lock);
    pthread_mutex_unlock(&fault->lock);
}

unsigned fault_tier_gets(struct fault_tier *fault)
{
    pthread_mutex_lock(&fault->lock);
    unsigned gets = fault->gets;
    pthread_mutex_unlock(&fault->lock);
    return gets;
}

unsigned fault_tier_applies(struct fault_tier *fault)
{
    pthread_mutex_lock(&fault->lock);
    unsigned applies = fault->applies;
    pthread_mutex_unlock(&fault->lock);
    return applies;
}
