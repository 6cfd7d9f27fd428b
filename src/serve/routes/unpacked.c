#include "serve/routes/unpacked.h"

#include "base/check.h"

#include <string.h>

struct unpacked {
    struct unpacked *next;
    aic_key key;
    uint64_t checksum;
    unsigned pins;          /* guarded by the list's lock */
    pthread_mutex_t making; /* guards what follows until it is made; above the cache's locks */
    bool made;
    struct buf plain;
};

void unpacked_init(struct unpacked_list *list)
{
    list->first = NULL;
    CHECK(pthread_mutex_init(&list->lock, NULL) == 0);
}

void unpacked_fini(struct unpacked_list *list)
{
    CHECK(list->first == NULL);
    pthread_mutex_destroy(&list->lock);
}

/* The one of the list, or a new one in it, pinned. NULL: no memory. */
static struct unpacked *find(struct unpacked_list *list, struct mem *mem, const aic_key *key, uint64_t checksum)
{
    pthread_mutex_lock(&list->lock);
    struct unpacked *found = list->first;
    while (found != NULL && (found->checksum != checksum || memcmp(&found->key, key, sizeof *key) != 0))
        found = found->next;
    if (found == NULL && (found = mem_zalloc(mem, MEM_ANSWERS, sizeof *found)) != NULL) {
        found->key = *key;
        found->checksum = checksum;
        buf_init(&found->plain, mem, MEM_ANSWERS);
        CHECK(pthread_mutex_init(&found->making, NULL) == 0);
        found->next = list->first;
        list->first = found;
    }
    if (found != NULL) found->pins++;
    pthread_mutex_unlock(&list->lock);
    return found;
}

aic_status unpacked_pin(struct unpacked_list *list, struct mem *mem, struct cache_hit *hit, uint64_t checksum,
                        struct unpacked **out)
{
    struct unpacked *pinned = find(list, mem, &hit->key, checksum);
    if (pinned == NULL) return AIC_NO_MEMORY;
    aic_status status = AIC_OK;
    pthread_mutex_lock(&pinned->making);
    if (!pinned->made) {
        struct iovec piece;
        size_t count;
        status = cache_hit_pieces(hit, &pinned->plain, &piece, 1, &count);
        pinned->made = status == AIC_OK;
    }
    pthread_mutex_unlock(&pinned->making);
    if (status == AIC_OK) *out = pinned;
    else unpacked_release(list, &pinned);
    return status;
}

aic_view unpacked_view(const struct unpacked *unpacked)
{
    return buf_view(&unpacked->plain);
}

void unpacked_release(struct unpacked_list *list, struct unpacked **unpacked)
{
    struct unpacked *old = *unpacked;
    if (old == NULL) return;
    *unpacked = NULL;
    pthread_mutex_lock(&list->lock);
    bool last = --old->pins == 0;
    if (last) {
        struct unpacked **link = &list->first;
        while (*link != old) link = &(*link)->next;
        *link = old->next;
    }
    pthread_mutex_unlock(&list->lock);
    if (!last) return;
    struct mem *mem = old->plain.mem;
    buf_fini(&old->plain);
    pthread_mutex_destroy(&old->making);
    mem_free(mem, MEM_ANSWERS, old, sizeof *old);
}
