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

/* {"text_tier":"small","reason":"storage_timeout"} of a miss that storage has to answer for; without a reason where
 * there was none. Static. */
static inline aic_view text_tier_miss_data(aic_status outcome, uint64_t code_points)
{
#define TEXT_TIER_TIMEOUT(name) AIC_LITERAL("{\"text_tier\":\"" #name "\",\"reason\":\"storage_timeout\"}"),
#define TEXT_TIER_DOWN(name) AIC_LITERAL("{\"text_tier\":\"" #name "\",\"reason\":\"storage_down\"}"),
#define TEXT_TIER_ERROR(name) AIC_LITERAL("{\"text_tier\":\"" #name "\",\"reason\":\"storage_error\"}"),
    static const aic_view timeout[] = {TEXT_TIER_MAP(TEXT_TIER_TIMEOUT)};
    static const aic_view down[] = {TEXT_TIER_MAP(TEXT_TIER_DOWN)};
    static const aic_view failed[] = {TEXT_TIER_MAP(TEXT_TIER_ERROR)};
#undef TEXT_TIER_ERROR
#undef TEXT_TIER_DOWN
#undef TEXT_TIER_TIMEOUT
    if (outcome == AIC_MISS) return text_tier_data(code_points);
    return (outcome == AIC_TIMEOUT ? timeout : outcome == AIC_UNAVAILABLE ? down : failed)[text_tier_of(code_points)];
}

#endif
