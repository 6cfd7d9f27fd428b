/*
 * fuzz_config.c - any bytes as the daemon's configuration file. What is accepted must survive being written and read
 * again; what is refused must say why.
 */
#include "base/check.h"
#include "serve/settings/settings.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const environment[] = {"HOME=/home/u", NULL};

static aic_status load(struct mem *mem, aic_view text, struct settings *settings, struct settings_origins *origins,
                       struct buf *findings)
{
    struct option_input input = {.file = "fuzz.yaml", .text = text, .environment = environment};
    struct option_report report;
    option_report_init(&report, mem);
    aic_status status = settings_load(mem, &input, settings, origins->items, &report);
    CHECK((status == AIC_OK) == (report.errors == 0));
    buf_append_view(findings, buf_view(&report.text));
    option_report_fini(&report);
    return status;
}

/* No byte of a finding may end its line early or command a terminal. */
static void check_findings(const struct buf *findings)
{
    for (size_t i = 0; i < findings->size; i++) {
        unsigned char byte = (unsigned char)findings->data[i];
        CHECK(byte == '\n' || (byte >= 0x20 && byte != 0x7f));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    struct settings first, second;
    struct settings_origins origins;
    struct buf findings, once, twice;
    mem_init(&mem, NULL);
    buf_init(&findings, &mem, MEM_CONFIG);
    buf_init(&once, &mem, MEM_CONFIG);
    buf_init(&twice, &mem, MEM_CONFIG);
    if (load(&mem, (aic_view){size > 0 ? (const char *)data : "", size}, &first, &origins, &findings) == AIC_OK) {
        memset(&origins, 0, sizeof origins);
        option_write_settings(settings_table(), &first, origins.items, &once);
        CHECK(load(&mem, buf_view(&once), &second, &origins, &findings) == AIC_OK);
        memset(&origins, 0, sizeof origins);
        option_write_settings(settings_table(), &second, origins.items, &twice);
        CHECK(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
        settings_release(&mem, &second);
        settings_release(&mem, &first);
    } else {
        CHECK(findings.size > 0);
    }
    check_findings(&findings);
    buf_fini(&twice);
    buf_fini(&once);
    buf_fini(&findings);
    mem_fini(&mem);
    return 0;
}
