/*
 * settings.h - the daemon's settings: one struct, filled from settings.def by base/option.h.
 *
 * A loaded struct is never changed. A reload (SIGHUP) loads a second one, takes the fixed options from the first, and
 * hands it to the parts that know live options (`*_reload(part, const struct settings *)`); each copies what it needs
 * before it returns, then the older struct is released. So nobody but the main thread holds a pointer into it.
 */
#ifndef SERVE_SETTINGS_H
#define SERVE_SETTINGS_H

#include "base/log.h"
#include "base/option.h"

/* ttl.operations: time to live by operation. */
struct settings_ttls {
    aic_operation_ttl *items; /* owned, names too */
    size_t count;
};

/* api_keys: who may call. The key itself is nowhere; `sha256` is the digest of its text. */
struct settings_key {
    char *id; /* owned; for logs and messages */
    uint8_t sha256[32];
    char *namespace_; /* owned; NULL: "default" */
    bool admin;
};
struct settings_keys {
    struct settings_key *items; /* owned */
    size_t count;
};

#define OPTION_C_TTLS struct settings_ttls
#define OPTION_C_KEYS struct settings_keys

struct settings {
#define SETTINGS_FIELD(type, field, ...) OPTION_C_##type field;
#define OPTION SETTINGS_FIELD
#include "serve/settings/settings.def"
#undef OPTION
#undef SETTINGS_FIELD
};

/* One origin per option. */
struct settings_origins {
#define OPTION(type, field, ...) +1
    struct option_origin items[0
#include "serve/settings/settings.def"
    ];
#undef OPTION
};

/* The indices of the choices of OPTION_ENUM rows, in the order of settings.def. */
enum settings_storage { SETTINGS_STORAGE_NONE, SETTINGS_STORAGE_LMDB };

/* The table of the daemon. Static. */
const struct option_table *settings_table(void);

/*
 * Loads from all sources and checks what no single row can see (addresses that need keys, a key without a certificate,
 * warning above critical). Fills data_dir when it is not given. AIC_OK, AIC_INVALID with the report filled,
 * AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status settings_load(struct mem *mem, const struct option_input *input, struct settings *out,
                                        struct option_origin *origins, struct option_report *report);
/*
 * A reload: loads again and takes the options that need a restart from `current`, then checks the whole. AIC_OK with
 * *out; *fixed gets the options that differ in the sources, but cannot change now, one line each ("listen: stays
 * 127.0.0.1:8080"), *changed the names of those that do change. Otherwise as settings_load(): nothing is to be changed
 * then, and `current` is as before. After AIC_OK `current` is only good for settings_release().
 */
AIC_MUST_CHECK aic_status settings_reload(struct mem *mem, const struct option_input *input, struct settings *current,
                                          struct settings *out, struct buf *changed, struct buf *fixed,
                                          struct option_report *report);
void settings_release(struct mem *mem, struct settings *settings);

/* Pages made from the table: what --help prints, aicached(8) in roff, docs/configuration.md. */
void settings_write_help(struct buf *out);
void settings_write_manual(struct buf *out);
void settings_write_reference(struct buf *out);

/* Borrowed views into `settings`, ready for aic_cache_open(). */
void settings_cache_options(const struct settings *settings, aic_options *out);

/* One address to listen on. */
struct settings_address {
    bool is_unix;
    char host[256]; /* of TCP: a numeric address, without brackets */
    uint16_t port;  /* 0: any */
    char path[108]; /* of a unix socket */
};
/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080", ":8080" (all addresses), "unix:/run/aicache.sock". AIC_INVALID with
 * a message. */
AIC_MUST_CHECK aic_status settings_address_parse(const char *text, struct settings_address *out, aic_error *error);
bool settings_address_is_local(const struct settings_address *address);

/* A daemon's memory warning thresholds: as given, or above memory.max_bytes, where only a broken bound reaches them. */
uint64_t settings_warning_bytes(const struct settings *settings);
uint64_t settings_critical_bytes(const struct settings *settings);

/* What memory a daemon with these settings takes beside the map of its store, by docs/operations.md, "Sizing". */
struct settings_need {
    uint64_t least; /* with a full tier and one request of the largest size */
    uint64_t most;  /* when all waits that may: storage.queue_bytes, limits.bodies_bytes and limits.answers_bytes */
    uint64_t fits;  /* the memory.max_bytes of which the least fits the limit, a whole number of MiB; 0: none does */
};
/* limit: bytes. Any thread. */
void settings_need(const struct settings *settings, uint64_t limit, struct settings_need *out);

#endif
