#include "base/status.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    aic_status status;
    int http;
    const char *name;
    const char *text;
} table[] = {
#define STATUS_ROW(name, number, http, sentence) {AIC_##name, http, "AIC_" #name, sentence},
    AIC_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static size_t row_of(aic_status status)
{
    size_t row = 0;
    while (row < sizeof(table) / sizeof(table[0]) && table[row].status != status) row++;
    return row;
}

const char *aic_status_name(aic_status status)
{
    size_t row = row_of(status);
    return row < sizeof(table) / sizeof(table[0]) ? table[row].name : "AIC_UNKNOWN";
}

const char *aic_status_text(aic_status status)
{
    size_t row = row_of(status);
    return row < sizeof(table) / sizeof(table[0]) ? table[row].text : "AIC_UNKNOWN";
}

int status_http(aic_status status)
{
    size_t row = row_of(status);
    return row < sizeof(table) / sizeof(table[0]) ? table[row].http : 500;
}

aic_view aic_view_of(const char *text)
{
    return (aic_view){text, text != NULL ? strlen(text) : 0};
}

aic_status error_set(aic_error *error, aic_status status, const char *field, const char *format, ...)
{
    if (error == NULL) return status;
    error->status = status;
    snprintf(error->field, sizeof error->field, "%s", field != NULL ? field : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

aic_status error_within(aic_error *error, aic_status status, const char *field, const aic_error *inner)
{
    char path[sizeof inner->field];
    aic_error all = *inner; /* *error may be *inner */
    const char *dot = all.field[0] == '\0' || all.field[0] == '[' ? "" : ".";
    size_t room = sizeof path - 1 - strlen(field) - strlen(dot);
    snprintf(path, sizeof path, "%s%s%.*s", field, dot, (int)utf8_fit(aic_view_of(all.field), room), all.field);
    return error_set(error, status, path, "%s", all.message);
}
