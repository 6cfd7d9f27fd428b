/*
 * auth.h - who is calling: API keys, each with a namespace and perhaps the right to administer.
 *
 * Only the SHA-256 of a key is configured and kept. The digest of what a caller sends is compared with every configured
 * one, each in constant time, and the loop does not stop at a match, so that time tells nothing of which key came
 * close. A plain digest without salt is enough, because `aicache key new` makes keys of 256 random bits.
 *
 * A set of keys never changes. A reload makes a new set; who holds the old one keeps a reference until done. Any thread
 * may call any function.
 */
#ifndef SERVE_AUTH_H
#define SERVE_AUTH_H

#include "base/mem.h"

#define AUTH_MAX_KEYS 10000
#define AUTH_MAX_KEY_BYTES 512 /* longer ones are malformed */

/* One configured key, as the configuration spells it. All borrowed for the call. */
struct auth_key {
    const char *id;        /* names the key in logs; 1..128 bytes */
    const uint8_t *sha256; /* 32 bytes: of the key's text */
    const char *ns;        /* NULL: "default" */
    bool admin;
};

struct auth;

/* The names of `hosts` in the configuration. Borrowed for the call. */
struct auth_hosts {
    const char *const *names;
    size_t count;
};

/*
 * A set of keys; with none, every caller may do everything (the daemon then listens on loopback only). AIC_INVALID with
 * the field named ("api_keys[2].sha256"): the same id or digest twice, an id or a namespace that is empty or too long.
 * AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status auth_create(struct mem *mem, const struct auth_key *keys, size_t count,
                                      struct auth_hosts hosts, struct auth **out, aic_error *error);
struct auth *auth_pin(struct auth *auth);
/* Gives one reference back and nulls. Accepts a pointer to NULL. */
void auth_release(struct auth **auth);

bool auth_is_open(const struct auth *auth); /* no keys are configured */
/* Is it one of the hosts, in any case of letters? */
bool auth_knows_host(const struct auth *auth, aic_view host);

/* Who calls. Views are valid as long as the set. */
struct auth_caller {
    aic_view id; /* empty when no keys are configured */
    aic_view ns; /* the namespace of requests that name none */
    bool admin;  /* every namespace, and what is dangerous */
};

/*
 * Checks what came. `authorization` and `api_key` are the values of the Authorization and X-API-Key headers, absent
 * (data NULL) when not sent; when both came, both must name the same key. AIC_OK, or AIC_UNAUTHORIZED with a message
 * that names the cause (missing, empty, malformed, unknown) and repeats nothing of what came.
 */
AIC_MUST_CHECK aic_status auth_check(const struct auth *auth, aic_view authorization, aic_view api_key,
                                     struct auth_caller *out, aic_error *error);

/* A further header of either name in a request of `caller`: it must name the same key. As auth_check(). */
AIC_MUST_CHECK aic_status auth_check_further(const struct auth *auth, aic_view authorization, aic_view api_key,
                                             const struct auth_caller *caller, aic_error *error);

/*
 * The namespace of a request: `wanted` (absent: the caller's own) if the caller may use it. AIC_FORBIDDEN with field
 * "namespace".
 */
AIC_MUST_CHECK aic_status auth_namespace(const struct auth_caller *caller, aic_view wanted, aic_view *out,
                                         aic_error *error);

#endif
