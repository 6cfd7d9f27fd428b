#include "tier/journal.h"

#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAGIC "aicowed2"

struct header {
    char magic[8];
    uint64_t generation;
    uint64_t used;     /* where the records end that were synced with this header */
    uint64_t checksum; /* of what is before */
};

struct record {
    uint64_t checksum; /* of the bytes, seeded by seed_of() */
    uint64_t size;
};

struct journal {
    struct mem *mem;
    int fd;
    bool allocated;
    uint64_t generation;
    size_t used;   /* offset of the next record */
    size_t synced; /* where `used` was when everything before was on disk */
};

static uint64_t check_of(const struct header *header)
{
    return XXH3_64bits(header, offsetof(struct header, checksum));
}

/* A record that was moved, or is of another generation, or of another size, fits nowhere. */
static uint64_t seed_of(const struct journal *journal, size_t at, size_t size)
{
    return journal->generation * 0x9e3779b97f4a7c15u ^ (uint64_t)at << 32 ^ size;
}

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static aic_status write_at(const struct journal *journal, const void *data, size_t size, size_t at)
{
    return file_write(journal->fd, data, size, at) == 0 ? AIC_OK : AIC_IO;
}

/* Says how far the records go. Durable with them: a header that got there before them tells of records that are not
 * there, which is damage; one that did not get there was never acknowledged. */
static aic_status write_header(const struct journal *journal)
{
    struct header header = {.generation = journal->generation, .used = journal->used};
    memcpy(header.magic, MAGIC, sizeof header.magic);
    header.checksum = check_of(&header);
    TRY(write_at(journal, &header, sizeof header, 0));
    return fdatasync(journal->fd) == 0 ? AIC_OK : AIC_IO;
}

/* Room on disk for all of it, so that writing in place needs none. */
static aic_status allocate(struct journal *journal)
{
    if (journal->allocated) return AIC_OK;
    int failure;
    do {
        failure = posix_fallocate(journal->fd, 0, JOURNAL_BYTES);
    } while (failure == EINTR);
    if (failure != 0 || fsync(journal->fd) != 0) return AIC_IO;
    journal->allocated = true;
    return AIC_OK;
}

static bool is_blank(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return false;
    return true;
}

static aic_status show_records(struct journal *journal, const char *bytes, size_t size, journal_visit_fn *visit,
                               void *context)
{
    while (size - journal->used >= sizeof(struct record)) {
        struct record record;
        memcpy(&record, bytes + journal->used, sizeof record);
        const char *data = bytes + journal->used + sizeof record;
        if (record.size == 0 || record.size > size - journal->used - sizeof record) return AIC_OK;
        uint64_t seed = seed_of(journal, journal->used, (size_t)record.size);
        if (XXH3_64bits_withSeed(data, (size_t)record.size, seed) != record.checksum) return AIC_OK;
        TRY(visit(context, (aic_view){data, (size_t)record.size}));
        journal->used += sizeof record + padded((size_t)record.size);
        if (journal->used > size) journal->used = size;
    }
    return AIC_OK;
}

/* Takes the file as it is. Nothing but zeros: new, or its first header was never written. Not ours, or records do not
 * reach as far as its header says: *intact false, and the next header has a generation that no record in it fits. */
static aic_status take_file(struct journal *journal, char *bytes, journal_visit_fn *visit, void *context, bool *intact)
{
    struct header header = {.generation = 0};
    size_t size;
    if (file_read(journal->fd, bytes, JOURNAL_BYTES, 0, &size) != 0) return AIC_IO;
    journal->used = sizeof header;
    if (size >= sizeof header) memcpy(&header, bytes, sizeof header);
    if (memcmp(header.magic, MAGIC, sizeof header.magic) == 0 && header.checksum == check_of(&header)) {
        journal->generation = header.generation;
        TRY(show_records(journal, bytes, size, visit, context));
        *intact = journal->used >= header.used;
        if (*intact) return AIC_OK;
        journal->used = sizeof header;
    } else {
        *intact = is_blank(bytes, size);
    }
    journal->generation = header.generation + 1;
    return AIC_OK;
}

aic_status journal_open(struct mem *mem, const char *path, journal_visit_fn *visit, void *context, bool *intact,
                        struct journal **out)
{
    struct journal *journal = mem_zalloc(mem, MEM_STORAGE, sizeof *journal);
    if (journal == NULL) return AIC_NO_MEMORY;
    journal->mem = mem;
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    char *bytes = mem_alloc(mem, MEM_STORAGE, JOURNAL_BYTES);
    aic_status status = bytes == NULL ? AIC_NO_MEMORY : journal->fd < 0 ? AIC_IO : AIC_OK;
    if (status == AIC_OK) status = take_file(journal, bytes, visit, context, intact);
    mem_free(mem, MEM_STORAGE, bytes, JOURNAL_BYTES);
    if (status != AIC_OK) {
        journal_close(&journal);
        return status;
    }
    journal->synced = journal->used;
    journal->allocated = allocate(journal) == AIC_OK; /* else with the first record */
    *out = journal;
    return AIC_OK;
}

void journal_close(struct journal **slot)
{
    struct journal *journal = *slot;
    *slot = NULL;
    if (journal == NULL) return;
    if (journal->fd >= 0) close(journal->fd);
    mem_free(journal->mem, MEM_STORAGE, journal, sizeof *journal);
}

aic_status journal_add(struct journal *journal, aic_view bytes, bool last)
{
    size_t limit = JOURNAL_BYTES - (last ? 0 : JOURNAL_RESERVE);
    CHECK(bytes.size > 0); /* the end of the records is told by that */
    size_t size = sizeof(struct record) + padded(bytes.size);
    if (journal->used > limit || size > limit - journal->used) return AIC_FULL;
    TRY(allocate(journal));
    struct record record = {.size = bytes.size};
    record.checksum = XXH3_64bits_withSeed(bytes.data, bytes.size, seed_of(journal, journal->used, bytes.size));
    TRY(write_at(journal, bytes.data, bytes.size, journal->used + sizeof record));
    TRY(write_at(journal, &record, sizeof record, journal->used));
    journal->used += size;
    return AIC_OK;
}

aic_status journal_sync(struct journal *journal)
{
    bool fine = write_header(journal) == AIC_OK;
    /* What may not have reached the disk is written again by the next one. */
    if (fine) journal->synced = journal->used;
    else journal->used = journal->synced;
    return fine ? AIC_OK : AIC_IO;
}

uint64_t journal_size(const struct journal *journal)
{
    return journal->used - sizeof(struct header);
}

aic_status journal_clear(struct journal *journal)
{
    journal->generation++;
    journal->used = journal->synced = sizeof(struct header);
    return write_header(journal);
}
