#include "cache/owed.h"

#include "cache/inner.h"
#include "tier/journal.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SETTLE_WAIT_MS 1000
#define KEYS_AT_ONCE 256

enum { RECORD_DELETE = 'd', RECORD_FILTER = 'f', RECORD_EVERYTHING = 'e' }; /* first byte of a record */

/* A filter on disk: this, then the five texts. Never changed: another layout gets another first byte. */
struct filter_image {
    uint8_t kind;
    uint8_t any_namespace, has_operation, has_model, has_tag, has_pattern, until_given, tiers;
    uint64_t until_ms;
    uint64_t until_seq;
    uint16_t sizes[5];   /* namespace, operation, model, tag, pattern */
    uint8_t taken_ms[6]; /* little-endian; 0 in files of earlier versions */
};
_Static_assert(sizeof(struct filter_image) == 40, "the layout is the file's");
static_assert(offsetof(struct filter_image, until_ms) == 8 && offsetof(struct filter_image, sizes) == 24 &&
                  offsetof(struct filter_image, taken_ms) == 34,
              "each field of the file has its place");
static_assert(FILTER_MAX_PATTERN <= UINT16_MAX && AIC_MAX_NAME_BYTES <= UINT16_MAX, "a text's size has two bytes");
static_assert(AIC_IN_MEMORY + AIC_IN_STORAGE <= UINT8_MAX, "the tiers have one byte");

void owed_init(struct owed *owed)
{
    *owed = (struct owed){.journal = NULL};
    pthread_mutex_init(&owed->lock, NULL);
}

void owed_fini(struct owed *owed)
{
    journal_close(&owed->journal);
    pthread_mutex_destroy(&owed->lock);
}

/* ---- the record that forgets everything ---- */

/* With the lock held, or before others run; so are the next two. */
static aic_status add_everything(struct owed *owed)
{
    const char kind = RECORD_EVERYTHING;
    TRY(journal_add(owed->journal, (aic_view){&kind, 1}, true));
    owed->everything = true;
    return AIC_OK;
}

static aic_status make_durable(struct owed *owed, aic_status status)
{
    if (status == AIC_OK && journal_sync(owed->journal) == AIC_OK) return AIC_OK;
    owed->everything = false; /* that record may not have got there; it is written again */
    return AIC_UNAVAILABLE;
}

/* Where that fails, nobody knows what is in the file. What is there goes once more at the next start: too much, never
 * too little. A write that was queued meanwhile, behind one of its key that was written down, passes for written down
 * itself. */
static void forget_records(struct owed *owed)
{
    atomic_store_explicit(&owed->missed, true, memory_order_relaxed);
    aic_status cleared = journal_clear(owed->journal);
    (void)cleared;
    owed->everything = false;
}

/* ---- what an earlier process left ---- */

static aic_status owe(struct aic_cache *cache, struct filter_node **node)
{
    filter_list_add(&cache->filters, *node, &cache->last_seq);
    filter_list_owe(&cache->filters, node);
    return AIC_OK;
}

static aic_status take_everything(struct aic_cache *cache)
{
    struct filter_node *node;
    TRY(filter_list_make(&cache->filters, &node));
    node->filter.any_namespace = true;
    node->filter.tiers = AIC_IN_MEMORY | AIC_IN_STORAGE;
    return owe(cache, &node);
}

static bool image_fits(const struct filter_image *image, size_t size)
{
    size_t sum = sizeof *image;
    for (size_t i = 0; i < 4; i++) {
        if (image->sizes[i] > AIC_MAX_NAME_BYTES) return false;
        sum += image->sizes[i];
    }
    return image->sizes[4] <= FILTER_MAX_PATTERN && sum + image->sizes[4] == size;
}

static aic_status take_filter(struct aic_cache *cache, aic_view record)
{
    struct filter_image image;
    if (record.size < sizeof image) return take_everything(cache);
    memcpy(&image, record.data, sizeof image);
    if (!image_fits(&image, record.size)) return take_everything(cache);
    struct filter_node *node;
    TRY(filter_list_make(&cache->filters, &node));
    struct filter *filter = &node->filter;
    aic_view *const views[] = {&filter->ns, &filter->operation, &filter->model, &filter->tag, &filter->pattern};
    static_assert(COUNT_OF(views) == COUNT_OF(image.sizes), "each text has its size");
    const char *from = record.data + sizeof image;
    for (size_t i = 0; i < COUNT_OF(views); i++) {
        char *to = i < 4 ? filter->texts[i] : filter->pattern_text;
        memcpy(to, from, image.sizes[i]);
        *views[i] = (aic_view){to, image.sizes[i]};
        from += image.sizes[i];
    }
    filter->any_namespace = image.any_namespace != 0;
    filter->has_operation = image.has_operation != 0;
    filter->has_model = image.has_model != 0;
    filter->has_tag = image.has_tag != 0;
    filter->has_pattern = image.has_pattern != 0;
    CHECK(glob_compile(&filter->glob, filter->pattern) == AIC_OK);
    filter->tiers = image.tiers;
    filter->until_given = image.until_given != 0;
    filter->until_ms = image.until_ms;
    filter->until_seq = filter->taken_seq = image.until_seq;
    uint64_t taken_ms = 0;
    memcpy(&taken_ms, image.taken_ms, sizeof image.taken_ms);
    filter->taken_ms = taken_ms != 0 ? le64toh(taken_ms) : UINT64_MAX;
    /* Puts that storage lost with their process had the numbers up to there: no new one may take them for older. */
    if (image.until_seq > atomic_load_explicit(&cache->last_seq, memory_order_relaxed))
        atomic_store_explicit(&cache->last_seq, image.until_seq, memory_order_relaxed);
    return owe(cache, &node);
}

/* Shows one record of the file. What is not understood was written for a reason: everything goes. */
static aic_status take_record(void *context, aic_view record)
{
    struct aic_cache *cache = context;
    aic_key key;
    if (record.data[0] == RECORD_FILTER) return take_filter(cache, record);
    if (record.data[0] != RECORD_DELETE || record.size != 1 + sizeof key.bytes) {
        /* Whoever understands another record may forget less by it. */
        cache->owed.everything = cache->owed.everything || record.data[0] == RECORD_EVERYTHING;
        return take_everything(cache);
    }
    memcpy(key.bytes, record.data + 1, sizeof key.bytes);
    return gate_delete(cache->gate, &key);
}

/* What the file said is lost, and removals with it. */
static aic_status forget_everything(struct aic_cache *cache)
{
    struct owed *owed = &cache->owed;
    cache_log(
        cache, AIC_LOG_ERROR,
        "data_dir: the file 'removals' is damaged: deletes that it kept are not known any more, so everything that "
        "was stored so far goes");
    /* Without that record the next one would make the file a good one that forgets too little. */
    if (make_durable(owed, add_everything(owed)) != AIC_OK) journal_close(&owed->journal);
    return take_everything(cache);
}

static bool has_entries(struct aic_cache *cache)
{
    struct tier_stats stats;
    gate_tier_stats(cache->gate, &stats);
    return stats.entries > 0;
}

aic_status owed_open(struct aic_cache *cache, const char *data_dir)
{
    struct owed *owed = &cache->owed;
    char path[4096];
    bool intact = true;
    if (data_dir == NULL || (size_t)snprintf(path, sizeof path, "%s/removals", data_dir) >= sizeof path) return AIC_OK;
    struct stat file;
    bool known = stat(path, &file) == 0, missing = !known && errno == ENOENT;
    /* Each open takes all its room before the first record, so less of it is a file that somebody cut. */
    bool cut = known ? file.st_size < JOURNAL_BYTES : missing;
    aic_status status = journal_open(&cache->mem, path, take_record, cache, &intact, &owed->journal);
    if (status == AIC_NO_MEMORY) return status;
    if (status != AIC_OK) {
        cache_log(cache, AIC_LOG_WARNING,
                  "data_dir: the file 'removals' cannot be opened: removals while storage takes no writes are refused");
        return AIC_OK;
    }
    /* Each open makes it, or says that it cannot. */
    if (cut && intact && has_entries(cache))
        cache_log(cache, AIC_LOG_WARNING,
                  "data_dir: the file 'removals' is %s beside stored entries: deletes that it may have kept are not "
                  "known any more",
                  missing ? "missing" : "cut short");
    if (journal_size(owed->journal) > 0)
        cache_log(cache, AIC_LOG_INFO,
                  "storage owes removals since an earlier process ended: they are carried out now");
    return intact ? AIC_OK : forget_everything(cache);
}

/* ---- what this one may leave ---- */

/* Until whoever syncs is done, a second at most: a disk that hangs shall hold nobody but him. The lock is held then. */
static bool take_turn(struct owed *owed)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* the thread sanitizer does not know pthread_mutex_clocklock() */
    until.tv_sec += 1;
    return pthread_mutex_timedlock(&owed->lock, &until) == 0;
}

/* With the lock held. What does not fit any more is said by the one record that always fits. */
static aic_status add(struct owed *owed, aic_view record)
{
    aic_status status = journal_add(owed->journal, record, false);
    return status == AIC_FULL ? add_everything(owed) : status;
}

aic_status owed_deletes(struct aic_cache *cache, const aic_key *keys, size_t count)
{
    struct owed *owed = &cache->owed;
    if (owed->journal == NULL) return AIC_UNAVAILABLE;
    aic_status status = AIC_OK;
    if (!take_turn(owed)) return AIC_UNAVAILABLE;
    bool said = owed->everything;
    for (size_t i = 0; i < count && status == AIC_OK && !owed->everything; i++) {
        char record[1 + sizeof keys->bytes] = {RECORD_DELETE};
        memcpy(record + 1, keys[i].bytes, sizeof keys->bytes);
        status = add(owed, (aic_view){record, sizeof record});
    }
    if (!said) status = make_durable(owed, status);
    pthread_mutex_unlock(&owed->lock);
    if (status == AIC_OK) gate_is_known(cache->gate, keys, count);
    return status;
}

static size_t write_image(const struct filter *filter, char *out)
{
    const aic_view views[] = {filter->ns, filter->operation, filter->model, filter->tag, filter->pattern};
    struct filter_image image = {.kind = RECORD_FILTER,
                                 .any_namespace = filter->any_namespace,
                                 .has_operation = filter->has_operation,
                                 .has_model = filter->has_model,
                                 .has_tag = filter->has_tag,
                                 .has_pattern = filter->has_pattern,
                                 .tiers = (uint8_t)filter->tiers,
                                 .until_given = filter->until_given,
                                 .until_ms = filter->until_ms,
                                 .until_seq = filter->until_seq};
    static_assert(COUNT_OF(views) == COUNT_OF(image.sizes), "each text has its size");
    size_t size = sizeof image;
    uint64_t taken_ms = htole64(filter->taken_ms);
    memcpy(image.taken_ms, &taken_ms, sizeof image.taken_ms);
    for (size_t i = 0; i < COUNT_OF(views); i++) {
        image.sizes[i] = (uint16_t)views[i].size;
        if (views[i].size > 0) memcpy(out + size, views[i].data, views[i].size);
        size += views[i].size;
    }
    memcpy(out, &image, sizeof image);
    return size;
}

aic_status owed_filter(struct aic_cache *cache, const struct filter *filter)
{
    struct owed *owed = &cache->owed;
    char record[sizeof(struct filter_image) + sizeof filter->texts + sizeof filter->pattern_text];
    if (owed->journal == NULL) return AIC_UNAVAILABLE;
    CHECK(filter->until_seq != 0);
    size_t size = write_image(filter, record);
    if (!take_turn(owed)) return AIC_UNAVAILABLE;
    aic_status status = owed->everything ? AIC_OK : make_durable(owed, add(owed, (aic_view){record, size}));
    pthread_mutex_unlock(&owed->lock);
    return status;
}

/* Leaves out the keys that storage knows nothing of, which need no record, where it can be asked. */
static size_t keep_older(struct aic_cache *cache, aic_key *keys, size_t count)
{
    bool held[KEYS_AT_ONCE];
    size_t kept = 0;
    if (gate_holds(cache->gate, keys, count, held) != AIC_OK) return count;
    for (size_t i = 0; i < count; i++)
        if (held[i]) keys[kept++] = keys[i];
    return kept;
}

static bool forget_storage(struct owed *owed)
{
    if (!take_turn(owed)) return false;
    aic_status status = owed->everything ? AIC_OK : make_durable(owed, add_everything(owed));
    pthread_mutex_unlock(&owed->lock);
    return status == AIC_OK;
}

void owed_replaced(struct aic_cache *cache)
{
    struct owed *owed = &cache->owed;
    struct gate_stats stats;
    aic_key keys[KEYS_AT_ONCE];
    if (owed->journal == NULL) return;
    gate_stats(cache->gate, &stats);
    bool again = atomic_load_explicit(&owed->missed, memory_order_relaxed), fine = true;
    if (stats.distrusted) fine = forget_storage(owed);
    for (size_t count; fine && (count = gate_unapplied(cache->gate, again, keys, KEYS_AT_ONCE)) > 0; again = false) {
        size_t kept = stats.reads_up ? keep_older(cache, keys, count) : count;
        fine = kept == 0 || owed_deletes(cache, keys, kept) == AIC_OK;
    }
    atomic_store_explicit(&owed->missed, !fine, memory_order_relaxed);
}

void owed_paid(struct aic_cache *cache)
{
    struct owed *owed = &cache->owed;
    if (owed->journal == NULL || filter_list_owed_count(&cache->filters) > 0 || !take_turn(owed)) return;
    if (journal_size(owed->journal) > 0) forget_records(owed);
    pthread_mutex_unlock(&owed->lock);
}

/*
 * Whoever adds a record has queued the delete before, or has had the filter in the list since before: so a record
 * that was there before the list was found empty is paid when the flush is done.
 */
void owed_settle(struct aic_cache *cache)
{
    struct owed *owed = &cache->owed;
    if (owed->journal == NULL) return;
    if (!take_turn(owed)) return;
    uint64_t size = journal_size(owed->journal);
    pthread_mutex_unlock(&owed->lock);
    if (size == 0 || !filter_list_is_empty(&cache->filters) || !cache_storage_up(cache)) return;
    if (gate_flush(cache->gate, true, SETTLE_WAIT_MS) != AIC_OK) return;
    if (!take_turn(owed)) return;
    if (journal_size(owed->journal) == size) forget_records(owed);
    pthread_mutex_unlock(&owed->lock);
}
