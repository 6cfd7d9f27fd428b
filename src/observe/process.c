#include "observe/process.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* /proc/self/stat after the command's name, which may hold anything: fields 3 and on. */
static bool read_stat(char *line, size_t size, char **fields)
{
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL) return false;
    bool good = fgets(line, (int)size, file) != NULL;
    fclose(file);
    *fields = good ? strrchr(line, ')') : NULL;
    return *fields != NULL;
}

static double boot_seconds(void)
{
    struct timespec wall, boot;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)wall.tv_sec + (double)wall.tv_nsec * 1e-9 - (double)boot.tv_sec - (double)boot.tv_nsec * 1e-9;
}

static void read_sizes(struct figures *out)
{
    char line[1024];
    char *fields;
    unsigned long long start, bytes;
    long long pages;
    if (!read_stat(line, sizeof line, &fields)) return;
    /* proc(5): 22 is the start in ticks since the boot, 23 the virtual size, 24 the resident pages. */
    int found = sscanf(fields + 1,
                       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu %llu %lld",
                       &start, &bytes, &pages);
    if (found != 3) return;
    out->process_start_seconds = boot_seconds() + (double)start / (double)sysconf(_SC_CLK_TCK);
    out->process_virtual_bytes = bytes;
    out->process_rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) return 0;
    uint64_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count > 0 ? count - 1 : 0; /* the directory itself was open */
}

void process_figures(struct figures *out)
{
    struct rusage usage;
    struct rlimit limit;
    read_sizes(out);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->process_cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
                                   (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out->process_max_fds = limit.rlim_cur;
    out->process_open_fds = count_descriptors();
}
