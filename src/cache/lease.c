#include "cache/lease.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/view.h"

#include <pthread.h>
#include <string.h>

#define BUCKETS 1024 /* power of two */
#define NAMESPACES 256
#define NS_PER_MS UINT64_C(1000000)
static_assert(BUCKETS <= 1 << 16, "two bytes of the key choose the bucket");
static_assert(LEASE_MOST_OF_ONE < LEASE_MOST, "one namespace leaves leases to the others");

struct lease {
    struct lease *next; /* in the bucket */
    aic_key key;
    char id[LEASE_ID_BYTES];
    char ns[AIC_MAX_NAME_BYTES];
    size_t ns_size;
    uint64_t over_ns;
    struct lease_waiter *first, **last; /* who waits, in order */
};

struct bucket {
    struct lease *first;
    uint64_t due_ns; /* nothing in it is over before; UINT64_MAX: nothing is in it that will be */
};

struct leases {
    struct mem *mem;
    const aic_clock *clock;
    pthread_mutex_t mutex; /* guards what follows */
    struct bucket buckets[BUCKETS];
    uint32_t of_one[NAMESPACES]; /* leases by the hash of who holds them */
    bool ended;
    uint64_t waiters;
    struct figure_counts counts;
    /*
     * The number of leases, so that a put need not take the mutex: release under it, acquire there. Who is granted a
     * lease looks the key up once more afterwards, under its shard's lock, and a put stores under that lock before it
     * reads this: whichever comes first, the lookup sees the entry or the put sees the lease, on any machine. Where
     * memory does not take the entry the worst is that the holder computes what was put at that moment, and its put
     * tells all.
     */
    _Atomic uint64_t count;
};

aic_status leases_create(struct mem *mem, const aic_clock *clock, struct leases **out)
{
    struct leases *made = mem_zalloc(mem, MEM_CACHE, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    made->mem = mem;
    made->clock = clock;
    for (unsigned i = 0; i < BUCKETS; i++) made->buckets[i].due_ns = UINT64_MAX;
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

static struct bucket *bucket_of(struct leases *leases, const uint8_t *key)
{
    return &leases->buckets[((unsigned)key[0] << 8 | key[1]) % BUCKETS];
}

static uint32_t *share_of(struct leases *leases, const char *ns, size_t size)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)ns[i]) * 16777619u;
    return &leases->of_one[(hash ^ hash >> 16) % NAMESPACES];
}

/* Under the mutex. */
static uint64_t count_of(const struct leases *leases)
{
    return atomic_load_explicit(&leases->count, memory_order_relaxed);
}

static struct lease **find(struct leases *leases, const aic_key *key)
{
    struct lease **at = &bucket_of(leases, key->bytes)->first;
    while (*at != NULL && key_compare(&(*at)->key, key) != 0) at = &(*at)->next;
    return at;
}

/* A tick looks into this key's bucket then, or before. */
static void look_at(struct leases *leases, const aic_key *key, uint64_t at_ns)
{
    struct bucket *bucket = bucket_of(leases, key->bytes);
    if (at_ns < bucket->due_ns) bucket->due_ns = at_ns;
}

/* Takes the lease out of its bucket. What waits is the caller's. */
static void remove_lease(struct leases *leases, struct lease **at)
{
    struct lease *lease = *at;
    CHECK(lease->first == NULL);
    *at = lease->next;
    CHECK(count_of(leases) > 0 && *share_of(leases, lease->ns, lease->ns_size) > 0);
    --*share_of(leases, lease->ns, lease->ns_size);
    atomic_fetch_sub_explicit(&leases->count, 1, memory_order_release);
    mem_free(leases->mem, MEM_CACHE, lease, sizeof *lease);
}

void leases_destroy(struct leases **leases)
{
    struct leases *self = *leases;
    if (self == NULL) return;
    *leases = NULL;
    CHECK(self->waiters == 0);
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (self->buckets[i].first != NULL) remove_lease(self, &self->buckets[i].first);
    }
    CHECK(count_of(self) == 0);
    pthread_mutex_destroy(&self->mutex);
    mem_free(self->mem, MEM_CACHE, self, sizeof *self);
}

/* --------------------------------------------------------------------------------------------- waiting, granting -- */

static void add_waiter(struct leases *leases, struct lease *lease, struct lease_waiter *waiter)
{
    CHECK(*lease->last == NULL && key_compare(&lease->key, &waiter->key) == 0);
    waiter->lease = lease;
    waiter->next = NULL;
    waiter->link = lease->last;
    *lease->last = waiter;
    lease->last = &waiter->next;
    look_at(leases, &lease->key, waiter->until_ns);
    leases->waiters++;
}

static void remove_waiter(struct leases *leases, struct lease_waiter *waiter)
{
    struct lease *lease = waiter->lease;
    CHECK(lease != NULL && *waiter->link == waiter && leases->waiters > 0);
    *waiter->link = waiter->next;
    if (waiter->next != NULL) waiter->next->link = waiter->link;
    else lease->last = waiter->link;
    waiter->lease = NULL;
    waiter->next = NULL;
    leases->waiters--;
}

/* The lease is this one's from now on. False: no random bytes are to be had. */
static bool grant(struct leases *leases, struct lease *lease, struct lease_waiter *waiter, uint64_t now)
{
    uint8_t raw[16];
    static_assert(LEASE_ID_BYTES == 2 * sizeof raw + 1, "an id is the bytes in hex digits, and a NUL");
    CHECK(waiter->ns.size > 0 && waiter->ns.size <= sizeof lease->ns);
    memcpy(raw, lease->key.bytes, 8);
    if (digest_random(raw + 8, 8) != AIC_OK) return false;
    CHECK(lease->ns_size == 0 || *share_of(leases, lease->ns, lease->ns_size) > 0);
    if (lease->ns_size > 0) --*share_of(leases, lease->ns, lease->ns_size);
    lease->ns_size = waiter->ns.size;
    memcpy(lease->ns, waiter->ns.data, waiter->ns.size);
    ++*share_of(leases, lease->ns, lease->ns_size);
    hex_write(raw, sizeof raw, lease->id);
    lease->id[LEASE_ID_BYTES - 1] = '\0';
    memcpy(waiter->id, lease->id, sizeof waiter->id);
    waiter->lease_ms = waiter->wait_ms > LEASE_LEAST_MS ? waiter->wait_ms : LEASE_LEAST_MS;
    lease->over_ns = now + waiter->lease_ms * NS_PER_MS;
    look_at(leases, &lease->key, lease->over_ns);
    FIGURE_COUNT(&leases->counts, leases_granted, 1);
    return true;
}

/* Under the mutex: a new lease for a key that has none. NULL: none is to be had. */
static struct lease *make_lease(struct leases *leases, struct lease_waiter *waiter, uint64_t now)
{
    if (count_of(leases) >= LEASE_MOST || *share_of(leases, waiter->ns.data, waiter->ns.size) >= LEASE_MOST_OF_ONE)
        return NULL;
    struct lease *made = mem_zalloc(leases->mem, MEM_CACHE, sizeof *made);
    if (made == NULL) return NULL;
    made->key = waiter->key;
    made->last = &made->first;
    if (!grant(leases, made, waiter, now)) {
        mem_free(leases->mem, MEM_CACHE, made, sizeof *made);
        return NULL;
    }
    struct bucket *bucket = bucket_of(leases, made->key.bytes);
    made->next = bucket->first;
    bucket->first = made;
    atomic_fetch_add_explicit(&leases->count, 1, memory_order_release);
    return made;
}

enum lease_news leases_ask(struct leases *leases, struct lease_waiter *waiter)
{
    uint64_t now = clock_mono_ns(leases->clock);
    CHECK(waiter->lease == NULL && waiter->wait_ms > 0);
    waiter->until_ns = now + waiter->wait_ms * NS_PER_MS;
    pthread_mutex_lock(&leases->mutex);
    enum lease_news news = LEASE_WAITS;
    struct lease *lease = *find(leases, &waiter->key);
    bool crowded = waiter->most_waiters > 0 && leases->waiters >= waiter->most_waiters;
    if (leases->ended || (lease != NULL && crowded)) news = LEASE_OVER;
    else if (lease != NULL) add_waiter(leases, lease, waiter);
    else news = make_lease(leases, waiter, now) != NULL ? LEASE_GRANTED : LEASE_OVER;
    pthread_mutex_unlock(&leases->mutex);
    return news;
}

bool leases_withdraw(struct leases *leases, struct lease_waiter *waiter)
{
    pthread_mutex_lock(&leases->mutex);
    bool waited = waiter->lease != NULL;
    if (waited) remove_waiter(leases, waiter);
    pthread_mutex_unlock(&leases->mutex);
    return waited;
}

/* Who is to be told, outside the mutex: linked by `next`. */
struct news {
    struct lease_waiter *first, **last;
};

static void tell(struct news *list, enum lease_news news)
{
    while (list->first != NULL) {
        struct lease_waiter *waiter = list->first;
        list->first = waiter->next; /* read first: told() may free it */
        waiter->next = NULL;
        waiter->told(waiter, news);
    }
}

static void note(struct news *list, struct lease_waiter *waiter)
{
    CHECK(waiter->lease == NULL); /* nobody tells it a second time */
    if (list->last == NULL) list->last = &list->first;
    waiter->next = NULL;
    *list->last = waiter;
    list->last = &waiter->next;
}

void leases_answer(struct leases *leases, const aic_key *key)
{
    struct news answered = {.first = NULL};
    if (atomic_load_explicit(&leases->count, memory_order_acquire) == 0) return;
    pthread_mutex_lock(&leases->mutex);
    struct lease **at = find(leases, key);
    if (*at != NULL) {
        for (struct lease_waiter *waiter; (waiter = (*at)->first) != NULL;) {
            remove_waiter(leases, waiter);
            note(&answered, waiter);
        }
        FIGURE_COUNT(&leases->counts, leases_answered, 1);
        remove_lease(leases, at);
    }
    pthread_mutex_unlock(&leases->mutex);
    tell(&answered, LEASE_ANSWERED);
}

/* Under the mutex: the lease passes to who waits longest, or ends. */
static void pass_on(struct leases *leases, struct lease **at, uint64_t now, struct news *granted)
{
    struct lease_waiter *waiter = (*at)->first;
    if (waiter != NULL && grant(leases, *at, waiter, now)) {
        remove_waiter(leases, waiter);
        note(granted, waiter);
        return;
    }
    if (waiter == NULL) {
        remove_lease(leases, at);
        return;
    }
    (*at)->over_ns = now + NS_PER_MS * 100; /* without random bytes: once more, soon */
    look_at(leases, &(*at)->key, (*at)->over_ns);
}

aic_status leases_give_up(struct leases *leases, aic_view ns, aic_view id)
{
    struct news granted = {.first = NULL};
    uint8_t raw[16];
    if (id.size != LEASE_ID_BYTES - 1 || !hex_read(id.data, sizeof raw, raw)) return AIC_NOT_FOUND;
    pthread_mutex_lock(&leases->mutex);
    struct lease **at = &bucket_of(leases, raw)->first;
    while (*at != NULL && (memcmp((*at)->id, id.data, id.size) != 0 || (*at)->ns_size != ns.size ||
                           memcmp((*at)->ns, ns.data, ns.size) != 0))
        at = &(*at)->next;
    bool known = *at != NULL;
    if (known) {
        FIGURE_COUNT(&leases->counts, leases_given_up, 1);
        pass_on(leases, at, clock_mono_ns(leases->clock), &granted);
    }
    pthread_mutex_unlock(&leases->mutex);
    tell(&granted, LEASE_GRANTED);
    return known ? AIC_OK : AIC_NOT_FOUND;
}

aic_status leases_check(aic_view id, const aic_key *key)
{
    uint8_t raw[16];
    if (id.size != LEASE_ID_BYTES - 1 || !hex_read(id.data, sizeof raw, raw)) return AIC_INVALID;
    return memcmp(raw, key->bytes, 8) == 0 ? AIC_OK : AIC_INVALID;
}

void leases_end(struct leases *leases)
{
    struct news over = {.first = NULL};
    pthread_mutex_lock(&leases->mutex);
    leases->ended = true;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct lease *lease = leases->buckets[i].first; lease != NULL; lease = lease->next) {
            for (struct lease_waiter *waiter; (waiter = lease->first) != NULL;) {
                remove_waiter(leases, waiter);
                note(&over, waiter);
            }
        }
    }
    pthread_mutex_unlock(&leases->mutex);
    tell(&over, LEASE_OVER);
}

/* What is over in a bucket ends, and when it is to be looked at again is set anew. */
static void tick_bucket(struct leases *leases, struct bucket *bucket, uint64_t now, struct news *granted,
                        struct news *over)
{
    bucket->due_ns = UINT64_MAX;
    for (struct lease **at = &bucket->first; *at != NULL;) {
        struct lease *lease = *at;
        for (struct lease_waiter *waiter = lease->first, *after; waiter != NULL; waiter = after) {
            after = waiter->next;
            if (waiter->until_ns > now) {
                look_at(leases, &lease->key, waiter->until_ns);
                continue;
            }
            remove_waiter(leases, waiter);
            note(over, waiter);
        }
        if (lease->over_ns <= now) {
            FIGURE_COUNT(&leases->counts, leases_expired, 1);
            pass_on(leases, at, now, granted);
            if (*at != lease) continue; /* it ended */
        }
        look_at(leases, &lease->key, lease->over_ns);
        at = &lease->next;
    }
}

uint64_t leases_tick(struct leases *leases)
{
    struct news granted = {.first = NULL}, over = {.first = NULL};
    uint64_t next = UINT64_MAX;
    if (atomic_load_explicit(&leases->count, memory_order_acquire) == 0) return next;
    uint64_t now = clock_mono_ns(leases->clock);
    pthread_mutex_lock(&leases->mutex);
    for (struct bucket *bucket = leases->buckets; bucket < leases->buckets + BUCKETS; bucket++) {
        if (bucket->due_ns <= now) tick_bucket(leases, bucket, now, &granted, &over);
        if (bucket->due_ns < next) next = bucket->due_ns;
    }
    pthread_mutex_unlock(&leases->mutex);
    tell(&granted, LEASE_GRANTED);
    tell(&over, LEASE_OVER);
    return next;
}

void leases_figures(struct leases *leases, struct figures *out)
{
    figures_add(out, &leases->counts);
    pthread_mutex_lock(&leases->mutex);
    out->leases = count_of(leases);
    out->lease_waiters = leases->waiters;
    pthread_mutex_unlock(&leases->mutex);
}

aic_status leases_verify(struct leases *leases)
{
    uint64_t count = 0, waiters = 0, shares = 0;
    bool sound = true;
    pthread_mutex_lock(&leases->mutex);
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct lease *lease = leases->buckets[i].first; lease != NULL; lease = lease->next) {
            struct lease_waiter **link = &lease->first;
            count++;
            sound = sound && bucket_of(leases, lease->key.bytes) == &leases->buckets[i] &&
                    *find(leases, &lease->key) == lease && leases->buckets[i].due_ns <= lease->over_ns;
            for (; *link != NULL; link = &(*link)->next) {
                waiters++;
                sound = sound && (*link)->lease == lease && (*link)->link == link &&
                        leases->buckets[i].due_ns <= (*link)->until_ns;
            }
            sound = sound && lease->last == link;
        }
    }
    for (unsigned i = 0; i < NAMESPACES; i++) shares += leases->of_one[i];
    sound = sound && count == count_of(leases) && shares == count && waiters == leases->waiters;
    pthread_mutex_unlock(&leases->mutex);
    return sound ? AIC_OK : AIC_INTERNAL;
}
