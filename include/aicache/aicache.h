/*
 * aicache.h - the public face of libaicache: a two-tier response cache for LLM backends.
 *
 * A cache maps a request (operation, text, options, question) to a response (any JSON value). Requests become
 * 32-byte keys by HMAC-SHA-256 over an unambiguous canonical form, so two different requests never share an answer.
 * Entries live in a memory tier bounded in bytes and, when a data directory is given, in an embedded storage tier
 * that survives a restart. The daemon `aicached` is built on this same header.
 *
 * Conventions
 *   - Handles are opaque. There is no global state: two caches in one process know nothing of each other.
 *   - Every function may be called from any thread, unless it says otherwise. No callback runs under a lock.
 *   - An `aic_view` is borrowed: the callee reads it during the call and keeps nothing, unless it says otherwise.
 *   - Results come through out-parameters, written only on success.
 *   - A pointer parameter (a handle, a struct to read, an out-parameter) must not be NULL unless its function says that
 *     it may; `error` always may. What a struct holds is checked: a number or enumerator out of range, NaN, an array
 *     that is NULL with a count, a view that is NULL with a size is AIC_INVALID, and `error` names the field.
 *   - Status 0 is fine, > 0 are outcomes that are no error (a miss), < 0 are errors. Nothing is printed, ever.
 *   - A zeroed options struct means the defaults. Where 0 means "default", AIC_ZERO means the number zero.
 *   - Times are milliseconds since the Unix epoch (`_ms`), lengths of time say their unit, sizes are bytes.
 */
#ifndef AICACHE_H
#define AICACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(AIC_BUILD) && defined(__GNUC__)
#define AIC_API __attribute__((visibility("default")))
#else
#define AIC_API
#endif
#if defined(__GNUC__)
#define AIC_MUST_CHECK __attribute__((warn_unused_result))
#else
#define AIC_MUST_CHECK
#endif

#define AIC_VERSION "0.1.0"

/* Where zero stands for "the default", this stands for the number zero (for example a memory tier of no bytes). */
#define AIC_ZERO UINT64_MAX

/*
 * Every status: name, number, HTTP status that the daemon answers with, sentence. The only table of them.
 */
#define AIC_STATUS_MAP(X)                                                                                              \
    X(OK, 0, 200, "fine")                                                                                              \
    X(MISS, 1, 404, "no such entry")                                                                                   \
    X(EXISTS, 2, 409, "an entry with this key is already there")                                                       \
    X(NOT_STORED, 3, 200, "accepted, but not kept: larger than the limits allow")                                      \
    X(STALE, 4, 409, "superseded by a newer write or an invalidation")                                                 \
    X(INVALID, -1, 400, "the input is not acceptable")                                                                 \
    X(TOO_LARGE, -2, 413, "the input is larger than the limit")                                                        \
    X(NO_MEMORY, -3, 503, "an allocation failed")                                                                      \
    X(FULL, -4, 507, "no room: the limit is reached and nothing can be evicted")                                       \
    X(BUSY, -5, 503, "too much is waiting already")                                                                    \
    X(TIMEOUT, -6, 504, "the deadline passed")                                                                         \
    X(UNAVAILABLE, -7, 503, "the backend cannot be reached")                                                           \
    X(IO, -8, 500, "reading or writing failed")                                                                        \
    X(DAMAGED, -9, 500, "stored bytes do not match their checksum or format")                                          \
    X(NEWER, -10, 500, "written by a newer version of the program")                                                    \
    X(LOCKED, -11, 409, "another process has the store open")                                                          \
    X(UNAUTHORIZED, -12, 401, "no key, or a wrong one")                                                                \
    X(FORBIDDEN, -13, 403, "this key does not allow that")                                                             \
    X(NOT_FOUND, -14, 404, "no such thing")                                                                            \
    X(CLOSED, -15, 503, "shutting down")                                                                               \
    X(INTERNAL, -16, 500, "a broken invariant")

typedef enum aic_status {
#define AIC_STATUS_ENUM(name, number, http, sentence) AIC_##name = (number),
    AIC_STATUS_MAP(AIC_STATUS_ENUM)
#undef AIC_STATUS_ENUM
} aic_status;

/* The name of a status ("AIC_MISS") and its sentence. Static strings; for an unknown number "AIC_UNKNOWN". */
AIC_API const char *aic_status_name(aic_status status);
AIC_API const char *aic_status_text(aic_status status);

/* Borrowed bytes, not NUL-terminated. data == NULL means "absent" where a field is optional. */
typedef struct aic_view {
    const char *data;
    size_t size;
} aic_view;

/* A view of a string literal, and of a C string (NULL gives the absent view). */
#define AIC_LITERAL(text) ((aic_view){"" text, sizeof(text) - 1})
AIC_API aic_view aic_view_of(const char *text);

/* The identity of one request in one namespace. Written as 64 lower-case hex digits. */
#define AIC_KEY_BYTES 32
#define AIC_KEY_HEX_SIZE 65 /* with the NUL */
typedef struct aic_key {
    uint8_t bytes[AIC_KEY_BYTES];
} aic_key;

/* Writes the 64 digits and a NUL. */
AIC_API void aic_key_format(const aic_key *key, char out[AIC_KEY_HEX_SIZE]);
/* Reads exactly 64 lower-case hex digits, or AIC_INVALID. */
AIC_API AIC_MUST_CHECK aic_status aic_key_parse(aic_view text, aic_key *out);

/*
 * What was wrong. Every function that takes input from a user takes one of these, or NULL. `field` names the
 * offending field as the user wrote it ("ttl", "options.temperature"), or is empty; `message` is a full sentence
 * that says what came and what is accepted. It never repeats user text.
 */
typedef struct aic_error {
    aic_status status;
    char field[128];
    char message[384];
} aic_error;

/* ------------------------------------------------------------------------------------------------ open, close -- */

typedef struct aic_cache aic_cache;

typedef enum aic_storage { AIC_STORAGE_DEFAULT = 0, AIC_STORAGE_NONE, AIC_STORAGE_LMDB } aic_storage;
typedef enum aic_policy { AIC_POLICY_S3FIFO = 0, AIC_POLICY_LRU, AIC_POLICY_FIFO, AIC_POLICY_SIEVE } aic_policy;

/* Time to live of one operation. ttl_seconds 0 = never expires. */
typedef struct aic_operation_ttl {
    const char *operation;
    uint64_t ttl_seconds;
} aic_operation_ttl;

/*
 * Where memory comes from. `release` gets the size that was asked for. NULL from `acquire` is survived by every
 * function of the library. Both must be thread-safe. The memory tier's values come from mmap and are counted, but do
 * not pass here, except that `acquire_mapping`, when given, is asked first whether a mapping may be made (tests).
 */
typedef struct aic_allocator {
    void *(*acquire)(void *context, size_t bytes);
    void (*release)(void *context, void *block, size_t bytes);
    bool (*acquire_mapping)(void *context, size_t bytes);
    void *context;
} aic_allocator;

/*
 * Time, replaceable in tests. `wall_ms` is the time since the Unix epoch, `mono_ns` never goes back.
 */
typedef struct aic_clock {
    uint64_t (*wall_ms)(void *context);
    uint64_t (*mono_ns)(void *context);
    void *context;
} aic_clock;

typedef enum aic_log_level { AIC_LOG_DEBUG = 0, AIC_LOG_INFO, AIC_LOG_WARNING, AIC_LOG_ERROR } aic_log_level;

/* When a put returns. Puts that wait at the same time share commits and syncs. */
typedef enum aic_durability {
    AIC_DURABILITY_DEFAULT, /* of a put: what the options say; of the options: AIC_DURABILITY_MEMORY */
    AIC_DURABILITY_MEMORY,  /* when memory and storage's queue have it: an end of the process by a kill loses what the
                               queue still holds, some tens of milliseconds at most while storage keeps up */
    AIC_DURABILITY_STORAGE, /* when storage has applied it: it survives any end of the process */
    AIC_DURABILITY_DISK     /* when it is synced: it survives a power failure. The first one makes the store sync each
                               commit from then on, for good: about a sixth of the throughput */
} aic_durability;

/* Options of aic_cache_open(). All pointers are borrowed for the call; zero everywhere means the defaults. */
typedef struct aic_options {
    const char *data_dir; /* where storage and secret live; NULL: memory only, a random secret */
    aic_storage storage;  /* default: LMDB with a data_dir, none without */
    /* Default: data_dir/secret, made at the first open with 64 hex digits and mode 0600 and read ever after. A file
     * that others may read is accepted with a warning through `log`; fewer than 16 bytes are refused, and so is any
     * other secret than the one under which the store was written. */
    const char *secret_file;

    uint64_t memory_max_bytes;      /* default 256 MiB; AIC_ZERO: no memory tier */
    uint64_t memory_max_entries;    /* default: no limit */
    uint64_t memory_max_item_bytes; /* default 8 MiB */
    aic_policy memory_policy;

    uint64_t storage_max_bytes;        /* default 10 GiB, at least 4 MiB; an entry takes a quarter of it at most */
    uint64_t storage_queue_bytes;      /* write-behind queue; default 64 MiB */
    unsigned storage_deadline_ms;      /* a lookup waits this long for storage, then it is a miss; default 20 */
    unsigned storage_sync_ms;          /* between syncs to disk; default 1000 */
    aic_durability storage_durability; /* of puts that do not say; default AIC_DURABILITY_MEMORY, and without storage
                                          always */

    uint64_t ttl_default_seconds;            /* default 3600; AIC_ZERO: never expires */
    const aic_operation_ttl *ttl_operations; /* added to the built-in ones, which they override */
    size_t ttl_operation_count;

    uint64_t compression_threshold_bytes; /* larger values are compressed; default 1000; AIC_ZERO: all */
    int compression_level;                /* zstd, 1..19; default 3 */
    bool dictionary_off;                  /* no trained dictionaries */

    struct aic_monitor *monitor; /* records every operation (aicache/monitor.h); outlives the cache; NULL: none */

    const aic_allocator *allocator; /* default: the C library's */
    const aic_clock *clock;         /* default: the system's */
    /* Called for changes of state (storage down, storage back); may be called from any thread; may be NULL. */
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;
} aic_options;

/*
 * Opens a cache; NULL options are the defaults: in memory only. At most one cache has a data_dir open: AIC_LOCKED
 * otherwise. AIC_NEWER for a store of a newer version, AIC_DAMAGED for one whose marks cannot be read, AIC_IO for a
 * directory that cannot be written, AIC_INVALID for an option out of range, AIC_NO_MEMORY; `error` says which and why.
 * AIC_INVALID with the field "secret_file" is also a store that was written under another secret, or whose
 * data_dir/secret is missing: none of its entries could be found. It stays as it is, and no secret is made for it.
 * *out is owned by the caller. Any thread.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_open(const aic_options *options, aic_cache **out, aic_error *error);

/*
 * Drains the write-behind queue, syncs, closes, frees, and nulls *cache. Accepts a pointer to NULL. Every hit, page,
 * explanation, export and import must have been released and no other call be running.
 *
 * Where storage does not give a call back, a close waits for it: five seconds for reads and queued writes (then a line
 * in the log says that they are left behind, and the threads that hang in them go on using allocator, clock and log),
 * but without end for upkeep (expiry, dictionaries, invalidations that are owed) and for the closing of the store. Who
 * cannot wait so long uses aic_cache_close_within().
 */
AIC_API void aic_cache_close(aic_cache **cache);
/*
 * The same, and returns after about `ms` milliseconds at the latest: AIC_OK when the cache is closed, as it always is
 * where storage answers in time and there is none, AIC_TIMEOUT when it is not yet. *cache is NULL in either case. After
 * AIC_TIMEOUT the close goes on without the caller, on a thread of its own: what the options named (allocator, clock,
 * log, monitor) must stay, data_dir stays locked, and what was queued may never be written. If storage ever comes back
 * everything is closed and freed; a program that ends before loses nothing but that. Where no thread can be started it
 * waits like aic_cache_close().
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_close_within(aic_cache **cache, unsigned ms);

/* Waits until everything that was put before this call is on disk, a minute at most: AIC_TIMEOUT then, AIC_UNAVAILABLE
 * when storage takes no writes. AIC_OK at once without storage. Any thread. */
AIC_API AIC_MUST_CHECK aic_status aic_cache_sync(aic_cache *cache);

/* ------------------------------------------------------------------------------------------- put, lookup, get -- */

/*
 * A request. `operation` (1..128 bytes) and `text` are required; `ns` defaults to "default"; `options` is the text of a
 * JSON object (absent, `null` and `{}` are the same request); an absent `question` differs from an empty one.
 * `model` is the same as the member `model` of the options, and labels the entry for aic_filter; both given and
 * different is AIC_INVALID. All text is UTF-8 and is neither trimmed nor normalised.
 */
typedef struct aic_request {
    aic_view ns;
    aic_view operation;
    aic_view text;
    aic_view options;
    aic_view question;
    aic_view model;
} aic_request;

#define AIC_MAX_TAGS 32
#define AIC_MAX_NAME_BYTES 128 /* of a namespace, operation, model or tag: UTF-8 without control characters */
#define AIC_MAX_TTL_SECONDS UINT64_C(3155760000) /* a hundred years; more is refused, 0 is the way to say "never" */

#define AIC_MAX_TOKENS (UINT64_C(1) << 40) /* of one answer: so that sums over all answers never wrap */
#define AIC_MAX_COST_USD 1e9

/* What is stored beside the request. `response` is the text of any JSON value and comes back byte for byte; each tag
 * may be given once. */
typedef struct aic_put {
    aic_request request;
    aic_view response;
    bool ttl_given;       /* false: the operation's default */
    uint64_t ttl_seconds; /* 0: never expires */
    const aic_view *tags;
    size_t tag_count;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    double cost_usd;
    aic_durability durability;
} aic_put;

enum { AIC_IN_MEMORY = 1, AIC_IN_STORAGE = 2 };

/* The size class of a text by its Unicode code points: "small" < 500, "medium" < 5000, "large" < 50000, "xlarge".
 * Static strings. */
AIC_API const char *aic_text_tier(uint64_t code_points);

typedef struct aic_put_result {
    aic_key key;
    uint64_t expires_ms;   /* 0: never */
    uint64_t size_bytes;   /* of the response as given */
    uint64_t stored_bytes; /* of the response as kept */
    bool compressed;
    /* AIC_IN_MEMORY | AIC_IN_STORAGE: where it was accepted. Storage's queue counts while storage takes writes, and
     * when nobody else has it: only `durability` says that it is applied. */
    unsigned tiers;
} aic_put_result;

/* The key of a request. AIC_INVALID with `error` when the request is not acceptable, AIC_TOO_LARGE, AIC_NO_MEMORY. Any
 * thread. */
AIC_API AIC_MUST_CHECK aic_status aic_cache_key(aic_cache *cache, const aic_request *request, aic_key *out,
                                                aic_error *error);

/*
 * Stores a response under its request, replacing what was there. Both tiers are reached before it returns (storage
 * through its write-behind queue). AIC_OK, or AIC_NOT_STORED when no tier keeps it (result->tiers is 0 then);
 * AIC_INVALID, AIC_TOO_LARGE, AIC_NO_MEMORY. AIC_UNAVAILABLE: the `durability` that was asked for was not reached
 * within 5 s, or storage does not take it; it is kept as AIC_DURABILITY_MEMORY keeps it, and `result` says where.
 * `result` may be NULL. Waits for storage where `durability` asks for it.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_put(aic_cache *cache, const aic_put *put, aic_put_result *result,
                                                aic_error *error);

/* Metadata of one entry. Views stay valid as long as the hit or page they came from. */
typedef struct aic_metadata {
    aic_key key;
    aic_view ns;
    aic_view operation;
    aic_view model; /* empty: none was given */
    aic_view tags[AIC_MAX_TAGS];
    size_t tag_count;
    uint64_t created_ms;
    uint64_t expires_ms; /* 0: never */
    uint64_t size_bytes;
    uint64_t stored_bytes;
    uint64_t text_length; /* code points of the request's text */
    bool compressed;
    unsigned tiers;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    double cost_usd;
} aic_metadata;

/* One found entry, pinned: its bytes stay as they are until the release, whatever happens to the cache meanwhile. */
typedef struct aic_hit aic_hit;

/*
 * Looks a request up: memory, then storage (for at most storage_deadline_ms). AIC_OK with *hit owned by the caller,
 * AIC_MISS, or an error. `key` (may be NULL) gets the key in either case. Counts one lookup.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_lookup(aic_cache *cache, const aic_request *request, aic_key *key,
                                                   aic_hit **hit, aic_error *error);

/* The same by key; an empty `ns` is "default". AIC_OK, AIC_MISS, AIC_NO_MEMORY, AIC_INVALID. An entry of another
 * namespace than `ns` is a miss. Counts one lookup too: a hit or a miss. */
AIC_API AIC_MUST_CHECK aic_status aic_cache_get(aic_cache *cache, aic_view ns, const aic_key *key, aic_hit **hit);

/*
 * The response, contiguous and decompressed; valid until the release. AIC_NO_MEMORY; AIC_DAMAGED removes the entry and
 * counts it, and the lookup stays counted as a hit. One thread.
 */
AIC_API AIC_MUST_CHECK aic_status aic_hit_response(aic_hit *hit, aic_view *out);
/* Its metadata; valid until the release. */
AIC_API const aic_metadata *aic_hit_metadata(const aic_hit *hit);
/* The tier that answered: AIC_IN_MEMORY or AIC_IN_STORAGE. */
AIC_API unsigned aic_hit_tier(const aic_hit *hit);
/* Releases and nulls. Accepts a pointer to NULL. */
AIC_API void aic_hit_release(aic_hit **hit);

/*
 * Removes one entry from both tiers: AIC_OK, or AIC_MISS. After AIC_OK no end of the process brings it back. Waits for
 * storage to apply it; when storage takes no writes, the removal is written to a file in data_dir. AIC_UNAVAILABLE: not
 * even that: no lookup finds the entry as long as the process runs, but after its end it may be back. Also what a
 * lookup fails with.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_delete(aic_cache *cache, aic_view ns, const aic_key *key);

/* ------------------------------------------------------------------------------------ invalidate, list, explain -- */

/*
 * Which entries. Every field that is given must match; equality is exact. `pattern` is a glob (`*`, `?`, `[a-z]`, `\`)
 * over the operation and each tag. An empty ns means the namespace "default", `all_namespaces` every one; both together
 * are AIC_INVALID.
 */
typedef struct aic_filter {
    aic_view ns;
    bool all_namespaces;
    aic_view operation;
    aic_view model;
    aic_view tag;
    aic_view pattern;
    bool age_given;
    uint64_t older_than_seconds; /* stored at least so long ago */
    unsigned tiers;              /* 0: both */
    bool all;                    /* invalidation of a filter that names nothing at all is refused unless this is set */
    aic_view context;            /* selects nothing: a note that is recorded with the invalidation */
} aic_filter;

typedef struct aic_invalidated {
    uint64_t matched; /* entries, one in both tiers counted once */
    uint64_t removed;
    uint64_t bytes_freed; /* in the memory tier and in storage together; a dry run: that would be */
} aic_invalidated;

/*
 * Removes every entry that matches, from both tiers: after the return none of them is served. With dry_run, only
 * counts. Cost: linear in the memory tier's entries and in the matching storage entries. AIC_INVALID for a filter that
 * names nothing. AIC_UNAVAILABLE or AIC_TIMEOUT when storage could not be reached: memory is clean then, what storage
 * still holds is hidden from every lookup at once and removed when storage is back, by the next process if this one
 * ends before (`error` says so where even that could not be written down); *out is written all the same and counts what
 * was removed so far. AIC_NO_MEMORY: nothing was removed. `out` may be NULL.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_invalidate(aic_cache *cache, const aic_filter *filter, bool dry_run,
                                                       aic_invalidated *out, aic_error *error);

/* A page of metadata, owned by the caller. */
typedef struct aic_page aic_page;

/*
 * Lists entries that match, in the order of their keys. `cursor` is empty for the first page, afterwards
 * aic_page_cursor() of the page before. Every entry that is there during the whole walk is listed exactly once.
 * limit 1..1000. A page costs a pass over the memory tier. While storage is down the page shows memory alone.
 * AIC_INVALID with the field in `error`, AIC_NO_MEMORY. Any thread; a page is used by one at a time.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_list(aic_cache *cache, const aic_filter *filter, size_t limit,
                                                 aic_view cursor, aic_page **out, aic_error *error);
AIC_API size_t aic_page_count(const aic_page *page);
/* NULL beyond the last; valid until the release. */
AIC_API const aic_metadata *aic_page_entry(const aic_page *page, size_t index);
/* Empty after the last page. Valid until the release. */
AIC_API aic_view aic_page_cursor(const aic_page *page);
/* Releases and nulls. Accepts a pointer to NULL. */
AIC_API void aic_page_release(aic_page **page);

/*
 * Why a request hits or misses, as the text of a JSON object (see docs/http.md, `POST /cache/explain`). Looks at 200
 * 000 entries of memory and 20 000 of storage at most. AIC_INVALID and AIC_TOO_LARGE as aic_cache_key(), AIC_NO_MEMORY.
 * The explanation is the caller's, its text valid until the release, which nulls and accepts a pointer to NULL.
 */
typedef struct aic_explanation aic_explanation;
AIC_API AIC_MUST_CHECK aic_status aic_cache_explain(aic_cache *cache, const aic_request *request, aic_explanation **out,
                                                    aic_error *error);
AIC_API aic_view aic_explanation_json(const aic_explanation *explanation);
AIC_API void aic_explanation_release(aic_explanation **explanation);

/* ---------------------------------------------------------------------------------------------- export, import -- */

/*
 * Export writes one JSON object per line: {key, secret, namespace, operation, model?, tags?, shape?, text_length,
 * created_ms, expires_ms, prompt_tokens?, completion_tokens?, cost_usd?, response}. The request's text is not kept by
 * the cache, so the key stands for it, and `shape` (in hex digits: the name of each option, a hash of 32 bits of each
 * value) for what aic_cache_explain() compares; `secret` is the fingerprint (16 hex digits) of the secret under which
 * the key was computed: under another one no lookup finds it. An entry comes once, or twice if the memory tier's tables
 * grow during the walk; importing it twice is the same as once. Many entries are walked in bounded pieces, so that a
 * slow reader holds nothing but its own piece.
 *
 * aic_export_create() waits for the write-behind queue, ten seconds at most; the cache outlives the export. `filter` is
 * copied. AIC_INVALID, AIC_NO_MEMORY.
 */
typedef struct aic_export aic_export;
AIC_API AIC_MUST_CHECK aic_status aic_export_create(aic_cache *cache, const aic_filter *filter, aic_export **out,
                                                    aic_error *error);
/*
 * The next whole lines, about piece_bytes of them (0: 256 KiB) and at least one: AIC_OK with *out valid until the next
 * call, AIC_MISS after the last. May wait for storage. One thread at a time.
 */
AIC_API AIC_MUST_CHECK aic_status aic_export_next(aic_export *exporter, size_t piece_bytes, aic_view *out);
AIC_API uint64_t aic_export_lines(const aic_export *exporter); /* so far */
/* Frees and nulls. Accepts a pointer to NULL. */
AIC_API void aic_export_destroy(aic_export **exporter);

/*
 * Import reads such lines from pieces of any size. A line has `response` and either `key` (as exported: kept under that
 * key, with `shape` if it is given, and rejected when `secret` is another fingerprint than this cache's; a line without
 * `secret` is taken) or `operation` and `text` with options?, question? (the key is computed: warming from a log of
 * requests). Optional: namespace, model, tags, tokens (a number of completion tokens, or what providers call usage),
 * prompt_tokens, completion_tokens, cost_usd, text_length, created_ms, and one of ttl (seconds from now) and expires_ms
 * (a date; a past one is skipped). A bad line is rejected with its number and reason, and does not end the import.
 */
typedef struct aic_import_options {
    aic_view only_ns;      /* given: every line belongs there; a line that says otherwise is rejected */
    aic_view default_ns;   /* without only_ns: of the lines that name none; default "default" */
    bool refuse_keys;      /* lines with `key` are rejected: the source is not trusted to name keys */
    size_t max_line_bytes; /* default 64 MiB */
    size_t max_rejections; /* how many are kept to be asked for; default 1000. All are counted */
} aic_import_options;

typedef struct aic_import_counts {
    uint64_t lines;    /* not blank */
    uint64_t accepted; /* stored in at least one tier */
    uint64_t expired;  /* fine, but their time is over */
    uint64_t rejected;
} aic_import_counts;

typedef struct aic_import aic_import;
/* `options` may be NULL. Keeps a pointer to the cache, which outlives the import, and copies the rest. AIC_INVALID,
 * AIC_NO_MEMORY. */
AIC_API AIC_MUST_CHECK aic_status aic_import_create(aic_cache *cache, const aic_import_options *options,
                                                    aic_import **out, aic_error *error);
/* Takes any bytes; a byte order mark in front of the first is skipped. Waits while the write-behind queue is full.
 * AIC_NO_MEMORY (the import can go on), or AIC_OK. One thread at a time. */
AIC_API AIC_MUST_CHECK aic_status aic_import_add(aic_import *importer, aic_view bytes);
/* The last line may lack its newline: this takes it in. AIC_NO_MEMORY. */
AIC_API AIC_MUST_CHECK aic_status aic_import_finish(aic_import *importer);
AIC_API void aic_import_count(const aic_import *importer, aic_import_counts *out);
/* The index-th rejection: the line's number (from 1) and what was wrong; AIC_MISS beyond the last one kept. `line`
 * may be NULL. */
AIC_API AIC_MUST_CHECK aic_status aic_import_rejection(const aic_import *importer, size_t index, uint64_t *line,
                                                       aic_error *error);
/* Frees and nulls. Accepts a pointer to NULL. */
AIC_API void aic_import_destroy(aic_import **importer);

/* ------------------------------------------------------------------------------------------- statistics, verify -- */

/* What an application asks of its cache: counted, never guessed. Counters run since the open. */
typedef struct aic_stats {
    uint64_t lookups, hits_memory, hits_storage, misses;
    uint64_t puts, deletes, invalidated_entries;
    uint64_t memory_entries, memory_bytes, memory_max_bytes;
    uint64_t evicted_capacity, evicted_expired; /* entries that left memory by themselves */
    bool storage_configured, storage_up;
    uint64_t storage_entries, storage_bytes, storage_max_bytes;
} aic_stats;

/* Takes each lock of the memory tier for a moment: once a second, not once a request. Any thread. */
AIC_API void aic_cache_stats(aic_cache *cache, aic_stats *out);

/*
 * Every other figure, by the name that /cache/status and docs/metrics.md call it ("storage.dropped_writes"). Its unit
 * is in the name or is a count; those of storage are 0 without one. AIC_NOT_FOUND: there is none of this name. Costs
 * what aic_cache_stats() costs. Any thread.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_figure(aic_cache *cache, const char *name, double *out);
/* The names, from index 0 on; static text, NULL beyond the last. New versions add names. Any thread. */
AIC_API const char *aic_figure_name(size_t index);

/*
 * Recounts everything: each structure of the memory tier, each record and index of the storage tier, each checksum.
 * AIC_OK, or AIC_DAMAGED with `error` naming the first difference. Other calls go on meanwhile.
 */
AIC_API AIC_MUST_CHECK aic_status aic_cache_verify(aic_cache *cache, aic_error *error);

#ifdef __cplusplus
}
#endif

#endif
