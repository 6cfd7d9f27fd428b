#include "policy_bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const trace_names[] = {"zipf-0.7", "zipf-0.9", "zipf-1.1", "one-off", "drifting",
                                   "bursts",   "scans",    "loops",    NULL};

void *must_alloc(size_t count, size_t size)
{
    void *block = calloc(count == 0 ? 1 : count, size);
    if (block != NULL) return block;
    fprintf(stderr, "bench_policy: out of memory\n");
    exit(2);
}

static uint64_t random_state;

static uint64_t rnd(void)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static double unit(void)
{
    return (double)(rnd() >> 11) / 9007199254740992.0;
}

/* ---------------------------------------------------------------------------------------------------------- zipf -- */

struct zipf {
    double *cumulative;
    uint32_t count;
};

static void zipf_init(struct zipf *zipf, uint32_t count, double exponent)
{
    double sum = 0;
    zipf->cumulative = must_alloc(count, sizeof *zipf->cumulative);
    zipf->count = count;
    for (uint32_t i = 0; i < count; i++) zipf->cumulative[i] = sum += pow((double)i + 1, -exponent);
    for (uint32_t i = 0; i < count; i++) zipf->cumulative[i] /= sum;
}

static uint32_t zipf_next(const struct zipf *zipf)
{
    double at = unit();
    uint32_t low = 0, high = zipf->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zipf->cumulative[middle] < at) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* ---------------------------------------------------------------------------------------------------- generators -- */

/* The state of one generator; `fresh` is the next id that was never asked for. */
struct making {
    struct zipf zipf;
    uint32_t objects, fresh;
    size_t requests;
    struct {
        uint32_t id, left;
    } bursts[16];
};

static uint32_t next_one_off(struct making *making)
{
    return rnd() % 2 == 0 ? making->fresh++ : zipf_next(&making->zipf);
}

/* The popular ones change: the window of ids moves by its whole length four times. */
static uint32_t next_drifting(struct making *making, size_t at)
{
    uint64_t moved = (uint64_t)at * making->objects * 4 / making->requests;
    return (uint32_t)moved + zipf_next(&making->zipf);
}

/* Something new is asked for 4 to 20 times within a short while, and never again. */
static uint32_t next_burst(struct making *making)
{
    if (rnd() % 2 == 0) return zipf_next(&making->zipf);
    unsigned which = (unsigned)(rnd() % 16);
    if (making->bursts[which].left == 0) {
        making->bursts[which].id = making->fresh++;
        making->bursts[which].left = 4 + (uint32_t)(rnd() % 17);
    }
    making->bursts[which].left--;
    return making->bursts[which].id;
}

/* Every tenth of the time, a twentieth of all objects once, in order. */
static uint32_t next_scan(struct making *making, size_t at)
{
    size_t period = making->requests / 10, length = making->objects / 20;
    if (at % period < length) return making->objects + (uint32_t)(at / period % 4 * length + at % period);
    return zipf_next(&making->zipf);
}

/* A third of the requests walk round and round a tenth of the objects. */
static uint32_t next_loop(struct making *making, size_t at)
{
    if (rnd() % 3 == 0) return making->objects + (uint32_t)(at / 3 % (making->objects / 10));
    return zipf_next(&making->zipf);
}

static uint32_t next_id(struct making *making, const char *name, size_t at)
{
    switch (name[0]) {
    case 'o': return next_one_off(making);
    case 'd': return next_drifting(making, at);
    case 'b': return next_burst(making);
    case 's': return next_scan(making, at);
    case 'l': return next_loop(making, at);
    default: return zipf_next(&making->zipf);
    }
}

/* --------------------------------------------------------------------------------------------------------- trace -- */

uint64_t weight_of(uint32_t size)
{
    return ((uint64_t)size + 64 + 63) / 64 * 64;
}

/* Log-normal, median 3 KB, within 0.5 and 50 KB. */
static uint32_t random_size(void)
{
    double normal = sqrt(-2 * log(1 - unit())) * cos(2 * M_PI * unit()), size = 3000 * exp(normal);
    return (uint32_t)(size < 500 ? 500 : size > 50000 ? 50000 : size);
}

/* Renumbers ids that have gaps, so that every id of the trace is below `unique`. */
static void make_dense(struct trace *trace, uint32_t bound)
{
    uint32_t *names = must_alloc(bound, sizeof *names);
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t *name = &names[trace->ids[i]];
        if (*name == 0) *name = ++trace->unique;
        trace->ids[i] = *name - 1;
    }
    free(names);
}

static void set_name(struct trace *trace, const char *name)
{
    size_t size = strnlen(name, sizeof trace->name - 1);
    memcpy(trace->name, name, size);
    trace->name[size] = '\0';
}

static void sum_bytes(struct trace *trace)
{
    for (uint32_t id = 0; id < trace->unique; id++) trace->unique_bytes += weight_of(trace->sizes[id]);
}

void trace_generate(struct trace *trace, const char *name, size_t requests, uint32_t objects, uint64_t seed)
{
    struct making making = {.objects = objects, .fresh = objects, .requests = requests};
    double exponent = name[0] == 'z' ? strtod(name + strlen("zipf-"), NULL) : 0.9;
    memset(trace, 0, sizeof *trace);
    random_state = seed;
    zipf_init(&making.zipf, objects, exponent);
    set_name(trace, name);
    trace->ids = must_alloc(requests, sizeof *trace->ids);
    trace->count = requests;
    uint32_t bound = 0;
    for (size_t i = 0; i < requests; i++) {
        trace->ids[i] = next_id(&making, name, i);
        if (trace->ids[i] >= bound) bound = trace->ids[i] + 1;
    }
    free(making.zipf.cumulative);
    make_dense(trace, bound);
    trace->sizes = must_alloc(trace->unique, sizeof *trace->sizes);
    for (uint32_t id = 0; id < trace->unique; id++) trace->sizes[id] = random_size();
    sum_bytes(trace);
}

/* ---------------------------------------------------------------------------------------------------------- CSV -- */

static _Noreturn void refuse_line(const char *path, size_t line, const char *why)
{
    fprintf(stderr, "bench_policy: %s:%zu: %s; a line is time,key,size\n", path, line, why);
    exit(2);
}

/* FNV-1a, 64 bits: two keys of a trace with the same number are not expected. */
static uint64_t number_of(const char *key, size_t size)
{
    uint64_t number = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < size; i++) number = (number ^ (unsigned char)key[i]) * 0x100000001b3ull;
    return number | 1;
}

struct names {
    uint64_t *keys;
    uint32_t *ids;
    size_t capacity;
};

static void names_grow(struct names *names)
{
    struct names old = *names;
    names->capacity = old.capacity == 0 ? 1 << 16 : old.capacity * 2;
    names->keys = must_alloc(names->capacity, sizeof *names->keys);
    names->ids = must_alloc(names->capacity, sizeof *names->ids);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.keys[i] == 0) continue;
        size_t at = old.keys[i] * 0x9e3779b97f4a7c15ull % names->capacity;
        while (names->keys[at] != 0) at = (at + 1) % names->capacity;
        names->keys[at] = old.keys[i];
        names->ids[at] = old.ids[i];
    }
    free(old.keys);
    free(old.ids);
}

static uint32_t names_find(struct names *names, uint64_t key, uint32_t next)
{
    size_t at = key * 0x9e3779b97f4a7c15ull % names->capacity;
    while (names->keys[at] != 0 && names->keys[at] != key) at = (at + 1) % names->capacity;
    if (names->keys[at] == key) return names->ids[at];
    names->keys[at] = key;
    names->ids[at] = next;
    return next;
}

static void *grow(void *block, size_t size, size_t count, size_t *capacity)
{
    if (count < *capacity) return block;
    *capacity = *capacity == 0 ? 1 << 16 : *capacity * 2;
    void *grown = realloc(block, *capacity * size);
    if (grown != NULL) return grown;
    fprintf(stderr, "bench_policy: out of memory\n");
    exit(2);
}

void trace_read(struct trace *trace, const char *path)
{
    char line[4096];
    struct names names = {0};
    size_t ids_capacity = 0, sizes_capacity = 0, number = 0;
    memset(trace, 0, sizeof *trace);
    const char *slash = strrchr(path, '/');
    set_name(trace, slash == NULL ? path : slash + 1);
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "bench_policy: cannot open %s: %s\n", path, strerror(errno));
        exit(2);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        number++;
        char *key = strchr(line, ','), *size = strrchr(line, ','), *end;
        if (key == NULL || size == key) refuse_line(path, number, "fewer than three fields");
        unsigned long long bytes = strtoull(size + 1, &end, 10);
        if (end == size + 1 || strspn(end, "\r\n") != strlen(end)) {
            if (number == 1) continue; /* a head line */
            refuse_line(path, number, "the size is no number");
        }
        if (bytes > 1u << 30) refuse_line(path, number, "the size is above 1 GiB");
        if ((size_t)trace->unique * 2 >= names.capacity) names_grow(&names);
        uint32_t id = names_find(&names, number_of(key + 1, (size_t)(size - key - 1)), trace->unique);
        if (id == trace->unique) {
            trace->sizes = grow(trace->sizes, sizeof *trace->sizes, trace->unique, &sizes_capacity);
            trace->sizes[trace->unique++] = (uint32_t)bytes;
        }
        trace->ids = grow(trace->ids, sizeof *trace->ids, trace->count, &ids_capacity);
        trace->ids[trace->count++] = id;
    }
    if (file != stdin) fclose(file);
    free(names.keys);
    free(names.ids);
    if (trace->count == 0) refuse_line(path, number, "no request in it");
    sum_bytes(trace);
}

void trace_fini(struct trace *trace)
{
    free(trace->ids);
    free(trace->sizes);
}
