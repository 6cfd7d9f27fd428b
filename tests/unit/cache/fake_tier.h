/*
 * fake_tier.h - a storage tier in memory that fails, hangs and spoils records when a test says so. A list of records in
 * the order of keys, one lock.
 */
#ifndef TESTS_CACHE_FAKE_TIER_H
#define TESTS_CACHE_FAKE_TIER_H

#include "cache/record.h"
#include "support.h"

#include <pthread.h>

#define FAKE_RECORDS 4096

struct fake_record {
    aic_key key;
    char *bytes;
    size_t size;
};

struct fake_tier {
    struct tier tier;
    pthread_mutex_t lock;
    struct fake_record records[FAKE_RECORDS];
    size_t count;
    struct {
        char name[256];
        char *bytes;
        size_t size;
    } blobs[64];
    size_t blob_count;
    uint64_t last_seq;                /* of what was ever put */
    _Atomic bool down;                /* every call fails */
    _Atomic bool writes_fail;         /* a full disk: what is stored can be read */
    _Atomic bool blobs_fail;          /* no blob can be read */
    _Atomic bool spoil;               /* reads give damaged bytes */
    _Atomic bool hang;                /* reads do not come back until it is taken away */
    _Atomic bool hang_select;         /* selections of the operation "hangs" neither */
    _Atomic unsigned hanging;         /* selections that do so now */
    _Atomic bool hang_apply;          /* writes neither, */
    _Atomic unsigned let_go;          /* but for so many */
    _Atomic bool hang_upkeep;         /* expire() neither */
    _Atomic unsigned upkeep;          /* calls of expire() that were begun */
    _Atomic uint64_t delay_us;        /* before a read answers, after it was made */
    _Atomic uint64_t select_delay_us; /* after a selection was made, before it returns */
    _Atomic uint64_t reads, selects, applied;
    aic_clock *clock;
    bool keep;           /* close() leaves it for the test to open again */
    _Atomic bool closed; /* by a close() that left it */
};

static inline size_t fake_find(struct fake_tier *fake, const aic_key *key, bool *found)
{
    size_t low = 0, high = fake->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = memcmp(fake->records[middle].key.bytes, key->bytes, AIC_KEY_BYTES);
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    *found = low < fake->count && memcmp(fake->records[low].key.bytes, key->bytes, AIC_KEY_BYTES) == 0;
    return low;
}

static inline size_t fake_count(struct fake_tier *fake)
{
    pthread_mutex_lock(&fake->lock);
    size_t count = fake->count;
    pthread_mutex_unlock(&fake->lock);
    return count;
}

static inline bool fake_expired(struct fake_tier *fake, const struct fake_record *record)
{
    struct record head;
    if (record_read((aic_view){record->bytes, record->size}, &head) != AIC_OK) return false;
    return head.expires_ms != 0 && fake->clock != NULL && head.expires_ms <= clock_wall_ms(fake->clock);
}

static inline aic_status fake_get(struct tier *tier, const aic_key *key, struct buf *out)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    atomic_fetch_add(&fake->reads, 1);
    if (atomic_load(&fake->down)) return AIC_IO;
    pthread_mutex_lock(&fake->lock);
    bool found;
    size_t at = fake_find(fake, key, &found);
    if (found && fake_expired(fake, &fake->records[at])) found = false;
    if (found) buf_append(out, fake->records[at].bytes, fake->records[at].size);
    pthread_mutex_unlock(&fake->lock);
    if (found && atomic_load(&fake->spoil) && !out->failed) out->data[out->size - 1] ^= 1;
    uint64_t delay = atomic_load(&fake->delay_us);
    if (delay > 0) usleep((useconds_t)delay);
    while (atomic_load(&fake->hang)) usleep(1000);
    if (!found) return AIC_MISS;
    return buf_status(out);
}

static inline void fake_put(struct fake_tier *fake, const aic_key *key, aic_view bytes)
{
    bool found;
    size_t at = fake_find(fake, key, &found);
    if (found) free(fake->records[at].bytes);
    if (bytes.data == NULL) {
        if (!found) return;
        memmove(&fake->records[at], &fake->records[at + 1], (fake->count - at - 1) * sizeof fake->records[0]);
        fake->count--;
        return;
    }
    if (!found) {
        CHECK(fake->count < FAKE_RECORDS);
        memmove(&fake->records[at + 1], &fake->records[at], (fake->count - at) * sizeof fake->records[0]);
        fake->count++;
    }
    struct record head;
    if (record_read(bytes, &head) == AIC_OK && head.seq > fake->last_seq) fake->last_seq = head.seq;
    struct fake_record *record = &fake->records[at];
    record->key = *key;
    record->size = bytes.size;
    record->bytes = malloc(bytes.size);
    CHECK(record->bytes != NULL);
    memcpy(record->bytes, bytes.data, bytes.size);
}

/* A delete that is meant for another record than the one that is there. */
static inline bool fake_spares(struct fake_tier *fake, const struct tier_write *write)
{
    bool found;
    struct record head;
    size_t at = fake_find(fake, &write->key, &found);
    if (write->record.data != NULL || write->seq == 0 || !found) return false;
    aic_view bytes = {fake->records[at].bytes, fake->records[at].size};
    return record_read(bytes, &head) == AIC_OK && head.seq != write->seq;
}

static inline aic_status fake_apply(struct tier *tier, const struct tier_write *writes, size_t count)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    while (atomic_load(&fake->hang_apply) && atomic_load(&fake->let_go) == 0) usleep(1000);
    if (atomic_load(&fake->let_go) > 0) atomic_fetch_sub(&fake->let_go, 1); /* one thread writes */
    if (atomic_load(&fake->down) || atomic_load(&fake->writes_fail)) return AIC_IO;
    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < count; i++) {
        if (!fake_spares(fake, &writes[i])) fake_put(fake, &writes[i].key, writes[i].record);
    }
    atomic_fetch_add(&fake->applied, count);
    pthread_mutex_unlock(&fake->lock);
    return AIC_OK;
}

static inline aic_status fake_sync(struct tier *tier)
{
    return atomic_load(&((struct fake_tier *)tier)->down) ? AIC_IO : AIC_OK;
}

static inline bool fake_has_label(const struct record *record, const struct tier_label *label)
{
    aic_view one = label->kind == LABEL_NAMESPACE   ? record->ns
                   : label->kind == LABEL_OPERATION ? record->operation
                                                    : record->model;
    size_t count = label->kind == LABEL_TAG ? record->tag_count : 1;
    for (size_t i = 0; i < count; i++) {
        aic_view have = label->kind == LABEL_TAG ? record->tags[i] : one;
        if (have.size == label->value.size && memcmp(have.data, label->value.data, have.size) == 0) return true;
    }
    return false;
}

static inline void fake_hang(struct fake_tier *fake, const struct tier_filter *filter)
{
    bool hangs = false;
    for (size_t i = 0; i < filter->label_count; i++)
        hangs |= filter->labels[i].value.size == 5 && memcmp(filter->labels[i].value.data, "hangs", 5) == 0;
    atomic_fetch_add(&fake->hanging, hangs);
    while (hangs && atomic_load(&fake->hang_select)) usleep(1000);
    atomic_fetch_sub(&fake->hanging, hangs);
}

#define FAKE_PAGE 16 /* records */

static inline aic_status fake_select(struct tier *tier, const struct tier_filter *filter, struct tier_page *page)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    if (atomic_load(&fake->down)) return AIC_IO;
    fake_hang(fake, filter);
    pthread_mutex_lock(&fake->lock);
    bool found;
    size_t at = filter->any_order ? (size_t)page->next.row : fake_find(fake, &page->next.key, &found);
    buf_clear(&page->bytes);
    page->count = 0;
    size_t most = page->most != 0 && page->most < FAKE_PAGE ? page->most : FAKE_PAGE;
    size_t most_bytes = page->most_bytes != 0 ? page->most_bytes : SIZE_MAX;
    for (; at < fake->count && page->count < most && page->bytes.size < most_bytes; at++) {
        aic_view bytes = {fake->records[at].bytes, fake->records[at].size};
        struct record record;
        if (record_read(bytes, &record) != AIC_OK || fake_expired(fake, &fake->records[at])) continue;
        bool matches = filter->created_until_ms == 0 || record.created_ms <= filter->created_until_ms ||
                       (filter->created_from_ms != 0 && record.created_ms > filter->created_from_ms);
        matches = matches && (filter->until_seq == 0 || record.seq <= filter->until_seq);
        for (size_t i = 0; i < filter->label_count; i++)
            matches = matches && fake_has_label(&record, &filter->labels[i]);
        if (!matches) continue;
        struct tier_row row = {fake->records[at].key, at, bytes.size};
        buf_append(&page->bytes, &row, sizeof row);
        buf_append_view(&page->bytes, bytes);
        page->count++;
    }
    page->next.row = at;
    page->next.ended = at >= fake->count;
    if (!page->next.ended) page->next.key = fake->records[at].key;
    pthread_mutex_unlock(&fake->lock);
    atomic_fetch_add(&fake->selects, 1);
    uint64_t delay = atomic_load(&fake->select_delay_us);
    if (delay > 0) usleep((useconds_t)delay);
    return buf_status(&page->bytes);
}

static inline aic_status fake_expire(struct tier *tier, size_t max, size_t *removed)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    (void)max;
    atomic_fetch_add(&fake->upkeep, 1);
    while (atomic_load(&fake->hang_upkeep)) usleep(1000);
    *removed = 0;
    return AIC_OK;
}

static inline size_t fake_blob(struct fake_tier *fake, aic_view name)
{
    size_t at = 0;
    while (at < fake->blob_count &&
           (strlen(fake->blobs[at].name) != name.size || memcmp(fake->blobs[at].name, name.data, name.size) != 0))
        at++;
    return at;
}

static inline aic_status fake_blob_get(struct tier *tier, aic_view name, struct buf *out)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    if (atomic_load(&fake->down)) return AIC_IO;
    size_t at = fake_blob(fake, name);
    if (at == fake->blob_count) return AIC_MISS;
    buf_append(out, fake->blobs[at].bytes, fake->blobs[at].size);
    return buf_status(out);
}

static inline aic_status fake_blob_put(struct tier *tier, aic_view name, aic_view value)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    if (atomic_load(&fake->down)) return AIC_IO;
    size_t at = fake_blob(fake, name);
    if (at < fake->blob_count) free(fake->blobs[at].bytes);
    if (value.data == NULL) {
        if (at < fake->blob_count) fake->blobs[at] = fake->blobs[--fake->blob_count];
        return AIC_OK;
    }
    if (at == fake->blob_count) CHECK(fake->blob_count++ < COUNT_OF(fake->blobs));
    snprintf(fake->blobs[at].name, sizeof fake->blobs[at].name, "%.*s", (int)name.size, name.data);
    fake->blobs[at].bytes = malloc(value.size);
    CHECK(fake->blobs[at].bytes != NULL);
    memcpy(fake->blobs[at].bytes, value.data, value.size);
    fake->blobs[at].size = value.size;
    return AIC_OK;
}

static inline aic_status fake_blob_next(struct tier *tier, aic_view prefix, struct buf *name, struct buf *value)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    if (atomic_load(&fake->down) || atomic_load(&fake->blobs_fail)) return AIC_IO;
    char last[256];
    size_t least = fake->blob_count;
    snprintf(last, sizeof last, "%.*s", (int)name->size, name->size > 0 ? name->data : "");
    for (size_t i = 0; i < fake->blob_count; i++) {
        const char *one = fake->blobs[i].name;
        if (strncmp(one, prefix.data, prefix.size) != 0 || strcmp(one, last) <= 0) continue;
        if (least == fake->blob_count || strcmp(one, fake->blobs[least].name) < 0) least = i;
    }
    if (least == fake->blob_count) return AIC_MISS;
    buf_clear(name);
    buf_append_text(name, fake->blobs[least].name);
    buf_clear(value);
    buf_append(value, fake->blobs[least].bytes, fake->blobs[least].size);
    return buf_status(value);
}

static inline void fake_stats(struct tier *tier, struct tier_stats *out)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    pthread_mutex_lock(&fake->lock);
    *out = (struct tier_stats){.entries = fake->count, .last_seq = fake->last_seq};
    pthread_mutex_unlock(&fake->lock);
}

static inline aic_status fake_verify(struct tier *tier, struct tier_check *check, aic_error *error)
{
    (void)tier;
    (void)error;
    check->ended = true;
    return AIC_OK;
}

static inline void fake_destroy(struct fake_tier *fake)
{
    for (size_t i = 0; i < fake->count; i++) free(fake->records[i].bytes);
    for (size_t i = 0; i < fake->blob_count; i++) free(fake->blobs[i].bytes);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static inline void fake_close(struct tier *tier)
{
    struct fake_tier *fake = (struct fake_tier *)tier;
    if (!fake->keep) fake_destroy(fake);
    else atomic_store(&fake->closed, true);
}

static inline struct fake_tier *fake_create(aic_clock *clock)
{
    static const struct tier_ops ops = {
        .kind = "fake",
        .get = fake_get,
        .apply = fake_apply,
        .sync = fake_sync,
        .select = fake_select,
        .expire = fake_expire,
        .blob_get = fake_blob_get,
        .blob_put = fake_blob_put,
        .blob_next = fake_blob_next,
        .stats = fake_stats,
        .verify = fake_verify,
        .close = fake_close,
    };
    struct fake_tier *fake = calloc(1, sizeof *fake);
    CHECK(fake != NULL);
    fake->tier.ops = &ops;
    fake->clock = clock;
    pthread_mutex_init(&fake->lock, NULL);
    return fake;
}

/* A table whose storage is the fake one. */
static inline struct fake_tier *table_open_fake(struct bench_cache *table)
{
    struct fake_tier *fake = fake_create(&table->hand.clock);
    aic_error error;
    CHECK(cache_open(&table->options, &fake->tier, &table->cache, &error) == AIC_OK);
    return fake;
}

#endif
