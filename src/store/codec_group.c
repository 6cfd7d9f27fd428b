#include "store/codec_inner.h"

#include "base/check.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * Groups: who gets which dictionary, and when one is trained. The figures are in codec.h; those of the sample set in
 * samples.h.
 */

enum { GROWTH = 8, GATHER_FROM = 6 /* times the size of the last training */ };
static const double worse_ratio = 1.2;

struct codec_group *codec_group_locked(struct codec *codec, aic_view name)
{
    struct codec_group **chain = &codec->groups[XXH3_64bits(name.data, name.size) % CODEC_GROUP_CHAINS];
    for (struct codec_group *group = *chain; group != NULL; group = group->next)
        if (group->name_size == name.size && (name.size == 0 || memcmp(group->name, name.data, name.size) == 0))
            return group;
    if (codec->group_count == CODEC_GROUPS_MAX) return NULL;
    struct codec_group *group = mem_zalloc(codec->options.mem, MEM_CODEC, sizeof *group + name.size);
    if (group == NULL) return NULL;
    group->name_size = name.size;
    if (name.size > 0) memcpy(group->name, name.data, name.size);
    group->next = *chain;
    *chain = group;
    codec->group_count++;
    return group;
}

/* ---- samples ---- */

static void stop_gathering_locked(struct codec *codec, size_t place)
{
    struct codec_group *group = codec->gathering[place];
    CHECK(group->gathers && codec->sample_bytes >= group->samples.bytes);
    codec->gathering[place] = NULL;
    codec->sample_bytes -= group->samples.bytes;
    samples_clear(&group->samples, codec->options.mem);
    group->gathers = false;
}

/*
 * A free place, or that of the group that has been silent longest, if that is long: namespaces that came and went must
 * not keep the living from gathering, and the living must not take each other's place before they were trained.
 */
static bool start_gathering_locked(struct codec *codec, struct codec_group *group)
{
    size_t place = 0;
    for (size_t i = 0; i < CODEC_GATHERING_MAX; i++) {
        struct codec_group *at = codec->gathering[i];
        struct codec_group *chosen = codec->gathering[place];
        if (chosen != NULL && (at == NULL || at->last_value < chosen->last_value)) place = i;
    }
    struct codec_group *holder = codec->gathering[place];
    if (holder != NULL) {
        if (codec->values - holder->last_value <= CODEC_GATHERING_IDLE) return false;
        stop_gathering_locked(codec, place);
    }
    codec->gathering[place] = group;
    group->gathers = true;
    return true;
}

/* Samples from the last quarter of the way to the next training are enough, and the freshest. */
static bool should_gather(const struct codec_group *group)
{
    if (group->seen_bytes < group->retry_at_bytes - group->retry_at_bytes / 4) return false;
    return group->current == NULL || group->worsened || group->seen_bytes / GATHER_FROM >= group->trained_at_bytes;
}

bool codec_wants_sample_locked(struct codec *codec, struct codec_group *group, size_t value_bytes)
{
    group->seen_bytes += value_bytes;
    group->last_value = ++codec->values;
    if (!should_gather(group)) return false;
    if (!group->gathers && !start_gathering_locked(codec, group)) return false;
    return samples_want(&group->samples);
}

aic_status codec_add_sample_locked(struct codec *codec, struct codec_group *group, struct sample *sample)
{
    if (!group->gathers) return AIC_STALE;
    CHECK(codec->sample_bytes >= group->samples.bytes);
    codec->sample_bytes -= group->samples.bytes;
    samples_add(&group->samples, codec->options.mem, sample);
    codec->sample_bytes += group->samples.bytes;
    return AIC_OK;
}

void codec_watch_ratio_locked(struct codec_group *group, const struct dictionary *dictionary, size_t bytes_in,
                              size_t bytes_out)
{
    if (dictionary != group->current) return;
    struct codec_window *window = &group->window;
    window->values++;
    window->bytes_in += bytes_in;
    window->bytes_out += bytes_out;
    if (window->values < CODEC_WINDOW_VALUES) return;
    double ratio = (double)window->bytes_out / (double)window->bytes_in;
    if (group->first_ratio <= 0) group->first_ratio = ratio;
    else if (ratio > group->first_ratio * worse_ratio) group->worsened = true;
    *window = (struct codec_window){0};
}

/* ---- training ---- */

static bool is_due(const struct codec *codec, const struct codec_group *group)
{
    if (!samples_are_enough(&group->samples) || group->seen_bytes < group->retry_at_bytes) return false;
    if (group->current != NULL) return group->worsened || group->seen_bytes / GROWTH >= group->trained_at_bytes;
    return codec->dictionaries.bytes < CODEC_DICTIONARIES_MAX_BYTES;
}

/* One group's training, outside the lock. */
struct lesson_plan {
    struct codec_group *group;
    struct samples samples;     /* taken from the group */
    struct dictionary *current; /* one reference, or NULL */
};

/* The next group from *chain on that is due, with its samples taken away; false when there is none. */
static bool plan_lesson_locked(struct codec *codec, size_t *chain, struct lesson_plan *plan)
{
    for (; *chain < CODEC_GROUP_CHAINS; ++*chain) {
        for (struct codec_group *group = codec->groups[*chain]; group != NULL; group = group->next) {
            if (!is_due(codec, group)) continue;
            *plan = (struct lesson_plan){.group = group, .samples = group->samples, .current = group->current};
            codec->sample_bytes -= plan->samples.bytes;
            group->samples = (struct samples){0};
            for (size_t i = 0; i < CODEC_GATHERING_MAX; i++)
                if (codec->gathering[i] == group) stop_gathering_locked(codec, i);
            CHECK(!group->gathers); /* it had one place, which others may take now */
            if (plan->current != NULL) dictionary_take(plan->current);
            /* Whatever comes of it: as much again before the next try. A new dictionary puts off further than that. */
            group->retry_at_bytes = group->seen_bytes * 2;
            return true;
        }
    }
    return false;
}

/* Makes the dictionary the one that encodes. Takes over one reference; the set takes another. */
static void install_locked(struct codec *codec, struct codec_group *group, struct dictionary *dictionary)
{
    CHECK(!dictionary->encodes && (group->current == NULL || group->current->encodes));
    if (group->current != NULL) group->current->encodes = false;
    dictionary_release(&group->current);
    dictionary->encodes = true;
    dictionary_take(dictionary);
    group->current = dictionary;
    group->window = (struct codec_window){0};
    group->first_ratio = 0;
    group->worsened = false;
    dictionary_set_add(&codec->dictionaries, dictionary);
}

static aic_status hold_lesson(struct codec *codec, struct lesson_plan *plan, codec_keep_fn *keep, void *context)
{
    struct dictionary *made = NULL;
    aic_view name = {plan->group->name, plan->group->name_size};
    struct mem *mem = codec->options.mem;
    aic_status status = samples_train(&plan->samples, mem, codec->options.level, name, plan->current, &made);
    samples_clear(&plan->samples, mem);
    dictionary_release(&plan->current);
    if (status == AIC_OK && keep != NULL) status = keep(context, name, made->id, (aic_view){made->bytes, made->size});
    if (status != AIC_OK) {
        dictionary_release(&made);
        return status;
    }
    pthread_mutex_lock(&codec->lock);
    if (dictionary_set_find(&codec->dictionaries, made->id) != NULL) status = AIC_MISS; /* one of before, once more */
    else install_locked(codec, plan->group, made);
    plan->group->trained_at_bytes = plan->group->seen_bytes;
    pthread_mutex_unlock(&codec->lock);
    if (status != AIC_OK) dictionary_release(&made);
    return status;
}

aic_status codec_train(struct codec *codec, codec_keep_fn *keep, void *context, unsigned *trained)
{
    unsigned count = 0;
    aic_status status = AIC_OK;
    pthread_mutex_lock(&codec->lock);
    if (!codec->training) {
        struct lesson_plan plan;
        size_t chain = 0;
        codec->training = true;
        while (plan_lesson_locked(codec, &chain, &plan)) {
            pthread_mutex_unlock(&codec->lock);
            aic_status one = hold_lesson(codec, &plan, keep, context);
            if (one == AIC_OK) count++;
            else if (one != AIC_MISS && status == AIC_OK) status = one;
            pthread_mutex_lock(&codec->lock);
            CHECK(codec->training);
        }
        codec->training = false;
    }
    pthread_mutex_unlock(&codec->lock);
    if (status == AIC_OK && trained != NULL) *trained = count;
    return status;
}

/* ---- dictionaries from storage ---- */

static aic_status add_locked(struct codec *codec, aic_view name, struct dictionary *dictionary)
{
    if (dictionary_set_find(&codec->dictionaries, dictionary->id) != NULL) return AIC_EXISTS;
    struct codec_group *group = codec_group_locked(codec, name);
    /* Without a group it can still decode. */
    bool newest = group != NULL && !codec->options.dictionary_off &&
                  (group->current == NULL || group->current->id < dictionary->id);
    if (newest) {
        install_locked(codec, group, dictionary);
        /* How much it was trained from is not known; the full set of samples is a fair guess. */
        group->trained_at_bytes = group->seen_bytes + SAMPLES_MAX_BYTES;
    } else {
        dictionary_set_add(&codec->dictionaries, dictionary);
    }
    return AIC_OK;
}

aic_status codec_add_dictionary(struct codec *codec, aic_view group, uint32_t id, aic_view dictionary)
{
    struct dictionary *made = NULL;
    TRY(dictionary_create(codec->options.mem, id, dictionary, codec->options.level, &made));
    pthread_mutex_lock(&codec->lock);
    aic_status status = add_locked(codec, group, made);
    pthread_mutex_unlock(&codec->lock);
    if (status != AIC_OK) dictionary_release(&made);
    return status;
}

size_t codec_superseded(struct codec *codec, uint32_t *ids, size_t max)
{
    size_t count = 0;
    pthread_mutex_lock(&codec->lock);
    for (size_t i = 0; i < DICTIONARY_CHAINS; i++)
        for (struct dictionary *at = codec->dictionaries.chains[i]; at != NULL && count < max; at = at->next)
            if (!at->encodes) ids[count++] = at->id;
    pthread_mutex_unlock(&codec->lock);
    return count;
}

aic_status codec_retire(struct codec *codec, uint32_t id)
{
    struct dictionary *gone = NULL;
    pthread_mutex_lock(&codec->lock);
    struct dictionary *found = dictionary_set_find(&codec->dictionaries, id);
    aic_status status = found == NULL ? AIC_NOT_FOUND : found->encodes ? AIC_BUSY : AIC_OK;
    if (status == AIC_OK) gone = dictionary_set_remove(&codec->dictionaries, id);
    pthread_mutex_unlock(&codec->lock);
    dictionary_release(&gone);
    return status;
}
