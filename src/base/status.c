#include "base/status.h"

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
