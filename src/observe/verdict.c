#include "observe/verdict.h"

#include "base/check.h"
#include "observe/fields.h"

#include <stdarg.h>
#include <stdio.h>

const char *severity_name(enum severity severity)
{
    static const char *const names[SEVERITIES] = {"info", "warning", "critical"};
    CHECK(severity < SEVERITIES);
    return names[severity];
}

struct finding *verdict_add(struct verdict *verdict, enum severity severity, const char *code, uint64_t since_ms,
                            const char *format, ...)
{
    CHECK(severity < SEVERITIES && verdict->count < VERDICT_FINDINGS);
    struct finding *finding = &verdict->findings[verdict->count++];
    finding->severity = severity;
    finding->alert = (struct alert_key){ALERT_OF_NOTHING};
    finding->alerted = false;
    finding->since_ms = since_ms;
    finding->advice_count = 0;
    snprintf(finding->code, sizeof finding->code, "%s", code);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->message, sizeof finding->message, format, arguments);
    va_end(arguments);
    return finding;
}

struct finding *verdict_find(struct verdict *verdict, struct alert_key alert)
{
    for (size_t i = 0; i < verdict->count; i++)
        if (alert_is(verdict->findings[i].alert, alert)) return &verdict->findings[i];
    return NULL;
}

static struct advice *add_advice(struct finding *finding, const char *setting, const char *format, va_list arguments)
{
    CHECK(finding->advice_count < FINDING_ADVICE);
    struct advice *advice = &finding->advice[finding->advice_count++];
    *advice = (struct advice){.setting = setting};
    vsnprintf(advice->reason, sizeof advice->reason, format, arguments);
    return advice;
}

void finding_advise(struct finding *finding, const char *setting, uint64_t value, const char *unit, const char *format,
                    ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct advice *advice = add_advice(finding, setting, format, arguments);
    va_end(arguments);
    advice->number = value;
    advice->unit = unit;
}

void finding_advise_text(struct finding *finding, const char *setting, const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct advice *advice = add_advice(finding, setting, format, arguments);
    va_end(arguments);
    advice->text = text;
}

void verdict_count(const struct verdict *verdict, unsigned counts[SEVERITIES])
{
    for (unsigned severity = 0; severity < SEVERITIES; severity++) counts[severity] = 0;
    for (size_t i = 0; i < verdict->count; i++) counts[verdict->findings[i].severity]++;
}

static void write_advice(const struct advice *advice, struct json_writer *out)
{
    char value[32];
    json_open(out, '{');
    put_text(out, "setting", advice->setting);
    if (advice->text != NULL) {
        put_text(out, "value", advice->text);
    } else if (advice->unit != NULL) {
        snprintf(value, sizeof value, "%llu%s", (unsigned long long)advice->number, advice->unit);
        put_text(out, "value", value);
    } else {
        put_count(out, "value", advice->number);
    }
    put_text(out, "reason", advice->reason);
    json_close(out, '}');
}

static void write_finding(const struct finding *finding, struct json_writer *out)
{
    char alert[ALERT_ID_BYTES];
    if (finding->alerted) alert_id(finding->alert, alert);
    json_open(out, '{');
    put_text(out, "severity", severity_name(finding->severity));
    put_text(out, "code", finding->code);
    put_text(out, "message", finding->message);
    put_time(out, "since", finding->since_ms);
    if (finding->alerted) put_text(out, "alert", alert);
    json_key(out, "recommendations");
    json_open(out, '[');
    for (size_t i = 0; i < finding->advice_count; i++) write_advice(&finding->advice[i], out);
    json_close(out, ']');
    json_close(out, '}');
}

void verdict_write(const struct verdict *verdict, struct json_writer *out)
{
    json_open(out, '[');
    for (unsigned severity = SEVERITIES; severity-- > 0;) {
        for (size_t i = 0; i < verdict->count; i++)
            if (verdict->findings[i].severity == severity) write_finding(&verdict->findings[i], out);
    }
    json_close(out, ']');
}
