/*
 * cache.h - the two-tier response cache behind aicache.h, and what only the daemon needs of it: lookups that do not
 * wait.
 *
 * Front threads call what is marked "never blocks"; everything else may wait for storage or compress and belongs to a
 * back thread (cache_put compresses on the calling thread and never waits for storage, so a front thread may call it
 * when it can spare the time).
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "cache/key.h"
#include "cache/lease.h"
#include "cache/observe.h"
#include "cache/record.h"
#include "cache/stop.h"
#include "store/store.h"
#include "tier/gate.h"

struct cache_hit;

/* ---- opening ---- */

/*
 * aic_cache_open() with a storage tier of the caller's (taken over, also when this fails); NULL opens what the options
 * say. Its records must be described by record_describe.
 */
AIC_MUST_CHECK aic_status cache_open(const aic_options *options, struct tier *tier, struct aic_cache **out,
                                     aic_error *error);
/* The accounts of everything that the cache allocates, for the breakdown by owner. */
struct mem *cache_mem(struct aic_cache *cache);
/* The memory tier, for resizing under pressure and for its own statistics; NULL never. */
struct store *cache_store(struct aic_cache *cache);
/* The way to storage; NULL without storage. */
struct gate *cache_gate(struct aic_cache *cache);

/* ---- what a request may look like ---- */

/* A view of no bytes may have no data, one of some bytes must have. AIC_INVALID. */
AIC_MUST_CHECK aic_status cache_check_bytes(const char *field, aic_view bytes, aic_error *error);
/*
 * A namespace, operation, model or tag: 1..128 bytes of UTF-8 without control characters. `field` is what the error
 * names ("tags[3]"). cache_check_pattern: any UTF-8, 1..1024 bytes. cache_check_ttl: at most AIC_MAX_TTL_SECONDS.
 */
AIC_MUST_CHECK aic_status cache_check_name(const char *field, aic_view name, aic_error *error);
AIC_MUST_CHECK aic_status cache_check_pattern(aic_view pattern, aic_error *error);
AIC_MUST_CHECK aic_status cache_check_ttl(uint64_t ttl_seconds, aic_error *error);
/* The time to live of an operation when the request gives none, in seconds; 0: never expires. */
uint64_t cache_default_ttl(const struct aic_cache *cache, aic_view operation);
/*
 * Other defaults from now on, as in aic_options (fallback 0: 3600, AIC_ZERO: never expires); what is stored keeps its
 * date. AIC_INVALID changes nothing. One thread at a time; readers never wait.
 */
AIC_MUST_CHECK aic_status cache_set_ttls(struct aic_cache *cache, uint64_t fallback,
                                         const aic_operation_ttl *operations, size_t count, aic_error *error);

/*
 * Takes the model that was given beside the options of `request`; an empty one changes nothing. It means the same as
 * options.model: AIC_INVALID when both are given and differ. `model` is a checked name and outlives the request.
 */
AIC_MUST_CHECK aic_status cache_take_model(struct key_request *request, aic_view model, aic_error *error);
/* The model of a request, wherever it was given, by which its entry is labelled; empty where there is none that may be
 * a name. The view leads into the request or into `room`. */
aic_view cache_model_of(const struct key_request *request, char room[AIC_MAX_NAME_BYTES]);

/* The key of a request whose parts lie in a scanned document. Records a key generation. Never blocks. */
AIC_MUST_CHECK aic_status cache_key(struct aic_cache *cache, const struct key_request *request, aic_key *out,
                                    uint64_t *text_length, aic_error *error);

/* ---- put ---- */

/* As aic_put; everything was checked by cache_check_* and the response is the text of one JSON value. */
struct cache_put {
    struct key_request request;
    aic_view response;
    bool ttl_given;
    uint64_t ttl_seconds;
    const aic_view *tags;
    size_t tag_count;
    uint64_t prompt_tokens, completion_tokens;
    double cost_usd;
    aic_view lease; /* whose answer this is; absent: nobody's in particular. AIC_INVALID for one of another key */
    /* Import: a key that was computed before (with its text's length and its request's shape, which may be unknown);
     * NULL: computed here. */
    const aic_key *key;
    uint64_t text_length;
    aic_view shape;
    bool dates_given; /* created_ms and expires_ms as they are, instead of now and a ttl */
    uint64_t created_ms, expires_ms;
};
/* What a put that says `asked` has to wait for: AIC_DURABILITY_MEMORY (nothing), ..._STORAGE or ..._DISK. AIC_INVALID:
 * there is no storage to wait for. Never blocks. */
AIC_MUST_CHECK aic_status cache_durability(const struct aic_cache *cache, aic_durability asked, aic_durability *out,
                                           aic_error *error);
/* Waits after a cache_put() until it is as durable as that: AIC_OK, or AIC_UNAVAILABLE as of aic_cache_put(), with
 * `error`. May wait for seconds. */
AIC_MUST_CHECK aic_status cache_make_durable(struct aic_cache *cache, aic_durability durability,
                                             const aic_put_result *result, aic_error *error);
/* Outcomes of aic_cache_put() but AIC_UNAVAILABLE. Compresses on the calling thread; never waits for storage. */
AIC_MUST_CHECK aic_status cache_put(struct aic_cache *cache, const struct cache_put *put, aic_put_result *result,
                                    aic_error *error);

/* Who computes what is missing, and who waits for it; every put of a key answers those who wait for it. */
struct leases *cache_leases(struct aic_cache *cache);

/* ---- lookup ---- */

/* A found entry. Either pinned in the memory tier (zero-copy) or a copy from storage. Plain data, but it holds views
 * into itself: do not copy it by value, use cache_hit_move(). One thread at a time. */
struct cache_hit {
    struct aic_cache *cache;
    aic_key key;
    struct pin pin;  /* memory tier */
    struct buf copy; /* the record, when it is not in the memory tier */
    struct buf head; /* the record's head, when it does not lie in one piece of the pin */
    size_t head_bytes;
    struct record record;   /* views into pin, copy or head */
    unsigned tier;          /* the tier that answered: AIC_IN_MEMORY, AIC_IN_STORAGE */
    uint64_t epoch, writes; /* guards as of before the read; see inner.h */
};

/*
 * `ns`: an entry of another namespace is a miss; empty lets any do (a caller who may see all of them).
 * Memory tier only; never blocks. AIC_OK with a hit to release, AIC_MISS, AIC_NO_MEMORY. Counts nothing: after a miss
 * the caller goes on to cache_lookup_storage() if there is storage, and in the end calls cache_count_lookup().
 */
AIC_MUST_CHECK aic_status cache_lookup_memory(struct aic_cache *cache, aic_view ns, const aic_key *key,
                                              struct cache_hit *hit);
/* Is there a storage tier to ask after a miss in memory? */
bool cache_has_storage(const struct aic_cache *cache);
/*
 * Asks storage after a miss in memory. Never blocks. `done` is called exactly once, on a worker thread (or before this
 * returns): AIC_OK with *hit, which the receiver moves away (cache_hit_move) or releases during the call, or AIC_MISS
 * (also for a dead, damaged or expired one). Promotes. The deadline is the caller's: on giving up it counts AIC_TIMEOUT
 * and releases whatever comes later.
 */
typedef void cache_done_fn(void *context, aic_status status, struct cache_hit *hit);
void cache_lookup_storage(struct aic_cache *cache, aic_view ns, const aic_key *key, cache_done_fn *done, void *context);
/* What a lookup was answered with, exactly once for each answer, by whoever answers: AIC_OK a hit of `tier` whose
 * pieces were at hand, AIC_TIMEOUT a miss after the deadline, anything else a miss. A lookup that ends in an error is
 * not counted. */
void cache_count_lookup(struct aic_cache *cache, aic_status outcome, unsigned tier);
/* Moves a hit into memory of the caller's; `from` is empty afterwards. */
void cache_hit_move(struct cache_hit *to, struct cache_hit *from);
/* Accepts an empty (zeroed) hit; empties it. */
void cache_hit_release(struct cache_hit *hit);

/*
 * The response as pieces, without a copy when it is kept plain; otherwise decoded into `plain` (initialised and owned
 * by the caller), one piece. The pieces live as long as the hit and `plain`. A value that is decoded again and again is
 * kept plain in memory from then on. AIC_OK with *count <= max pieces filled; when the value lies in more pieces than
 * `max` it is gathered into `plain`. AIC_DAMAGED: there is no answer; the entry is removed from both tiers and counted,
 * unless it needs a dictionary that storage may yet have. AIC_NO_MEMORY. Never blocks.
 */
AIC_MUST_CHECK aic_status cache_hit_pieces(struct cache_hit *hit, struct buf *plain, struct iovec *out, size_t max,
                                           size_t *count);
/* Views live as long as the hit. */
void cache_hit_metadata(const struct cache_hit *hit, aic_metadata *out);

/* Tells the monitor and the listener of one get: `outcome` is AIC_OK of a hit, AIC_MISS, or why storage could not say;
 * of `event` key, operation, both times, text_length and memory_before are read. aic_cache_lookup() and aic_cache_get()
 * do it by themselves. */
void cache_record_get(struct aic_cache *cache, aic_status outcome, unsigned tier, struct cache_event event);

/*
 * Long work that can be given up: as the functions of aicache.h, but AIC_CLOSED when `stop` (NULL: never) was set
 * before it was done; it is to stay until then, of an export or import until that is destroyed. What an invalidation or
 * import has done by then stays done.
 */
AIC_MUST_CHECK aic_status cache_list(struct aic_cache *cache, const aic_filter *filter, size_t limit, aic_view cursor,
                                     stop_flag *stop, aic_page **out, aic_error *error);
AIC_MUST_CHECK aic_status cache_invalidate(struct aic_cache *cache, const aic_filter *filter, bool dry_run,
                                           stop_flag *stop, aic_invalidated *out, aic_error *error);
AIC_MUST_CHECK aic_status cache_verify(struct aic_cache *cache, stop_flag *stop, aic_error *error);
/* As aic_export_create(), but what is collected and written lies in `lines`, which outlives the export; where that has
 * no room, aic_export_next() is AIC_NO_MEMORY and may be asked for the same piece again. */
AIC_MUST_CHECK aic_status export_create(struct aic_cache *cache, struct mem *lines, const aic_filter *filter,
                                        stop_flag *stop, aic_export **out, aic_error *error);
/* As aic_import_create(), but what is kept and made of lines lies in `lines`, which outlives the import; where that has
 * no room, aic_import_add() is AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status import_create(struct aic_cache *cache, struct mem *lines, const aic_import_options *options,
                                        stop_flag *stop, aic_import **out, aic_error *error);

/* ---- the rest ---- */

/* As aic_cache_delete(), but an empty `ns` lets any namespace do. */
AIC_MUST_CHECK aic_status cache_delete(struct aic_cache *cache, aic_view ns, const aic_key *key);
/* Its two halves, for many keys. cache_hide: gone for every reader, but while storage has not applied it, a kill of the
 * process brings the entry back. Outcomes of a delete, but for AIC_UNAVAILABLE of the other half. */
AIC_MUST_CHECK aic_status cache_hide(struct aic_cache *cache, aic_view ns, const aic_key *key);
/* The same where `wanted` says so of the entry that is there, and nobody writes it in between; else AIC_STALE. May be
 * asked more than once. */
AIC_MUST_CHECK aic_status cache_hide_if(struct aic_cache *cache, aic_view ns, const aic_key *key,
                                        bool (*wanted)(void *context, const struct record *record), void *context);
/* What became of cache_hide(): is there a removal that has to be made to last? Also an earlier one, of a caller who was
 * told that it does not and tries again. */
bool cache_is_hidden(struct aic_cache *cache, const aic_key *key, aic_status hidden);
/* From here on no kill brings back what was hidden before: AIC_OK. AIC_UNAVAILABLE: storage takes no writes, nor does
 * the file for that case. Waits for storage, about a second at most. */
AIC_MUST_CHECK aic_status cache_make_last(struct aic_cache *cache, const aic_key *keys, size_t count);

/* Adds to `out`, zeroed before, all that the cache and its tiers counted and hold. Costs as aic_cache_stats(). */
void cache_figures(struct aic_cache *cache, struct figures *out);
/* Hits of both tiers and misses since the open, or since they were forgotten. Costs a microsecond and never blocks. Any
 * thread. */
void cache_lookup_counts(const struct aic_cache *cache, uint64_t *hits, uint64_t *misses);
/* Hits and misses are told from 0 again; those under way count. Any thread. */
void cache_forget_lookups(struct aic_cache *cache);

/* As aic_cache_explain() for a request in a scanned document. Waits for storage; with `stop` set it looks no further.
 */
AIC_MUST_CHECK aic_status cache_explain(struct aic_cache *cache, const struct key_request *request, stop_flag *stop,
                                        struct buf *json, aic_error *error);

/*
 * Expiry in both tiers, dictionary training, invalidations that storage still owes, keeping plain what is hot. The
 * cache's own thread calls it once a second of real time; tests call it by themselves.
 */
void cache_tick(struct aic_cache *cache);

#endif
