#include "tier/queue.h"

#include "base/check.h"
#include "base/view.h"

#include <string.h>

enum { FIRST_BUCKETS = 256 };

/* --------------------------------------------------------------------------------------------------------- items -- */

struct queue_item *queue_item_create(struct mem *mem, const aic_key *key, const struct iovec *parts, size_t part_count)
{
    size_t size = 0;
    for (size_t i = 0; parts != NULL && i < part_count; i++) size += parts[i].iov_len;
    struct queue_item *item = mem_alloc(mem, MEM_QUEUE, sizeof *item + size);
    if (item == NULL) return NULL;
    *item = (struct queue_item){.key = *key, .mem = mem, .is_delete = parts == NULL, .size = size};
    atomic_init(&item->references, 1);
    size_t at = 0;
    for (size_t i = 0; parts != NULL && i < part_count; i++) {
        if (parts[i].iov_len > 0) memcpy(item->record + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    return item;
}

void queue_item_pin(struct queue_item *item)
{
    /* Relaxed: whoever pins holds a reference, or the lock under which the queue holds one. */
    atomic_fetch_add_explicit(&item->references, 1, memory_order_relaxed);
}

void queue_item_release(struct queue_item **item)
{
    struct queue_item *gone = *item;
    *item = NULL;
    if (gone == NULL) return;
    /* Acquire-release, partner: the same line in other threads. */
    if (atomic_fetch_sub_explicit(&gone->references, 1, memory_order_acq_rel) > 1) return;
    mem_free(gone->mem, MEM_QUEUE, gone, sizeof *gone + gone->size);
}

uint64_t queue_item_bytes(const struct queue_item *item)
{
    return sizeof *item + item->size;
}

/* --------------------------------------------------------------------------------------------------------- index -- */

static size_t table_bytes(size_t buckets)
{
    return buckets * sizeof(void *);
}

/* Keys are digests: any 8 of their bytes are as good as a hash. */
static size_t bucket_of(const struct queue *queue, const aic_key *key)
{
    uint64_t hash;
    memcpy(&hash, key->bytes + 8, sizeof hash);
    return (size_t)hash & (queue->bucket_count - 1);
}

struct queue_item *queue_find(const struct queue *queue, const aic_key *key)
{
    struct queue_item *item = queue->buckets[bucket_of(queue, key)];
    while (item != NULL && key_compare(&item->key, key) != 0) item = item->chain;
    return item;
}

/* A table that cannot grow is only slower. */
static void grow_index(struct queue *queue)
{
    size_t count = queue->bucket_count * 2;
    struct queue_item **buckets = mem_zalloc(queue->mem, MEM_QUEUE, table_bytes(count));
    if (buckets == NULL) return;
    struct queue_item **old = queue->buckets;
    size_t old_count = queue->bucket_count;
    queue->buckets = buckets;
    queue->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (struct queue_item *item = old[i], *chain; item != NULL; item = chain) {
            chain = item->chain;
            struct queue_item **bucket = &buckets[bucket_of(queue, &item->key)];
            item->chain = *bucket;
            *bucket = item;
        }
    }
    mem_free(queue->mem, MEM_QUEUE, old, table_bytes(old_count));
}

static void index_add(struct queue *queue, struct queue_item *item)
{
    if (queue->indexed >= queue->bucket_count) grow_index(queue);
    struct queue_item **bucket = &queue->buckets[bucket_of(queue, &item->key)];
    item->chain = *bucket;
    *bucket = item;
    queue->indexed++;
}

static void index_remove(struct queue *queue, struct queue_item *item)
{
    struct queue_item **link = &queue->buckets[bucket_of(queue, &item->key)];
    while (*link != item) link = &(*link)->chain;
    *link = item->chain;
    item->chain = NULL;
    queue->indexed--;
}

/* ---------------------------------------------------------------------------------------------------------- list -- */

/* Between two neighbours; NULL is the end of the list on that side. */
static void list_insert(struct queue *queue, struct queue_item *item, struct queue_item *previous,
                        struct queue_item *next)
{
    item->previous = previous;
    item->next = next;
    if (previous != NULL) previous->next = item;
    else queue->oldest = item;
    if (next != NULL) next->previous = item;
    else queue->newest = item;
    queue->waiting++;
}

static void list_remove(struct queue *queue, struct queue_item *item)
{
    if (item->previous != NULL) item->previous->next = item->next;
    else queue->oldest = item->next;
    if (item->next != NULL) item->next->previous = item->previous;
    else queue->newest = item->previous;
    item->previous = NULL;
    item->next = NULL;
    queue->waiting--;
}

static void forget(struct queue *queue, struct queue_item *item)
{
    queue->bytes -= queue_item_bytes(item);
    queue_item_release(&item);
}

/* --------------------------------------------------------------------------------------------------------- queue -- */

aic_status queue_init(struct queue *queue, struct mem *mem, uint64_t max_bytes)
{
    *queue = (struct queue){.mem = mem, .max_bytes = max_bytes, .bucket_count = FIRST_BUCKETS, .next_sequence = 1};
    queue->buckets = mem_zalloc(mem, MEM_QUEUE, table_bytes(queue->bucket_count));
    return queue->buckets != NULL ? AIC_OK : AIC_NO_MEMORY;
}

void queue_fini(struct queue *queue)
{
    if (queue->buckets == NULL) return;
    CHECK(queue->flying == 0);
    queue_drop(queue);
    CHECK(queue->bytes == 0 && queue->indexed == 0);
    mem_free(queue->mem, MEM_QUEUE, queue->buckets, table_bytes(queue->bucket_count));
    queue->buckets = NULL;
}

/* Puts the item into the place of a waiting one, with that one's sequence and age: a flush that waits for the old one
 * gets the new one. */
static void replace(struct queue *queue, struct queue_item *old, struct queue_item *item)
{
    struct queue_item *previous = old->previous, *next = old->next;
    item->sequence = old->sequence;
    item->queued_ns = old->queued_ns;
    list_remove(queue, old);
    list_insert(queue, item, previous, next);
    forget(queue, old);
}

aic_status queue_add(struct queue *queue, struct queue_item *item, uint64_t now_ns)
{
    struct queue_item *old = queue_find(queue, &item->key);
    bool replaces = old != NULL && !old->flying;
    uint64_t bytes = queue->bytes + queue_item_bytes(item) - (replaces ? queue_item_bytes(old) : 0);
    uint64_t limit = item->is_delete ? queue->max_bytes : queue->max_bytes - queue->max_bytes / 8;
    /* A delete in the place of a put takes no more than was there. */
    if (bytes > limit && !(replaces && item->is_delete)) return AIC_FULL;
    if (old != NULL) {
        item->noted = old->noted;
        index_remove(queue, old);
    }
    index_add(queue, item);
    queue->bytes += queue_item_bytes(item);
    if (replaces) {
        replace(queue, old, item);
        return AIC_OK;
    }
    if (old != NULL) old->superseded = true;
    item->sequence = queue->next_sequence++;
    item->queued_ns = now_ns;
    list_insert(queue, item, queue->newest, NULL);
    return AIC_OK;
}

size_t queue_take(struct queue *queue, struct queue_item **out, size_t max, uint64_t max_bytes)
{
    size_t count = 0;
    uint64_t bytes = 0;
    while (count < max && queue->oldest != NULL && (count == 0 || bytes + queue->oldest->size <= max_bytes)) {
        struct queue_item *item = queue->oldest;
        list_remove(queue, item);
        item->flying = true;
        queue->flying++;
        bytes += item->size;
        out[count++] = item;
    }
    if (count > 0) queue->first_flying = out[0]->sequence;
    return count;
}

uint64_t queue_oldest_sequence(const struct queue *queue)
{
    if (queue->flying > 0) return queue->first_flying;
    return queue->oldest != NULL ? queue->oldest->sequence : queue->next_sequence;
}

void queue_land(struct queue *queue, struct queue_item **items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!items[i]->superseded) index_remove(queue, items[i]);
        queue->flying--;
        forget(queue, items[i]);
    }
}

/* Its newer write takes its place and its sequence: whoever waits for this one may not be told that it was applied
 * while the tier still holds what was there before. */
static void return_superseded(struct queue *queue, struct queue_item *item)
{
    struct queue_item *newer = queue_find(queue, &item->key);
    if (newer != NULL) {
        list_remove(queue, newer);
        newer->sequence = item->sequence;
        newer->queued_ns = item->queued_ns;
        list_insert(queue, newer, NULL, queue->oldest);
    }
    forget(queue, item);
}

void queue_return(struct queue *queue, struct queue_item **items, size_t count)
{
    for (size_t i = count; i > 0; i--) {
        struct queue_item *item = items[i - 1];
        queue->flying--;
        item->flying = false;
        if (item->superseded) return_superseded(queue, item);
        else list_insert(queue, item, NULL, queue->oldest);
    }
}

size_t queue_note(struct queue *queue, bool again, aic_key *out, size_t max)
{
    size_t count = 0;
    for (int pass = again ? 0 : 1; pass < 2; pass++) {
        for (size_t i = 0; i < queue->bucket_count; i++) {
            for (struct queue_item *item = queue->buckets[i]; item != NULL; item = item->chain) {
                if (pass == 1 && (item->noted || count == max)) continue;
                if (pass == 1) out[count++] = item->key;
                item->noted = pass == 1;
            }
        }
    }
    return count;
}

void queue_drop(struct queue *queue)
{
    while (queue->oldest != NULL) {
        struct queue_item *item = queue->oldest;
        list_remove(queue, item);
        index_remove(queue, item);
        forget(queue, item);
    }
    for (size_t i = 0; i < queue->bucket_count; i++) {
        while (queue->buckets[i] != NULL) {
            queue->buckets[i]->superseded = true;
            index_remove(queue, queue->buckets[i]);
        }
    }
}

aic_status queue_verify(const struct queue *queue)
{
    uint64_t bytes = 0, sequence = 0;
    size_t waiting = 0, indexed = 0, flying = 0;
    for (const struct queue_item *item = queue->oldest, *previous = NULL; item != NULL;
         previous = item, item = item->next) {
        if (item->previous != previous || item->sequence <= sequence || item->flying) return AIC_DAMAGED;
        if (queue_find(queue, &item->key) != item) return AIC_DAMAGED;
        sequence = item->sequence;
        bytes += queue_item_bytes(item);
        waiting++;
    }
    for (size_t i = 0; i < queue->bucket_count; i++) {
        for (const struct queue_item *item = queue->buckets[i]; item != NULL; item = item->chain, indexed++) {
            if (item->superseded || bucket_of(queue, &item->key) != i) return AIC_DAMAGED;
            if (item->flying) bytes += queue_item_bytes(item);
            if (item->flying) flying++;
        }
    }
    /* Superseded items are flying but not indexed; their bytes are known to the writer only. */
    bool whole = queue->flying == flying ? queue->bytes == bytes : queue->flying > flying && queue->bytes > bytes;
    return whole && waiting == queue->waiting && indexed == queue->indexed ? AIC_OK : AIC_DAMAGED;
}
