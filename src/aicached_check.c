/*
 * aicached_check.c - --check-config beyond the words of the settings: what a start would need is tried as far as that
 * changes nothing. The certificate and its key are loaded, directories are asked for, nothing is made or opened.
 *
 * What it cannot know: a port that somebody else has, a store that is in use or damaged, what changes until the start.
 */
#include "aicached.h"

#include "base/check.h"
#include "monitor/host.h"
#include "serve/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct trial {
    struct daemon *daemon;
    const struct settings_origins *origins;
    struct option_report *report;
};

static struct option_origin origin_of(const struct trial *trial, const char *name)
{
    const struct option_row *row = option_find(settings_table(), name);
    CHECK(row != NULL);
    struct option_origin origin = trial->origins->items[row - settings_table()->rows];
    if (origin.name == NULL) origin.name = name;
    return origin;
}

/* 0, or why this user cannot make files in the directory. */
static int directory_fault(const char *path)
{
    struct stat entry;
    if (stat(path, &entry) != 0) return errno;
    if (!S_ISDIR(entry.st_mode)) return ENOTDIR;
    return eaccess(path, W_OK | X_OK) == 0 ? 0 : errno;
}

/* The directory that holds `path`; false when it does not fit. */
static bool parent_of(const char *path, char *out, size_t size)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    while (end > 0 && path[end - 1] != '/') end--;
    while (end > 1 && path[end - 1] == '/') end--;
    if (end >= size) return false;
    memcpy(out, path, end);
    out[end] = '\0';
    if (end == 0) snprintf(out, size, ".");
    return true;
}

static void try_directory(const struct trial *trial, const char *option, const char *path)
{
    int fault = directory_fault(path);
    if (fault != 0)
        option_refuse(trial->report, origin_of(trial, option), option,
                      "%.200s: %s; accepted: a directory that this user may write in", path, strerror(fault));
}

/* It may be there, or be made where it is to stand. */
static void try_data_dir(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    char parent[4096];
    if (settings->storage_kind == SETTINGS_STORAGE_NONE || settings->data_dir == NULL) return;
    if (directory_fault(settings->data_dir) != ENOENT) try_directory(trial, "data_dir", settings->data_dir);
    else if (parent_of(settings->data_dir, parent, sizeof parent)) try_directory(trial, "data_dir", parent);
}

static void try_sockets(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    for (size_t i = 0; i < settings->listen.count; i++) {
        struct settings_address address;
        aic_error error;
        char parent[4096];
        if (settings_address_parse(settings->listen.items[i], &address, &error) != AIC_OK || !address.is_unix) continue;
        if (parent_of(address.path, parent, sizeof parent)) try_directory(trial, "listen", parent);
    }
}

static void try_tls(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    struct tls *tls = NULL;
    aic_error error = {0};
    if (settings->tls_certificate == NULL) return;
    aic_status status = tls_create(&trial->daemon->mem, settings->tls_certificate, settings->tls_key, &tls, &error);
    tls_destroy(&tls);
    if (status == AIC_OK) return;
    const char *option = strcmp(error.field, "tls.key") == 0 ? "tls.key" : "tls.certificate";
    option_refuse(trial->report, origin_of(trial, option), option,
                  "%s; accepted: files in PEM that this user may read, a certificate and its key", error.message);
}

static void try_memory(const struct trial *trial)
{
    struct host_memory host;
    uint64_t wanted = trial->daemon->settings.memory_max_bytes;
    host_memory_read("", &host);
    if (host.total_bytes > 0 && wanted > host.total_bytes)
        option_warn(trial->report, origin_of(trial, "memory.max_bytes"), "memory.max_bytes",
                    "%llu bytes are more than the machine has (%llu)", (unsigned long long)wanted,
                    (unsigned long long)host.total_bytes);
}

aic_status daemon_try(struct daemon *daemon, const struct settings_origins *origins, struct option_report *report)
{
    struct trial trial = {daemon, origins, report};
    size_t errors = report->errors;
    try_data_dir(&trial);
    try_sockets(&trial);
    try_tls(&trial);
    try_memory(&trial);
    if (buf_status(&report->text) != AIC_OK) return AIC_NO_MEMORY;
    return report->errors > errors ? AIC_INVALID : AIC_OK;
}
