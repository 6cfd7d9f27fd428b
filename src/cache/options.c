/*
 * options.c - which aic_options make sense, judged before anything is allocated or touched. What needs the disk, or
 * another's limits, is judged where it is used: the size of the store, times to live, the secret.
 */
#include "cache/inner.h"

static aic_status check_enums(const aic_options *options, aic_error *error)
{
    if ((unsigned)options->storage > AIC_STORAGE_LMDB)
        return error_set(error, AIC_INVALID, "storage.kind", "%d is no storage: none and lmdb are accepted",
                         (int)options->storage);
    if ((unsigned)options->storage_durability > AIC_DURABILITY_DISK)
        return error_set(error, AIC_INVALID, "storage.durability",
                         "%d is no durability: memory (1), storage (2) and disk (3) are accepted",
                         (int)options->storage_durability);
    if ((unsigned)options->memory_policy > AIC_POLICY_SIEVE)
        return error_set(error, AIC_INVALID, "memory.policy",
                         "%d is no policy: s3fifo (0), lru (1), fifo (2) and sieve (3) are accepted",
                         (int)options->memory_policy);
    return AIC_OK;
}

static aic_status check_numbers(const aic_options *options, aic_error *error)
{
    uint64_t memory = options->memory_max_bytes;
    if (memory != AIC_ZERO && memory > STORE_MAX_BYTES)
        return error_set(error, AIC_INVALID, "memory.max_bytes", "%llu bytes came; at most 240 GiB (%llu) are accepted",
                         (unsigned long long)memory, (unsigned long long)STORE_MAX_BYTES);
    int level = options->compression_level;
    if (level < 0 || level > 19)
        return error_set(error, AIC_INVALID, "compression.level", "%d is no level: 1 to 19 are accepted", level);
    return AIC_OK;
}

static aic_status check_paths(const aic_options *options, aic_error *error)
{
    static const char empty[] = "the path is empty; NULL stands for none";
    if (options->data_dir != NULL && options->data_dir[0] == '\0')
        return error_set(error, AIC_INVALID, "data_dir", empty);
    if (options->secret_file != NULL && options->secret_file[0] == '\0')
        return error_set(error, AIC_INVALID, "secret_file", empty);
    if (options->storage == AIC_STORAGE_LMDB && options->data_dir == NULL)
        return error_set(error, AIC_INVALID, "data_dir", "storage needs a directory");
    return AIC_OK;
}

aic_status options_check(const aic_options *options, aic_error *error)
{
    TRY(check_enums(options, error));
    TRY(check_numbers(options, error));
    TRY(check_paths(options, error));
    TRY(mem_check_allocator(options->allocator, error));
    return clock_check(options->clock, error);
}
