/*
 * settings_test.c - the daemon's settings: the rules between options, presets (conformance Q), keys and times to live,
 * reloads, failing memory.
 */
#include "base/check.h"
#include "serve/settings/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"
#define DIGEST_TWO "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char *const home[] = {"HOME=/home/u", NULL};

struct load {
    struct mem mem;
    struct settings settings;
    struct option_report report;
    aic_status status;
    char findings[8192];
};

static void load_from(struct load *self, const char *yaml, char *const *environment)
{
    struct option_input input = {.file = "a.yaml", .text = aic_view_of(yaml), .environment = environment};
    memset(self, 0, sizeof *self);
    mem_init(&self->mem, NULL);
    option_report_init(&self->report, &self->mem);
    self->status = settings_load(&self->mem, &input, &self->settings, NULL, &self->report);
    snprintf(self->findings, sizeof self->findings, "%.*s", (int)self->report.text.size,
             self->report.text.size > 0 ? self->report.text.data : "");
}

static void load(struct load *self, const char *yaml)
{
    load_from(self, yaml, home);
}

static void unload(struct load *self)
{
    settings_release(&self->mem, &self->settings);
    option_report_fini(&self->report);
    mem_fini(&self->mem);
}

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct load self;
    aic_options options;
    load(&self, "");
    assert_int_equal(self.status, AIC_OK);
    settings_cache_options(&self.settings, &options);
    assert_int_equal(options.memory_max_bytes, 256 << 20);
    assert_int_equal(options.memory_max_entries, 0);
    assert_int_equal(options.memory_max_item_bytes, 8 << 20);
    assert_int_equal(options.ttl_default_seconds, 3600);
    assert_int_equal(options.compression_threshold_bytes, 1000);
    assert_int_equal(options.compression_level, 3);
    assert_int_equal(options.storage, AIC_STORAGE_LMDB);
    assert_int_equal(options.storage_deadline_ms, 20);
    assert_false(options.dictionary_off);
    assert_int_equal(self.settings.listen.count, 1);
    assert_string_equal(self.settings.listen.items[0], "127.0.0.1:8080");
    assert_int_equal(settings_warning_bytes(&self.settings), (256 << 20) + 1); /* only a broken bound reaches it */
    assert_true(settings_critical_bytes(&self.settings) > settings_warning_bytes(&self.settings));
    assert_int_equal(self.settings.log_level, AIC_LOG_INFO);
    unload(&self);
}

/* Below the bound, at it and beyond it. */
static void critical_alone_has_its_warning(void **state)
{
    (void)state;
    for (unsigned critical = (1 << 20) - 1; critical <= (1 << 20) + 2; critical++) {
        struct load self;
        char yaml[80];
        snprintf(yaml, sizeof yaml, "memory: {max_bytes: 1M, critical_bytes: %u}\n", critical);
        load(&self, yaml);
        if (self.status != AIC_OK) fail_msg("%s", self.findings);
        assert_true(settings_warning_bytes(&self.settings) < settings_critical_bytes(&self.settings));
        unload(&self);
    }
}

static void zero_is_not_the_default(void **state)
{
    (void)state;
    struct load self;
    aic_options options;
    load(&self, "memory.max_bytes: 0\nttl.default: 0\ncompression.threshold_bytes: 0\nstorage.kind: none\n");
    assert_int_equal(self.status, AIC_OK);
    settings_cache_options(&self.settings, &options);
    assert_true(options.memory_max_bytes == AIC_ZERO);
    assert_true(options.ttl_default_seconds == AIC_ZERO);
    assert_true(options.compression_threshold_bytes == AIC_ZERO);
    assert_int_equal(options.storage, AIC_STORAGE_NONE);
    assert_null(options.data_dir);
    unload(&self);
}

static uid_t user = 1; /* in place of the C library's */
uid_t geteuid(void)
{
    return user;
}

static void data_dir_has_a_place(void **state)
{
    (void)state;
    struct load self;
    char *homes[] = {"", "STATE_DIRECTORY=/s:/other", "HOME=/", "HOME=/h//", "XDG_STATE_HOME=/"};
    const char *dirs[] = {"/var/lib/aicache", "/s", "/.local/state/aicache", "/h/.local/state/aicache", "/aicache"};
    for (user = 0; user < COUNT_OF(homes); user++) {
        load_from(&self, "", (char *[]){homes[user], "HOME=/last", NULL});
        assert_string_equal(self.settings.data_dir, dirs[user]);
        unload(&self);
    }
    load(&self, "data_dir: /d\n");
    assert_string_equal(self.settings.data_dir, "/d");
    unload(&self);
}

static void strangers_need_keys(void **state)
{
    (void)state;
    static const char *const open[] = {"listen: 0.0.0.0:80\n", "listen: \"[::]:80\"\n",
                                       "listen: [127.0.0.1:1, 10.0.0.1:2]\n", "listen: example.org:80\n"};
    static const char *const local[] = {"listen: 127.0.0.1:0\n", "listen: 127.9.9.9:1\n", "listen: \"[::1]:80\"\n",
                                        "listen: localhost:80\n", "listen: unix:/x/y\n"};
    struct load self;
    for (size_t i = 0; i < COUNT_OF(open); i++) {
        char with[256];
        load(&self, open[i]);
        if (self.status != AIC_INVALID) fail_msg("accepted: %s", open[i]);
        assert_non_null(strstr(self.findings, "a.yaml:1: listen: "));
        assert_non_null(strstr(self.findings, "aicache key new"));
        unload(&self);
        snprintf(with, sizeof with, "%sapi_keys: [{id: a, sha256: " DIGEST "}]\n", open[i]);
        load(&self, with);
        if (self.status != AIC_OK) fail_msg("%s", self.findings);
        unload(&self);
    }
    for (size_t i = 0; i < COUNT_OF(local); i++) {
        load(&self, local[i]);
        if (self.status != AIC_OK) fail_msg("%s", self.findings);
        unload(&self);
    }
}

static void addresses_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"127.0.0.1:65536", "Port must be between 1 and 65535"},
        {"127.0.0.1", "no port"},
        {"127.0.0.1:x", "Port must be"},
        {"bad host!:80", "Invalid host format"},
        {"unix:", "unix socket"},
        {"[127.0.0.1]:80", "IPv6"},
        {":80", "no address before the port"},
        {"127.0.0.1:80 ", "Port must be"},
        {"127.0.0.1:80.0", "Port must be"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct settings_address address;
        aic_error error;
        assert_int_equal(settings_address_parse(bad[i].text, &address, &error), AIC_INVALID);
        if (strstr(error.message, bad[i].says) == NULL) fail_msg("%s: %s", bad[i].text, error.message);
        assert_string_equal(error.field, "listen");
    }
    struct settings_address address;
    assert_int_equal(settings_address_parse("a-b.c_d:1", &address, NULL), AIC_OK);
    assert_int_equal(settings_address_parse("localhost:65535", &address, NULL), AIC_OK);
    assert_int_equal(address.port, 65535);
    assert_int_equal(settings_address_parse("[::1]:9", &address, NULL), AIC_OK);
    assert_string_equal(address.host, "::1");
}

/* S16, S17: ports and hosts; of an address to listen on, port 0 is any free one. */
static void S16_S17_ports_and_hosts(void **state)
{
    (void)state;
    static const char *const ports[] = {"127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1.5", "127.0.0.1:http"};
    static const struct {
        const char *address, *says; /* NULL: it is accepted */
    } hooks[] = {
        {"http://localhost", NULL},
        {"http://a-b.c_d:1/hook?x=1:2", NULL},
        {"https://me:secret@127.0.0.1:65535#x", NULL},
        {"https://[::1]/", NULL},
        {"https://[::1]:443/", NULL},
        {"http://unix:80/", NULL}, /* a host of this name */
        {"http://localhost:0/", "Port must be between 1 and 65535"},
        {"http://localhost:65536/", "Port must be between 1 and 65535"},
        {"http://localhost:/", "Port must be between 1 and 65535"},
        {"http://localhost:8o/", "Port must be between 1 and 65535"},
        {"http://bad host!/", "Invalid host format"},
        {"http:///hook", "Invalid host format"},
        {"http://:80/", "Invalid host format"},
        {"http://[::1/", "Invalid host format"},
        {"http://[nothing]:80/", "Invalid host format"},
    };
    struct settings_address address;
    aic_error error;
    for (size_t i = 0; i < COUNT_OF(ports); i++) {
        assert_int_equal(settings_address_parse(ports[i], &address, &error), AIC_INVALID);
        assert_non_null(strstr(error.message, "Port must be between 1 and 65535"));
    }
    assert_int_equal(settings_address_parse("localhost:1", &address, NULL), AIC_OK);
    assert_int_equal(settings_address_parse("a-b.c_d:65535", &address, NULL), AIC_OK);
    assert_int_equal(settings_address_parse("bad host!:1", &address, &error), AIC_INVALID);
    assert_non_null(strstr(error.message, "Invalid host format"));
    for (size_t i = 0; i < COUNT_OF(hooks); i++) {
        struct load self;
        char yaml[128];
        snprintf(yaml, sizeof yaml, "alerts.webhook: \"%s\"\n", hooks[i].address);
        load(&self, yaml);
        assert_int_equal(self.status, hooks[i].says == NULL ? AIC_OK : AIC_INVALID);
        if (hooks[i].says != NULL && strstr(self.findings, hooks[i].says) == NULL)
            fail_msg("%s: %s", hooks[i].address, self.findings);
        unload(&self);
    }
}

/* A webhook's address may hold a password or a token: neither pages nor refusals show more than where it is. */
static void a_webhook_keeps_its_secret(void **state)
{
    (void)state;
    static const char *const yaml[] = {"alerts.webhook: https://me:s3cret@hooks.example.com/s3cret?t=s3cret\n",
                                       "alerts.webhook: https://me:s3cret@hooks.example.com:0/s3cret\n",
                                       "alerts.webhook: ftp://me:s3cret@hooks.example.com/s3cret\n",
                                       "alerts.webhook: https://me:a/s3cret@hooks.example.com/\n"};
    for (size_t i = 0; i < COUNT_OF(yaml); i++) {
        struct load self;
        struct buf page;
        load(&self, yaml[i]);
        assert_null(strstr(self.findings, "s3cret"));
        if (self.status == AIC_OK) {
            struct option_origin origins[128] = {0};
            assert_true(settings_table()->row_count <= COUNT_OF(origins));
            buf_init(&page, &self.mem, MEM_OTHER);
            option_write_settings(settings_table(), &self.settings, origins, &page);
            buf_append_byte(&page, '\0');
            assert_non_null(strstr(page.data, "alerts.webhook: \"https://hooks.example.com\""));
            assert_null(strstr(page.data, "s3cret"));
            buf_fini(&page);
        } else {
            assert_non_null(strstr(self.findings, i == 3 ? "://(hidden)" : "://hooks.example.com"));
        }
        unload(&self);
    }
}

/* J14, and the bounds of the monitor's limits: nothing at or below zero. */
static void J14_retention_and_measurements(void **state)
{
    (void)state;
    static const char *const bad[] = {"monitor.retention_hours: 0\n", "monitor.retention_hours: -1\n",
                                      "monitor.retention_hours: 0.0009\n", "monitor.max_measurements: 0\n",
                                      "monitor.max_measurements: -5\n"};
    static const char *const good[] = {"monitor.retention_hours: 0.001\n", "monitor.max_measurements: 1\n"};
    struct load self;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        load(&self, bad[i]);
        if (self.status != AIC_INVALID) fail_msg("accepted: %s", bad[i]);
        unload(&self);
    }
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        load(&self, good[i]);
        if (self.status != AIC_OK) fail_msg("%s", self.findings);
        unload(&self);
    }
}

static void operations_have_times(void **state)
{
    (void)state;
    struct load self;
    load(&self, "ttl:\n  operations:\n    qa: 10m\n    \"my op\": 0\n    x: 7d\n");
    assert_int_equal(self.settings.ttl_operations.count, 3);
    assert_int_equal(self.settings.ttl_operations.items[0].ttl_seconds, 600);
    assert_string_equal(self.settings.ttl_operations.items[1].operation, "my op");
    assert_int_equal(self.settings.ttl_operations.items[2].ttl_seconds, 604800);
    unload(&self);
    load(&self, "ttl:\n  operations:\n    qa: 10m\n    b: soon\n    c: -1\n    d: [1]\n");
    assert_int_equal(self.status, AIC_INVALID);
    assert_int_equal(self.report.errors, 3);
    assert_non_null(strstr(self.findings, "a.yaml:4: ttl.operations.b: 'soon'"));
    unload(&self);
    char *environment[] = {"HOME=/h", "AICACHE_TTL_OPERATIONS={qa: 1m, b: 2m}", NULL};
    load_from(&self, "", environment);
    assert_int_equal(self.settings.ttl_operations.count, 2);
    unload(&self);
}

static void keys_are_read(void **state)
{
    (void)state;
    struct load self;
    load(&self, "api_keys:\n  - id: web\n    sha256: \"" DIGEST
                "\"\n    namespace: shop\n  - {id: root, sha256: " DIGEST_TWO ", admin: true}\n");
    if (self.status != AIC_OK) fail_msg("%s", self.findings);
    assert_int_equal(self.settings.api_keys.count, 2);
    assert_string_equal(self.settings.api_keys.items[0].namespace_, "shop");
    assert_false(self.settings.api_keys.items[0].admin);
    assert_int_equal(self.settings.api_keys.items[0].sha256[0], 0x01);
    assert_int_equal(self.settings.api_keys.items[0].sha256[31], 0xef);
    assert_null(self.settings.api_keys.items[1].namespace_);
    assert_true(self.settings.api_keys.items[1].admin);
    unload(&self);
    static const struct {
        const char *yaml, *says;
    } bad[] = {
        {"api_keys: [{id: a, sha256: abc}]\n", "api_keys[0].sha256: 3 bytes that are no digest"},
        {"api_keys: [{sha256: " DIGEST "}]\n", "api_keys[0]: no id"},
        {"api_keys: [{id: a}]\n", "api_keys[0]: no sha256"},
        {"api_keys: [{id: a, sha256: " DIGEST ", role: x}]\n",
         "unknown member 'role'; accepted: id, sha256, namespace, admin"},
        {"api_keys: [{id: a, sha256: " DIGEST ", admin: maybe}]\n", "accepted: true or false"},
        {"api_keys: [{id: a, sha256: " DIGEST "}, {id: a, sha256: " DIGEST_TWO "}]\n", "api_keys[1]: its id or sha256"},
        {"api_keys: [{id: a, sha256: " DIGEST "}, {id: b, sha256: " DIGEST "}]\n", "api_keys[1]: its id or sha256"},
        {"api_keys: {id: a}\n", "no list"},
        {"api_keys: [a]\n", "api_keys[0]: no map"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        load(&self, bad[i].yaml);
        assert_int_equal(self.status, AIC_INVALID);
        if (strstr(self.findings, bad[i].says) == NULL) fail_msg("%s lacks %s", self.findings, bad[i].says);
        unload(&self);
    }
}

static void options_must_agree(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *says;
    } bad[] = {
        {"tls: {certificate: /c.pem}\n", "a.yaml:1: tls.certificate: it stands alone"},
        {"tls: {key: /c.pem}\n", "tls.key: it stands alone"},
        {"memory: {warning_bytes: 10M, critical_bytes: 5M}\n", "warning below critical"},
        {"memory: {critical_bytes: 1}\n", "a.yaml:1: memory.critical_bytes"},
        {"pressure: {warning: 90, critical: 80}\n", "a.yaml:1: pressure.warning: warning is at 90 percent"},
        {"alerts: {webhook: ftp://x}\n", "alerts.webhook: ftp://x: not accepted; accepted: http://"},
        {"ttl.operations: {\"a\\nb\": 1}\n", "'a\\x0ab' is no name"},
        {"ttl.operations: {\"\\N\": 1}\n", "is no name"},
        {"api_keys: [{id: \"\\e[1m\", sha256: " DIGEST "}]\n", "api_keys[0].id: no name"},
        {"listen: []\n", "0 addresses; accepted: 1 to 16"},
        {"upstream: {url: x}\n", "unknown option 'upstream'"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct load self;
        load(&self, bad[i].yaml);
        assert_int_equal(self.status, AIC_INVALID);
        if (strstr(self.findings, bad[i].says) == NULL) fail_msg("%s lacks %s", self.findings, bad[i].says);
        unload(&self);
    }
}

/* The formula of docs/operations.md, "Sizing". */
static void memory_that_is_needed(void **state)
{
    (void)state;
    const uint64_t mib = 1 << 20;
    static const struct {
        const char *yaml;
        unsigned limit, least, most, fits; /* in MiB */
    } rows[] = {
        {"", 339, 339, 707, 255}, /* 256M + 7 % + 50M + 16M; without the last, but with 64M + 256M + 64M */
        {"", 200, 339, 707, 125},
        {"", 66, 339, 707, 0},
        {"memory: {max_bytes: 32M}\nstorage: {kind: none}\n"
         "limits: {body_bytes: 1M, bodies_bytes: 4M, answers_bytes: 4M}",
         100, 85, 92, 45},
        {"memory: {max_bytes: 0}", 100, 66, 434, 31},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct load self;
        struct settings_need need;
        load(&self, rows[i].yaml);
        assert_int_equal(self.status, AIC_OK);
        settings_need(&self.settings, rows[i].limit * mib, &need);
        assert_int_equal(need.least / mib, rows[i].least);
        assert_int_equal(need.most / mib, rows[i].most);
        assert_int_equal(need.fits, rows[i].fits * mib);
        unload(&self);
    }
}

/* Q01: the seven presets with exactly these columns; what of them is an option takes effect. */
static void presets_are_those_of_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t ttl;
        bool stores;
        uint64_t entries, compress, level;
        bool monitor;
        aic_log_level log;
        size_t operations;
    } want[] = {
        {"disabled", 300, false, 10, 10000, 1, false, AIC_LOG_WARNING, 0},
        {"minimal", 900, true, 25, 5000, 1, false, AIC_LOG_ERROR, 0},
        {"simple", 3600, true, 100, 1000, 3, true, AIC_LOG_INFO, 0},
        {"development", 600, true, 50, 2000, 1, true, AIC_LOG_DEBUG, 0},
        {"production", 7200, true, 0, 500, 3, true, AIC_LOG_INFO, 0},
        {"ai-development", 1800, true, 100, 1000, 3, true, AIC_LOG_DEBUG, 5},
        {"ai-production", 14400, true, 0, 300, 3, true, AIC_LOG_INFO, 5},
    };
    const struct option_preset *presets = settings_table()->presets;
    assert_int_equal(settings_table()->preset_count, COUNT_OF(want));
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        struct load self;
        char yaml[64];
        assert_string_equal(presets[i].name, want[i].name);
        snprintf(yaml, sizeof yaml, "preset: %s\n", want[i].name);
        load(&self, yaml);
        if (self.status != AIC_OK) fail_msg("%s", self.findings);
        assert_int_equal(self.settings.ttl_default, want[i].ttl);
        assert_int_equal(self.settings.storage_kind != SETTINGS_STORAGE_NONE, want[i].stores);
        assert_int_equal(self.settings.memory_max_entries, want[i].entries);
        assert_int_equal(self.settings.compression_threshold_bytes, want[i].compress);
        assert_int_equal(self.settings.compression_level, want[i].level);
        assert_int_equal(self.settings.monitor_enabled, want[i].monitor);
        assert_int_equal(self.settings.log_level, want[i].log);
        assert_int_equal(self.settings.ttl_operations.count, want[i].operations);
        unload(&self);
    }
}

static void the_file_overrides_a_preset(void **state)
{
    (void)state;
    struct load self;
    load(&self, "ttl: {default: 1m, operations: {qa: 5s}}\npreset: ai-production\n");
    assert_int_equal(self.settings.ttl_default, 60);
    assert_int_equal(self.settings.ttl_operations.count, 1);
    assert_int_equal(self.settings.compression_threshold_bytes, 300);
    unload(&self);
    load(&self, "preset: bogus\n"); /* Q02 */
    assert_int_equal(self.status, AIC_INVALID);
    assert_non_null(
        strstr(self.findings, "disabled, minimal, simple, development, production, ai-development, ai-production"));
    unload(&self);
}

static void reload(struct load *self, const char *yaml, struct settings *next, struct buf *changed, struct buf *fixed)
{
    struct option_input input = {.file = "a.yaml", .text = aic_view_of(yaml), .environment = home};
    buf_init(changed, &self->mem, MEM_CONFIG);
    buf_init(fixed, &self->mem, MEM_CONFIG);
    buf_clear(&self->report.text);
    self->status = settings_reload(&self->mem, &input, &self->settings, next, changed, fixed, &self->report);
    buf_append_byte(changed, '\0');
    buf_append_byte(fixed, '\0');
}

static void reloads_change_what_is_live(void **state)
{
    (void)state;
    struct load self;
    struct settings next;
    struct buf changed, fixed;
    load(&self, "listen: 127.0.0.1:1\nlog.level: info\nalerts.webhook: https://me:s3cret@hooks.example.com/s3cret\n");
    reload(&self,
           "listen: 127.0.0.1:2\nlog.level: debug\nmemory.max_bytes: 1G\nthreads: 4\nttl.operations: {a: 1s}\n"
           "alerts.webhook: https://me:0ther@hooks.example.com/s3cret\n",
           &next, &changed, &fixed);
    assert_int_equal(self.status, AIC_OK);
    assert_string_equal(changed.data, "memory.max_bytes\nttl.operations\nlog.level\n");
    assert_string_equal(fixed.data,
                        "listen: stays 127.0.0.1:1\nthreads: stays 0\n"
                        "alerts.webhook: stays https://hooks.example.com\n"); /* without what may be a token */
    assert_string_equal(next.listen.items[0], "127.0.0.1:1");
    assert_int_equal(next.log_level, AIC_LOG_DEBUG);
    buf_fini(&changed);
    buf_fini(&fixed);
    settings_release(&self.mem, &self.settings);
    self.settings = next;
    unload(&self);
}

/* Keys of a daemon that strangers can reach cannot be taken away, although the new file alone would be fine. */
static void a_reload_cannot_open_the_door(void **state)
{
    (void)state;
    struct load self;
    struct settings next;
    struct buf changed, fixed;
    load(&self, "listen: 0.0.0.0:1\napi_keys: [{id: a, sha256: " DIGEST "}]\n");
    assert_int_equal(self.status, AIC_OK);
    static const char *const files[] = {"listen: 127.0.0.1:1\n", "nonsense: 1\n"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        reload(&self, files[i], &next, &changed, &fixed);
        assert_int_equal(self.status, AIC_INVALID);
        assert_string_equal(self.settings.listen.items[0], "0.0.0.0:1");
        assert_int_equal(self.settings.api_keys.count, 1);
        buf_fini(&changed);
        buf_fini(&fixed);
    }
    unload(&self);
}

/* ---- failing memory ---- */

struct failing {
    size_t left, live;
};

static void *failing_acquire(void *context, size_t bytes)
{
    struct failing *failing = context;
    if (failing->left == 0) return NULL;
    failing->left--;
    failing->live++;
    return malloc(bytes);
}

static void failing_release(void *context, void *block, size_t bytes)
{
    (void)bytes;
    ((struct failing *)context)->live--;
    free(block);
}

static aic_status load_and_reload(struct mem *mem, const struct option_input *input, struct option_report *report)
{
    struct settings settings, next;
    struct buf changed, fixed;
    TRY(settings_load(mem, input, &settings, NULL, report));
    buf_init(&changed, mem, MEM_CONFIG);
    buf_init(&fixed, mem, MEM_CONFIG);
    aic_status status = settings_reload(mem, input, &settings, &next, &changed, &fixed, report);
    if (status == AIC_OK) settings_release(mem, &next);
    settings_release(mem, &settings);
    buf_fini(&fixed);
    buf_fini(&changed);
    return status;
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    static const char yaml[] = "listen: [127.0.0.1:1, unix:/x]\npreset: ai-production\nttl.operations: {a: 1s, b: 2s}\n"
                               "api_keys: [{id: a, sha256: " DIGEST ", namespace: n}, {id: b, sha256: " DIGEST_TWO
                               "}]\n";
    struct option_input input = {.file = "a.yaml", .text = aic_view_of(yaml), .environment = home};
    aic_status status = AIC_NO_MEMORY;
    for (size_t n = 0; status == AIC_NO_MEMORY; n++) {
        struct failing failing = {n, 0};
        aic_allocator allocator = {failing_acquire, failing_release, NULL, &failing};
        struct option_report report;
        struct mem mem;
        mem_init(&mem, &allocator);
        option_report_init(&report, &mem);
        status = load_and_reload(&mem, &input, &report);
        option_report_fini(&report);
        assert_int_equal(failing.live, 0);
        mem_fini(&mem);
        assert_true(n < 3000);
    }
    assert_int_equal(status, AIC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(zero_is_not_the_default),
        cmocka_unit_test(critical_alone_has_its_warning),
        cmocka_unit_test(data_dir_has_a_place),
        cmocka_unit_test(strangers_need_keys),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(S16_S17_ports_and_hosts),
        cmocka_unit_test(a_webhook_keeps_its_secret),
        cmocka_unit_test(J14_retention_and_measurements),
        cmocka_unit_test(operations_have_times),
        cmocka_unit_test(keys_are_read),
        cmocka_unit_test(options_must_agree),
        cmocka_unit_test(memory_that_is_needed),
        cmocka_unit_test(presets_are_those_of_the_table),
        cmocka_unit_test(the_file_overrides_a_preset),
        cmocka_unit_test(reloads_change_what_is_live),
        cmocka_unit_test(a_reload_cannot_open_the_door),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
