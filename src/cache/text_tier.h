/*
 * text_tier.h - the size class of a text by its code points, and the data that the monitor keeps beside a measurement:
 * literals, so that recording composes nothing.
 */
#ifndef CACHE_TEXT_TIER_H
#define CACHE_TEXT_TIER_H

#include <aicache/aicache.h>

#define TEXT_TIER_MAP(X) X(small) X(medium) X(large) X(xlarge)

/* The index of its name in the map. */
static inline unsigned text_tier_of(uint64_t code_points)
{
    return code_points < 500 ? 0 : code_points < 5000 ? 1 : code_points < 50000 ? 2 : 3;
}

/* {"text_tier":"small"}. Static. */
static inline aic_view text_tier_data(uint64_t code_points)
{
#define TEXT_TIER_DATA(name) AIC_LITERAL("{\"text_tier\":\"" #name "\"}"),
    static const aic_view rows[] = {TEXT_TIER_MAP(TEXT_TIER_DATA)};
#undef TEXT_TIER_DATA
    return rows[text_tier_of(code_points)];
}

/* {"tier":"memory","text_tier":"small"} of a hit in memory or in storage. Static. */
static inline aic_view text_tier_hit_data(unsigned tier, uint64_t code_points)
{
#define TEXT_TIER_MEMORY(name) AIC_LITERAL("{\"tier\":\"memory\",\"text_tier\":\"" #name "\"}"),
#define TEXT_TIER_STORAGE(name) AIC_LITERAL("{\"tier\":\"storage\",\"text_tier\":\"" #name "\"}"),
    static const aic_view memory[] = {TEXT_TIER_MAP(TEXT_TIER_MEMORY)};
    static const aic_view storage[] = {TEXT_TIER_MAP(TEXT_TIER_STORAGE)};
#undef TEXT_TIER_STORAGE
#undef TEXT_TIER_MEMORY
    return (tier == AIC_IN_MEMORY ? memory : storage)[text_tier_of(code_points)];
}

#endif
