#include "observe/footprint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 4352 /* a path of 4096 and the columns before it */

enum owner { OWNER_VALUES, OWNER_INDEX, OWNER_STORAGE, OWNER_HEAP, OWNER_STACK, OWNER_PROGRAM };

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), tail = strlen(end);
    return size >= tail && strcmp(text + size - tail, end) == 0;
}

/*
 * The owner of a mapping from its line "begin-end perms offset device inode   path". A thread's stack is an anonymous
 * mapping that grows from a guard page: the C library makes it private, readable and writable right behind a mapping
 * without any permission.
 */
static enum owner owner_of(const struct footprint_options *options, uintptr_t begin, const char *path, bool after_guard)
{
    if (begin >= options->values_begin && begin < options->values_end) return OWNER_VALUES;
    if (begin >= options->index_begin && begin < options->index_end) return OWNER_INDEX;
    if (options->storage_file != NULL && ends_with(path, options->storage_file)) return OWNER_STORAGE;
    if (strncmp(path, "[stack", 6) == 0) return OWNER_STACK;
    if (path[0] == '/' || strcmp(path, "[vdso]") == 0 || strcmp(path, "[vvar]") == 0) return OWNER_PROGRAM;
    return path[0] == '\0' && after_guard ? OWNER_STACK : OWNER_HEAP;
}

static void count(struct footprint *out, enum owner owner, uint64_t bytes)
{
    uint64_t *const parts[] = {[OWNER_VALUES] = &out->memory_values, [OWNER_INDEX] = &out->memory_index,
                               [OWNER_STORAGE] = &out->storage_map,  [OWNER_HEAP] = &out->heap,
                               [OWNER_STACK] = &out->stacks,         [OWNER_PROGRAM] = &out->program};
    *parts[owner] += bytes;
    out->rss += bytes;
}

/* What was seen of the mapping before, to know a guard page. */
struct reader {
    const struct footprint_options *options;
    enum owner owner;
    uintptr_t guard_end; /* end of the last mapping if it was a guard page, else 0 */
};

static bool read_header(struct reader *reader, const char *line)
{
    uintptr_t begin, end;
    char permissions[5];
    int path = 0;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &begin, &end, permissions, &path) < 3 || path == 0)
        return false;
    bool after_guard = reader->guard_end == begin && strncmp(permissions, "rw-p", 4) == 0;
    reader->owner = owner_of(reader->options, begin, line + path, after_guard);
    bool guard = strncmp(permissions, "---p", 4) == 0 && end - begin <= 65536;
    reader->guard_end = guard ? end : 0;
    return true;
}

aic_status footprint_read(const struct footprint_options *options, struct footprint *out)
{
    char path[1024], line[LINE_BYTES];
    snprintf(path, sizeof path, "%s/proc/self/smaps", options->root);
    FILE *file = fopen(path, "re");
    if (file == NULL) return AIC_IO;
    struct footprint sum = {0};
    struct reader reader = {.options = options, .owner = OWNER_HEAP};
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "Rss:", 4) == 0) count(&sum, reader.owner, strtoull(line + 4, NULL, 10) * 1024);
        else if (line[0] < 'A' || line[0] > 'Z') read_header(&reader, line);
    }
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed || sum.rss == 0) return AIC_IO;
    *out = sum;
    return AIC_OK;
}
