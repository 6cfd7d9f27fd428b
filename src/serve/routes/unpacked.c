#include "serve/routes/unpacked.h"

#include "base/check.h"

#include <string.h>

struct unpacked {
    struct lane_job job; /* makes it */
    struct unpacked_list *list;
    struct unpacked *next;
    aic_key key;
    uint64_t checksum;
    struct cache_hit *hit;         /* of the first who asked; until it is told */
    unsigned pins;                 /* guarded by the list's lock, as are the next two */
    struct unpacked_wait *waiting; /* who is to be told */
    bool made;
    struct buf plain; /* the job's until it is made; never changed afterwards */
};
static_assert(offsetof(struct unpacked, job) == 0, "the job is found again as what it makes");

void unpacked_init(struct unpacked_list *list, struct lanes *lanes)
{
    list->lanes = lanes;
    list->first = NULL;
    CHECK(pthread_mutex_init(&list->lock, NULL) == 0);
}

void unpacked_fini(struct unpacked_list *list)
{
    CHECK(list->first == NULL);
    pthread_mutex_destroy(&list->lock);
}

/* With the lock held. */
static void take_out(struct unpacked *gone)
{
    struct unpacked **link = &gone->list->first;
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
}

static void destroy(struct unpacked *gone)
{
    struct mem *mem = gone->plain.mem;
    buf_fini(&gone->plain);
    mem_free(mem, MEM_ANSWERS, gone, sizeof *gone);
}

/* On a thread of the lane. Who is told AIC_OK has a pin; a copy that could not be made is nobody's. */
static void make(struct lane_job *job)
{
    struct unpacked *self = (struct unpacked *)job;
    struct iovec piece;
    size_t count;
    aic_status status = cache_hit_pieces(self->hit, &self->plain, &piece, 1, &count);
    const struct mem *full = status == AIC_NO_MEMORY ? mem_refused_by() : NULL;
    bool made = status == AIC_OK;
    pthread_mutex_lock(&self->list->lock);
    struct unpacked_wait *waiting = self->waiting;
    CHECK(waiting != NULL && !self->made);
    self->waiting = NULL;
    self->made = made;
    if (!made) take_out(self);
    pthread_mutex_unlock(&self->list->lock);
    for (struct unpacked_wait *wait = waiting, *next; wait != NULL; wait = next) {
        next = wait->next; /* read first: told() may free it, and with the last of them goes the copy */
        wait->status = status;
        wait->full = full;
        wait->unpacked = made ? self : NULL;
        wait->first = made && next == NULL; /* who came first stands last */
        wait->told(wait);
    }
    if (!made) destroy(self);
}

static bool is_of(const struct unpacked *unpacked, const struct cache_hit *hit, uint64_t checksum)
{
    return unpacked->checksum == checksum && memcmp(&unpacked->key, &hit->key, sizeof hit->key) == 0;
}

bool unpacked_ask(struct unpacked_list *list, struct mem *mem, struct cache_hit *hit, uint64_t checksum,
                  struct unpacked_wait *wait)
{
    bool begun = false;
    wait->status = AIC_OK;
    wait->full = NULL;
    wait->first = false;
    pthread_mutex_lock(&list->lock);
    struct unpacked *found = list->first;
    while (found != NULL && !is_of(found, hit, checksum)) found = found->next;
    if (found == NULL && (found = mem_zalloc(mem, MEM_ANSWERS, sizeof *found)) != NULL) {
        found->job.run = make;
        found->list = list;
        found->key = hit->key;
        found->checksum = checksum;
        found->hit = hit;
        buf_init(&found->plain, mem, MEM_ANSWERS);
        found->next = list->first;
        list->first = found;
        begun = true;
    }
    bool settled = found == NULL || found->made;
    if (found != NULL) found->pins++;
    if (!settled) {
        wait->next = found->waiting;
        found->waiting = wait;
    }
    pthread_mutex_unlock(&list->lock);
    if (begun) lanes_add(list->lanes, LANE_QUICK, &found->job);
    if (!settled) return false; /* it may have been told by now */
    wait->unpacked = found;
    if (found == NULL) {
        wait->status = AIC_NO_MEMORY;
        wait->full = mem_refused_by();
    }
    return true;
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
    CHECK(old->made && old->pins > 0);
    bool last = --old->pins == 0;
    if (last) take_out(old);
    pthread_mutex_unlock(&list->lock);
    if (last) destroy(old);
}
