#include "observe/host.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES 16384
#define PATH_BYTES HOST_PATH_BYTES
#define UNLIMITED (1ULL << 62) /* cgroup v1 says 9223372036854771712 for "no limit" */

/* Reads a small file whole; false when it is not there. NUL-terminated. */
static bool read_file(const char *path, char text[FILE_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t size = 0;
    ssize_t got;
    while (size < FILE_BYTES - 1 && (got = read(fd, text + size, FILE_BYTES - 1 - size)) > 0) size += (size_t)got;
    close(fd);
    text[size] = '\0';
    return size > 0;
}

static bool read_below(const char *root, const char *path, char text[FILE_BYTES])
{
    char whole[PATH_BYTES];
    int length = snprintf(whole, sizeof whole, "%s%s", root, path);
    return length > 0 && (size_t)length < sizeof whole && read_file(whole, text);
}

/* The number after `name` at the start of a line ("VmRSS:   65536 kB" → 65536); 0 without it. */
static uint64_t number_after(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, size) == 0) return strtoull(line + size, NULL, 10);
        line = strchr(line, '\n');
        if (line != NULL) line++;
    }
    return 0;
}

static void read_machine(const char *root, struct host_memory *out)
{
    char text[FILE_BYTES];
    if (read_below(root, "/proc/meminfo", text)) {
        out->total_bytes = number_after(text, "MemTotal:") * 1024;
        out->available_bytes = number_after(text, "MemAvailable:") * 1024;
    }
    if (read_below(root, "/proc/self/status", text)) {
        out->rss_bytes = number_after(text, "VmRSS:") * 1024;
        out->rss_anon_bytes = number_after(text, "RssAnon:") * 1024;
    }
    /* statm is cheaper but batched per thread; it is the fallback. */
    if (out->rss_bytes == 0 && read_below(root, "/proc/self/statm", text)) {
        char *resident = strchr(text, ' ');
        if (resident != NULL) out->rss_bytes = strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}

/* ------------------------------------------------------------------------------------------------------ cgroup -- */

/* The names of the files in each version. */
static const struct cgroup_files {
    unsigned version;
    const char *mount, *limit, *soft_limit, *usage, *inactive, *hierarchy;
} cgroup_files[] = {
    {2, "/sys/fs/cgroup", "memory.max", "memory.high", "memory.current", "inactive_file ", NULL},
    {1, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "total_inactive_file ",
     "memory.use_hierarchy"},
};

/* Is a controller one of "cpu,cpuacct"? */
static bool is_among(const char *list, const char *controller)
{
    size_t size = strlen(controller);
    for (const char *at = list; at != NULL && *at != '\0'; at = strchr(at, ','), at += at != NULL) {
        if (strncmp(at, controller, size) == 0 && (at[size] == ',' || at[size] == ':' || at[size] == '\0')) return true;
    }
    return false;
}

/* This process's path in a version's hierarchy: "0::/path" is v2, "N:…controller…:/path" is v1. */
static bool cgroup_path(const char *root, unsigned version, const char *controller, char out[PATH_BYTES])
{
    char text[FILE_BYTES];
    if (!read_below(root, "/proc/self/cgroup", text)) return false;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) continue;
        *path++ = '\0';
        bool match = version == 2 ? strcmp(line, "0:") == 0 : is_among(controllers + 1, controller);
        if (!match) continue;
        snprintf(out, PATH_BYTES, "%s", strcmp(path, "/") == 0 ? "" : path);
        return true;
    }
    return false;
}

static bool read_number(const char *root, const char *mount, const char *group, const char *file, uint64_t *out)
{
    char path[PATH_BYTES], text[FILE_BYTES];
    int length = snprintf(path, sizeof path, "%s%s/%s", mount, group, file);
    if (length <= 0 || (size_t)length >= sizeof path || !read_below(root, path, text)) return false;
    *out = strncmp(text, "max", 3) == 0 ? UINT64_MAX : strtoull(text, NULL, 10);
    return true;
}

/* What one level says of itself. */
struct level {
    uint64_t limit, usage, working; /* limit 0: none below the machine's memory */
};

/* The least of a level's limits (v2 throttles from memory.high on, so that memory.max may never be seen). */
static uint64_t level_limit(const char *root, const struct cgroup_files *files, const char *group, uint64_t machine)
{
    uint64_t least = machine > 0 && machine < UNLIMITED ? machine : UNLIMITED, value, limit = 0;
    const char *const names[] = {files->limit, files->soft_limit};
    for (unsigned i = 0; i < 2; i++) {
        if (names[i] == NULL || !read_number(root, files->mount, group, names[i], &value)) continue;
        if (value > 0 && value < least) least = limit = value;
    }
    return limit;
}

static bool read_usage(const char *root, const struct cgroup_files *files, const char *group, struct level *out)
{
    if (!read_number(root, files->mount, group, files->usage, &out->usage)) return false;
    char path[PATH_BYTES + 64], text[FILE_BYTES];
    snprintf(path, sizeof path, "%s%s/memory.stat", files->mount, group);
    uint64_t inactive = read_below(root, path, text) ? number_after(text, files->inactive) : 0;
    out->working = out->usage > inactive ? out->usage - inactive : 0;
    return true;
}

static double ratio(uint64_t working, uint64_t limit)
{
    return limit > 0 ? (double)working / (double)limit : -1;
}

static void take_level(const struct cgroup_files *files, const char *group, const struct level *level,
                       struct host_memory *out)
{
    out->cgroup_version = files->version;
    snprintf(out->cgroup_path, sizeof out->cgroup_path, "%s", group[0] != '\0' ? group : "/");
    out->cgroup_limit_bytes = level->limit;
    out->cgroup_usage_bytes = level->usage;
    out->cgroup_working_bytes = level->working;
}

/* v1 lets a group leave its children out of its own account and limit, then nothing above it concerns them either. */
static bool counts_children(const char *root, const struct cgroup_files *files, const char *group)
{
    uint64_t on;
    return files->hierarchy == NULL || !read_number(root, files->mount, group, files->hierarchy, &on) || on != 0;
}

/*
 * From our own group up: the level whose working set is nearest to its limit; without a limit the innermost level that
 * can be read. In a container the path is often the host's and only the mount itself is there to be read.
 */
static bool read_cgroup(const char *root, const struct cgroup_files *files, struct host_memory *out)
{
    char group[PATH_BYTES];
    if (!cgroup_path(root, files->version, "memory", group) || strstr(group, "/..") != NULL) return false;
    bool found = false;
    for (;;) {
        struct level level = {.limit = level_limit(root, files, group, out->total_bytes)};
        if (level.limit > 0 && (out->cgroup_least_bytes == 0 || level.limit < out->cgroup_least_bytes))
            out->cgroup_least_bytes = level.limit;
        if ((level.limit > 0 || !found) && read_usage(root, files, group, &level)) {
            if (!found || ratio(level.working, level.limit) > ratio(out->cgroup_working_bytes, out->cgroup_limit_bytes))
                take_level(files, group, &level, out);
            found = true;
        }
        char *end = strrchr(group, '/');
        if (end == NULL) break;
        *end = '\0';
        if (!counts_children(root, files, group)) break;
    }
    out->in_cgroup = out->cgroup_limit_bytes > 0;
    return out->in_cgroup;
}

void host_memory_read(const char *root, struct host_memory *out)
{
    memset(out, 0, sizeof *out);
    read_machine(root, out);
    for (unsigned i = 0; i < sizeof cgroup_files / sizeof cgroup_files[0]; i++)
        if (read_cgroup(root, &cgroup_files[i], out)) return;
}

uint64_t host_limit(const struct host_memory *memory)
{
    return memory->in_cgroup ? memory->cgroup_limit_bytes : memory->total_bytes;
}

/* What of the limit is in use. */
static uint64_t host_used(const struct host_memory *memory)
{
    if (memory->in_cgroup) return memory->cgroup_working_bytes;
    return memory->total_bytes > memory->available_bytes ? memory->total_bytes - memory->available_bytes : 0;
}

double host_pressure(const struct host_memory *memory)
{
    uint64_t limit = host_limit(memory);
    return limit > 0 ? (double)host_used(memory) / (double)limit * 100 : 0.0;
}

/* --------------------------------------------------------------------------------------------------------- cpu -- */

/* What a level allows, in cores, rounded up; 0: no limit. v2 says "QUOTA PERIOD" in one file, v1 in two. */
static uint64_t level_cores(const char *root, unsigned version, const char *group)
{
    char path[PATH_BYTES + 64], text[FILE_BYTES];
    uint64_t quota = 0, period = 0;
    if (version == 2) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        if (!read_below(root, path, text)) return 0;
        char *end = NULL;
        quota = strtoull(text, &end, 10); /* "max" is 0 */
        period = strtoull(end, NULL, 10);
    } else {
        snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group);
        if (!read_below(root, path, text) || text[0] == '-') return 0;
        quota = strtoull(text, NULL, 10);
        snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", group);
        if (read_below(root, path, text)) period = strtoull(text, NULL, 10);
    }
    return quota > 0 && period > 0 ? (quota - 1) / period + 1 : 0;
}

unsigned host_cores(const char *root, unsigned cores)
{
    for (unsigned version = 2; version >= 1; version--) {
        char group[PATH_BYTES];
        if (!cgroup_path(root, version, "cpu", group) || strstr(group, "/..") != NULL) continue;
        for (;;) { /* from our own group up: the least of all limits holds */
            uint64_t level = level_cores(root, version, group);
            if (level > 0 && level < cores) cores = (unsigned)level;
            char *end = strrchr(group, '/');
            if (end == NULL) break;
            *end = '\0';
        }
    }
    return cores;
}

/* --------------------------------------------------------------------------------------------------------- psi -- */

static void parse_psi_line(const char *line, double *avg10, double *avg60, double *avg300, uint64_t *total)
{
    if (line == NULL) return;
    sscanf(line + 5, "avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, avg10, avg60, avg300, total);
}

void host_psi_read(const char *root, struct host_psi *out)
{
    memset(out, 0, sizeof *out);
    char text[FILE_BYTES];
    if (!read_below(root, "/proc/pressure/memory", text)) return;
    out->available = true;
    parse_psi_line(strstr(text, "some "), &out->some_avg10, &out->some_avg60, &out->some_avg300, &out->some_total_us);
    parse_psi_line(strstr(text, "full "), &out->full_avg10, &out->full_avg60, &out->full_avg300, &out->full_total_us);
}

static int open_trigger(const char *path)
{
    static const char trigger[] = "some 100000 2000000"; /* with its NUL, as the kernel wants it */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    /* A descriptor whose write failed polls ready for ever: it must not be kept. */
    if (write(fd, trigger, sizeof trigger) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int host_psi_trigger(const char *root)
{
    const char *watch = getenv("MEMORY_PRESSURE_WATCH");
    if (watch != NULL) return strcmp(watch, "/dev/null") == 0 ? -1 : open_trigger(watch);
    char group[PATH_BYTES], path[PATH_BYTES + 64];
    if (cgroup_path(root, 2, "memory", group)) {
        snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/memory.pressure", root, group);
        int fd = open_trigger(path);
        if (fd >= 0) return fd;
    }
    snprintf(path, sizeof path, "%s/proc/pressure/memory", root);
    return open_trigger(path);
}
