/*
 * reference.c - S3-FIFO as the paper writes it down (Yang et al., SOSP 2023, algorithm 1), by bytes, and Belady's MIN.
 * Written for plainness: dense ids, arrays, exact queues, no shards. It shares no code with the store.
 */
#include "policy_bench.h"

#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------------- S3-FIFO -- */

enum place { NOWHERE, SMALL, MAIN };

struct fifo {
    uint32_t *ids; /* a ring */
    size_t head, count, capacity;
    uint64_t bytes;
};

struct s3 {
    const struct trace *trace;
    struct fifo small, main, ghost;
    uint8_t *place, *freq, *in_ghost; /* by id */
    uint64_t capacity;
};

static void push(struct s3 *s3, struct fifo *fifo, uint32_t id)
{
    fifo->ids[(fifo->head + fifo->count++) % fifo->capacity] = id;
    fifo->bytes += weight_of(s3->trace->sizes[id]);
}

static uint32_t pop(struct s3 *s3, struct fifo *fifo)
{
    uint32_t id = fifo->ids[fifo->head];
    fifo->head = (fifo->head + 1) % fifo->capacity;
    fifo->count--;
    fifo->bytes -= weight_of(s3->trace->sizes[id]);
    return id;
}

/* A ghost that is asked for again leaves its place in the queue empty; `in_ghost` counts how many places are its. */
static void ghost_add_id(struct s3 *s3, uint32_t id)
{
    push(s3, &s3->ghost, id);
    s3->in_ghost[id]++;
    while (s3->ghost.bytes > s3->capacity / 10 * 9) {
        uint32_t oldest = pop(s3, &s3->ghost);
        if (s3->in_ghost[oldest] > 0) s3->in_ghost[oldest]--;
    }
}

static void evict_main(struct s3 *s3)
{
    while (s3->main.count > 0) {
        uint32_t id = pop(s3, &s3->main);
        if (s3->freq[id] == 0) {
            s3->place[id] = NOWHERE;
            return;
        }
        s3->freq[id]--;
        push(s3, &s3->main, id);
    }
}

static void evict_small(struct s3 *s3)
{
    while (s3->small.count > 0) {
        uint32_t id = pop(s3, &s3->small);
        if (s3->freq[id] > 1) {
            s3->freq[id] = 0;
            s3->place[id] = MAIN;
            push(s3, &s3->main, id);
            continue;
        }
        s3->place[id] = NOWHERE;
        ghost_add_id(s3, id);
        return;
    }
}

static void insert(struct s3 *s3, uint32_t id)
{
    uint64_t weight = weight_of(s3->trace->sizes[id]);
    if (weight > s3->capacity) return;
    while (s3->small.bytes + s3->main.bytes + weight > s3->capacity) {
        if (s3->small.count > 0 && (s3->small.bytes >= s3->capacity / 10 || s3->main.count == 0)) evict_small(s3);
        else evict_main(s3);
    }
    s3->freq[id] = 0;
    if (s3->in_ghost[id] > 0) {
        s3->in_ghost[id]--;
        s3->place[id] = MAIN;
        push(s3, &s3->main, id);
    } else {
        s3->place[id] = SMALL;
        push(s3, &s3->small, id);
    }
}

struct outcome replay_reference(const struct trace *trace, uint64_t capacity)
{
    struct s3 s3 = {.trace = trace, .capacity = capacity};
    struct fifo *fifos[] = {&s3.small, &s3.main, &s3.ghost};
    for (size_t i = 0; i < 3; i++) {
        /* A ghost's left-over places can be more than there are ids, never more than there were requests. */
        fifos[i]->capacity = i == 2 ? trace->count + 1 : (size_t)trace->unique + 1;
        fifos[i]->ids = must_alloc(fifos[i]->capacity, sizeof(uint32_t));
    }
    s3.place = must_alloc(trace->unique, 1);
    s3.freq = must_alloc(trace->unique, 1);
    s3.in_ghost = must_alloc(trace->unique, 1);
    uint64_t hits = 0, hit_bytes = 0, bytes = 0;
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t id = trace->ids[i];
        bytes += trace->sizes[id];
        if (s3.place[id] == NOWHERE) {
            insert(&s3, id);
            continue;
        }
        if (s3.freq[id] < 3) s3.freq[id]++;
        hits++;
        hit_bytes += trace->sizes[id];
    }
    for (size_t i = 0; i < 3; i++) free(fifos[i]->ids);
    free(s3.place);
    free(s3.freq);
    free(s3.in_ghost);
    return (struct outcome){.hit_rate = 100.0 * (double)hits / (double)trace->count,
                            .byte_hit_rate = bytes == 0 ? 0 : 100.0 * (double)hit_bytes / (double)bytes};
}

/* -------------------------------------------------------------------------------------------------------- Belady -- */

/* A heap of (next use, id), furthest first. Entries that are out of date stay and are skipped when they come up. */
struct use {
    size_t next;
    uint32_t id;
};

struct heap {
    struct use *uses;
    size_t count;
};

static void heap_add(struct heap *heap, struct use use)
{
    size_t at = heap->count++;
    while (at > 0 && heap->uses[(at - 1) / 2].next < use.next) {
        heap->uses[at] = heap->uses[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->uses[at] = use;
}

static void heap_drop(struct heap *heap)
{
    struct use last = heap->uses[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && heap->uses[child + 1].next > heap->uses[child].next) child++;
        if (heap->uses[child].next <= last.next) break;
        heap->uses[at] = heap->uses[child];
        at = child;
    }
    heap->uses[at] = last;
}

struct outcome replay_belady(const struct trace *trace, uint64_t capacity)
{
    size_t *next = must_alloc(trace->count, sizeof *next), *seen = must_alloc(trace->unique, sizeof *seen);
    size_t *current = must_alloc(trace->unique, sizeof *current); /* next use of what is in, 0: it is out */
    struct heap heap = {must_alloc(trace->count + 1, sizeof(struct use)), 0};
    uint64_t held = 0, hits = 0, hit_bytes = 0, bytes = 0;
    for (uint32_t id = 0; id < trace->unique; id++) seen[id] = SIZE_MAX;
    for (size_t i = trace->count; i-- > 0;) {
        next[i] = seen[trace->ids[i]];
        seen[trace->ids[i]] = i;
    }
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t id = trace->ids[i];
        uint64_t weight = weight_of(trace->sizes[id]);
        bool is_in = current[id] != 0;
        bytes += trace->sizes[id];
        hits += is_in;
        hit_bytes += is_in ? trace->sizes[id] : 0;
        if (is_in) held -= weight;
        current[id] = 0;
        if (next[i] == SIZE_MAX || weight > capacity) continue;
        heap_add(&heap, (struct use){next[i], id});
        current[id] = next[i];
        held += weight;
        while (held > capacity) {
            struct use furthest = heap.uses[0];
            heap_drop(&heap);
            if (current[furthest.id] != furthest.next) continue;
            current[furthest.id] = 0;
            held -= weight_of(trace->sizes[furthest.id]);
        }
    }
    free(next);
    free(seen);
    free(current);
    free(heap.uses);
    return (struct outcome){.hit_rate = 100.0 * (double)hits / (double)trace->count,
                            .byte_hit_rate = bytes == 0 ? 0 : 100.0 * (double)hit_bytes / (double)bytes};
}
