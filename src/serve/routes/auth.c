#include "serve/routes/auth.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/view.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct row {
    uint8_t sha256[32];
    char *id; /* owned */
    char *ns; /* owned */
    bool admin;
};

struct auth {
    struct mem *mem;
    struct row *rows; /* owned */
    size_t count;
    char **hosts; /* owned, with the names */
    size_t host_count;
    _Atomic unsigned references; /* release on giving back, acquire by the last one, which frees */
};

static aic_status refuse(aic_error *error, size_t index, const char *field, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "api_keys[%zu].%s", index, field);
    return error_set(error, AIC_INVALID, name, "%s", what);
}

/* Reads one configured key into the next row; the row counts from the moment its strings may need releasing. */
static aic_status add_row(struct auth *auth, const struct auth_key *key, aic_error *error)
{
    size_t index = auth->count;
    struct row *row = &auth->rows[index];
    if (key->id == NULL || key->id[0] == '\0' || strlen(key->id) > AIC_MAX_NAME_BYTES)
        return refuse(error, index, "id", "an id of 1 to 128 bytes is needed");
    memcpy(row->sha256, key->sha256, sizeof row->sha256);
    const char *ns = key->ns != NULL ? key->ns : "default";
    if (ns[0] == '\0' || strlen(ns) > AIC_MAX_NAME_BYTES)
        return refuse(error, index, "namespace", "a namespace of 1 to 128 bytes is accepted");
    for (size_t other = 0; other < index; other++) {
        if (strcmp(auth->rows[other].id, key->id) == 0) return refuse(error, index, "id", "this id is used twice");
        if (memcmp(auth->rows[other].sha256, row->sha256, 32) == 0)
            return refuse(error, index, "sha256", "this key is configured twice");
    }
    row->admin = key->admin;
    row->id = mem_copy_string(auth->mem, MEM_CONFIG, aic_view_of(key->id));
    row->ns = mem_copy_string(auth->mem, MEM_CONFIG, aic_view_of(ns));
    auth->count++;
    return row->id != NULL && row->ns != NULL ? AIC_OK : AIC_NO_MEMORY;
}

static void destroy(struct auth *auth, size_t capacity, size_t host_capacity)
{
    for (size_t i = 0; i < auth->count; i++) {
        mem_free_string(auth->mem, MEM_CONFIG, auth->rows[i].id);
        mem_free_string(auth->mem, MEM_CONFIG, auth->rows[i].ns);
    }
    for (size_t i = 0; i < auth->host_count; i++) mem_free_string(auth->mem, MEM_CONFIG, auth->hosts[i]);
    mem_free(auth->mem, MEM_CONFIG, auth->rows, capacity * sizeof *auth->rows);
    mem_free(auth->mem, MEM_CONFIG, auth->hosts, host_capacity * sizeof *auth->hosts);
    mem_free(auth->mem, MEM_CONFIG, auth, sizeof *auth);
}

/* A dot at the end says nothing, here as in a request. */
static aic_status add_host(struct auth *auth, const char *name)
{
    char *copy = mem_copy_string(auth->mem, MEM_CONFIG, view_trim_end(aic_view_of(name), "."));
    if (copy == NULL) return AIC_NO_MEMORY;
    auth->hosts[auth->host_count++] = copy;
    return AIC_OK;
}

aic_status auth_create(struct mem *mem, const struct auth_key *keys, size_t count, struct auth_hosts hosts,
                       struct auth **out, aic_error *error)
{
    if (count > AUTH_MAX_KEYS)
        return error_set(error, AIC_INVALID, "api_keys", "at most %d keys are accepted", AUTH_MAX_KEYS);
    struct auth *auth = mem_zalloc(mem, MEM_CONFIG, sizeof *auth);
    if (auth == NULL) return AIC_NO_MEMORY;
    auth->mem = mem;
    atomic_init(&auth->references, 1);
    if (count > 0) auth->rows = mem_zalloc(mem, MEM_CONFIG, count * sizeof *auth->rows);
    if (hosts.count > 0) auth->hosts = mem_zalloc(mem, MEM_CONFIG, hosts.count * sizeof *auth->hosts);
    bool missing = (count > 0 && auth->rows == NULL) || (hosts.count > 0 && auth->hosts == NULL);
    aic_status status = missing ? AIC_NO_MEMORY : AIC_OK;
    for (size_t i = 0; i < count && status == AIC_OK; i++) status = add_row(auth, &keys[i], error);
    for (size_t i = 0; i < hosts.count && status == AIC_OK; i++) status = add_host(auth, hosts.names[i]);
    if (status != AIC_OK) {
        destroy(auth, auth->rows != NULL ? count : 0, auth->hosts != NULL ? hosts.count : 0);
        return status;
    }
    *out = auth;
    return AIC_OK;
}

struct auth *auth_pin(struct auth *auth)
{
    /* Relaxed: the caller already holds a reference, nothing is published by counting one more. */
    atomic_fetch_add_explicit(&auth->references, 1, memory_order_relaxed);
    return auth;
}

void auth_release(struct auth **auth)
{
    if (*auth == NULL) return;
    /* Release orders this holder's reads before the count; acquire orders the last holder's free after everybody's. */
    if (atomic_fetch_sub_explicit(&(*auth)->references, 1, memory_order_acq_rel) == 1)
        destroy(*auth, (*auth)->count, (*auth)->host_count);
    *auth = NULL;
}

bool auth_is_open(const struct auth *auth)
{
    return auth->count == 0;
}

bool auth_knows_host(const struct auth *auth, aic_view host)
{
    for (size_t i = 0; i < auth->host_count; i++) {
        if (strlen(auth->hosts[i]) == host.size && strncasecmp(auth->hosts[i], host.data, host.size) == 0) return true;
    }
    return false;
}

static aic_status unauthorized(aic_error *error, const char *why)
{
    return error_set(error, AIC_UNAUTHORIZED, "authorization",
                     "%s; send \"Authorization: Bearer KEY\" or \"X-API-Key: KEY\"", why);
}

static aic_view trim(aic_view text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) text.data++, text.size--;
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) text.size--;
    return text;
}

/* The key within "Bearer KEY"; the scheme's case does not matter (RFC 9110, 11.1). */
static aic_status read_bearer(aic_view value, aic_view *out, aic_error *error)
{
    value = trim(value);
    if (value.size == 0) return unauthorized(error, "the Authorization header is empty");
    if (value.size < 6 || strncasecmp(value.data, "Bearer", 6) != 0 ||
        (value.size > 6 && value.data[6] != ' ' && value.data[6] != '\t'))
        return unauthorized(error, "the Authorization header is malformed: its scheme must be Bearer");
    *out = trim((aic_view){value.data + 6, value.size - 6});
    return out->size > 0 ? AIC_OK : unauthorized(error, "the API key is empty");
}

static aic_status check_form(aic_view key, aic_error *error)
{
    if (key.size == 0) return unauthorized(error, "the API key is empty");
    bool good = key.size <= AUTH_MAX_KEY_BYTES;
    for (size_t i = 0; i < key.size && good; i++) good = key.data[i] > ' ' && key.data[i] < 0x7f;
    return good ? AIC_OK
                : unauthorized(error, "the API key is malformed: up to 512 visible ASCII characters are accepted");
}

/* The row of a key, or count. Looks at all rows whatever it finds. */
static aic_status find_row(const struct auth *auth, aic_view key, size_t *out)
{
    uint8_t sha256[32];
    TRY(digest_sha256(key.data, key.size, sha256));
    size_t found = auth->count;
    for (size_t i = 0; i < auth->count; i++) {
        if (digest_equal(auth->rows[i].sha256, sha256, sizeof sha256)) found = i;
    }
    *out = found;
    return AIC_OK;
}

static aic_status known_row(const struct auth *auth, aic_view key, size_t *out, aic_error *error)
{
    TRY(check_form(key, error));
    size_t row;
    TRY(find_row(auth, key, &row));
    if (row == auth->count) return unauthorized(error, "the API key is invalid: it is not one of the configured keys");
    *out = row;
    return AIC_OK;
}

aic_status auth_check(const struct auth *auth, aic_view authorization, aic_view api_key, struct auth_caller *out,
                      aic_error *error)
{
    if (auth->count == 0) {
        *out = (struct auth_caller){.id = AIC_LITERAL(""), .ns = AIC_LITERAL("default"), .admin = true};
        return AIC_OK;
    }
    if (authorization.data == NULL && api_key.data == NULL) return unauthorized(error, "an API key is missing");
    size_t row = auth->count, second = auth->count;
    if (authorization.data != NULL) {
        aic_view bearer;
        TRY(read_bearer(authorization, &bearer, error));
        TRY(known_row(auth, bearer, &row, error));
    }
    if (api_key.data != NULL) TRY(known_row(auth, trim(api_key), &second, error));
    if (row != auth->count && second != auth->count && row != second)
        return unauthorized(error, "the Authorization and X-API-Key headers name different keys");
    const struct row *known = &auth->rows[row != auth->count ? row : second];
    *out = (struct auth_caller){.id = aic_view_of(known->id), .ns = aic_view_of(known->ns), .admin = known->admin};
    return AIC_OK;
}

aic_status auth_check_further(const struct auth *auth, aic_view authorization, aic_view api_key,
                              const struct auth_caller *caller, aic_error *error)
{
    struct auth_caller other;
    TRY(auth_check(auth, authorization, api_key, &other, error));
    if (view_equal(other.id, caller->id)) return AIC_OK;
    return unauthorized(error, authorization.data != NULL ? "several Authorization headers name different keys"
                                                          : "several X-API-Key headers name different keys");
}

aic_status auth_namespace(const struct auth_caller *caller, aic_view wanted, aic_view *out, aic_error *error)
{
    bool own = wanted.data == NULL ||
               (wanted.size == caller->ns.size && memcmp(wanted.data, caller->ns.data, wanted.size) == 0);
    if (!own && !caller->admin)
        return error_set(error, AIC_FORBIDDEN, "namespace", "this API key gives access to its own namespace only");
    *out = own ? caller->ns : wanted;
    return AIC_OK;
}
