/*
 * top.c - `aicache top`: one snapshot a second from /monitoring/stream, drawn to the size of the terminal.
 *
 * A screen is composed as lines first, the most important ones first, and then shown as far as it fits: so that 24
 * lines of 80 columns show what matters and more room shows more. Text of the daemon passes through print_cell(), so
 * that nobody's operation name can move the cursor. Without a terminal each snapshot is printed below the one before.
 *
 * On a terminal the screen stays when nothing comes: its first line then says since when there is no answer, and the
 * daemon is asked again, soon at first and every TOP_PAUSE_MAX_MS at last. Only an answer that will not change (no such
 * key) and a daemon that was not there at the start end it, with the message on the screen that was there before.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/plural.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum style { STYLE_PLAIN, STYLE_TITLE, STYLE_ALARM };

#define TOP_MAX_LINES 100
#define TOP_SILENT_MS 5000   /* without an event: no answer */
#define TOP_PAUSE_MIN_MS 500 /* between two connections; doubles */
#define TOP_PAUSE_MAX_MS 8000
#define TOP_LINE_BYTES 512

struct top {
    struct cli *cli;
    bool terminal; /* standard output is one */
    bool once;
    int width, height;
    bool came;        /* an event, ever */
    uint64_t last_ms; /* monotonic, of the last event or the start of a connection */
    time_t last;      /* the same, for people */
    uint64_t drawn_ms;
    size_t count;
    struct {
        enum style style;
        char text[TOP_LINE_BYTES];
    } lines[TOP_MAX_LINES];
};

/* Set by the handler of SIGINT and SIGTERM, and where nothing can be shown; read between snapshots. */
static volatile sig_atomic_t top_stopped;

static void on_signal(int number)
{
    (void)number;
    top_stopped = 1;
}

__attribute__((format(printf, 3, 4))) static void add(struct top *top, enum style style, const char *format, ...)
{
    if (top->count == TOP_MAX_LINES) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(top->lines[top->count].text, TOP_LINE_BYTES, format, arguments);
    va_end(arguments);
    top->lines[top->count++].style = style;
}

/* "[#####.....]", `cells` wide. */
static const char *bar(char out[64], double part, int cells)
{
    CHECK(cells > 0 && cells <= 61); /* with its brackets and the NUL they fit */
    int filled = part > 0 ? (int)lround((part < 1 ? part : 1) * cells) : 0;
    out[0] = '[';
    memset(out + 1, '.', (size_t)cells);
    memset(out + 1, '#', (size_t)filled);
    memcpy(out + 1 + cells, "]", 2);
    return out;
}

static void add_head(struct top *top, json_object *root)
{
    char up[PRINT_BYTES], now[16];
    time_t seconds = (time_t)(json_u64_at(root, "time_ms") / 1000);
    struct tm parts;
    localtime_r(&seconds, &parts);
    strftime(now, sizeof now, "%H:%M:%S", &parts);
    const char *place = session_place(top->cli);
    add(top, STYLE_TITLE, "aicache %s   %s   up %s   %s", json_text_at(root, "version", "-"), place,
        print_duration(up, json_double_at(root, "uptime_seconds")), now);
}

/* Each part that is not well, and why. */
static void add_parts(struct top *top, json_object *root)
{
    json_object *list = json_at(root, "health.parts");
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        const char *status = json_text_at(one, "status", "-");
        if (strcmp(status, "healthy") == 0) continue;
        add(top, STYLE_ALARM, "%-8s  %s: %s", json_text_at(one, "name", "-"), status, json_text_at(one, "details", ""));
    }
}

/* Of a key without the admin flag: its namespace alone. */
static bool is_own(json_object *root)
{
    return json_at(root, "namespace") != NULL;
}

static void add_own_state(struct top *top, json_object *root)
{
    add(top, STYLE_PLAIN, "namespace %s", json_text_at(root, "namespace", "-"));
    const char *health = json_text_at(root, "health.status", "-");
    add(top, strcmp(health, "healthy") == 0 ? STYLE_PLAIN : STYLE_ALARM, "daemon    %s", health);
    if (!json_object_is_type(json_at(root, "traffic"), json_type_object))
        add(top, STYLE_PLAIN, "lookups   none yet, or counted with other idle namespaces");
}

static void add_state(struct top *top, json_object *root)
{
    const char *health = json_text_at(root, "health.status", "-");
    const char *pressure = json_text_at(root, "pressure.current_state", "-");
    bool well = strcmp(health, "healthy") == 0 && strcmp(pressure, "normal") == 0;
    add(top, well ? STYLE_PLAIN : STYLE_ALARM, "state     %s   pressure %s, %.0f %% of the memory limit in use", health,
        pressure, json_double_at(root, "pressure.current_pressure"));
    add_parts(top, root);
}

static void add_traffic(struct top *top, json_object *root)
{
    json_object *recent = json_at(root, "traffic.recent.hit_rate");
    char rate[16] = "  -", since[PRINT_BYTES];
    if (recent != NULL) snprintf(rate, sizeof rate, "%.1f %%", json_object_get_double(recent));
    add(top, STYLE_PLAIN, "now       %8.0f lookups/s   hit rate %s",
        json_double_at(root, "traffic.recent.lookups_per_second"), rate);
    char puts[40] = "";
    if (!is_own(root))
        snprintf(puts, sizeof puts, "  %llu puts", (unsigned long long)json_u64_at(root, "traffic.puts"));
    uint64_t lookups = json_u64_at(root, "traffic.hits") + json_u64_at(root, "traffic.misses");
    if (lookups > 0) snprintf(rate, sizeof rate, "%.1f %%", json_double_at(root, "traffic.hit_rate"));
    else snprintf(rate, sizeof rate, "-");
    add(top, STYLE_PLAIN, "since %s  %llu hits  %llu misses%s   hit rate %s",
        print_moment(since, json_text_at(root, "traffic.since", NULL)),
        (unsigned long long)json_u64_at(root, "traffic.hits"), (unsigned long long)json_u64_at(root, "traffic.misses"),
        puts, rate);
    if (json_u64_at(root, "traffic.saved.tokens") > 0) {
        add(top, STYLE_PLAIN, "saved     %8llu tokens   %.4f USD",
            (unsigned long long)json_u64_at(root, "traffic.saved.tokens"),
            json_double_at(root, "traffic.saved.cost_usd"));
    }
    bool recently = json_at(root, "latency_recent.p50") != NULL;
    json_object *latency = json_at(root, recently ? "latency_recent" : "latency");
    if (latency == NULL) return;
    add(top, STYLE_PLAIN, "lookup    p50 %.1f µs   p90 %.1f µs   p99 %.1f µs   p99.9 %.1f µs   %s",
        json_double_at(latency, "p50") * 1e6, json_double_at(latency, "p90") * 1e6,
        json_double_at(latency, "p99") * 1e6, json_double_at(latency, "p999") * 1e6, recently ? "now" : "since then");
}

static void add_tier(struct top *top, const char *name, json_object *tier, enum style style)
{
    char cells[64], used[PRINT_BYTES], most[PRINT_BYTES];
    uint64_t bytes = json_u64_at(tier, "bytes"), limit = json_u64_at(tier, "max_bytes");
    uint64_t entries = json_u64_at(tier, "entries"), hits = json_u64_at(tier, "hits");
    add(top, style, "%-8s  %s %s of %s   %llu %s   %llu %s", name,
        bar(cells, limit > 0 ? (double)bytes / (double)limit : 0, 14), print_size(used, bytes), print_size(most, limit),
        (unsigned long long)entries, plural(entries, "entry", "entries"), (unsigned long long)hits,
        plural(hits, "hit", "hits"));
}

static void add_memory(struct top *top, json_object *root)
{
    char process[PRINT_BYTES], trend[PRINT_TREND_BYTES];
    uint64_t bytes = json_u64_at(root, "memory.bytes"), threshold = json_u64_at(root, "memory.warning_bytes");
    bool warning = threshold > 0 && bytes >= threshold;
    json_object *rate = json_at(root, "memory.growth_bytes_per_hour");
    double hourly = rate != NULL ? json_object_get_double(rate) : 0;
    if (json_u64_at(root, "memory.max_bytes") == 0) {
        add(top, STYLE_PLAIN, "memory    off (memory.max_bytes 0)");
    } else {
        add_tier(top, "memory", json_at(root, "tiers.memory"), warning ? STYLE_ALARM : STYLE_PLAIN);
        add(top, STYLE_PLAIN, "          %s",
            print_trend(trend, json_at(root, "memory"), rate != NULL ? &hourly : NULL));
    }
    const char *status = json_text_at(root, "tiers.storage.status", "-");
    bool down = strcmp(status, "up") != 0 && strcmp(status, "disabled") != 0;
    if (down) add(top, STYLE_ALARM, "storage   %s", status);
    else if (json_u64_at(root, "tiers.storage.max_bytes") > 0)
        add_tier(top, "storage", json_at(root, "tiers.storage"), STYLE_PLAIN);
    add(top, STYLE_PLAIN, "process   %s resident", print_size(process, json_u64_at(root, "memory.process_bytes")));
}

/* What more or less memory would do, from the miss-ratio curve. */
static void add_curve(struct top *top, json_object *root)
{
    json_object *points = json_at(root, "curve.points");
    char line[TOP_LINE_BYTES] = "";
    size_t at = 0;
    if (!json_bool_at(root, "curve.known") || points == NULL) return;
    for (size_t i = 0; i < json_object_array_length(points); i++) {
        json_object *point = json_object_array_get_idx(points, i);
        double factor = json_double_at(point, "factor");
        bool wanted = factor == 0.5 || factor == 1 || factor == 2 || factor == 4;
        if (!wanted || at > sizeof line - 40) continue;
        at += (size_t)snprintf(line + at, sizeof line - at, "   x%g: %.1f %%", factor,
                               json_double_at(point, "hit_rate"));
    }
    add(top, STYLE_PLAIN, "resized%s   from memory", line);
}

/* Every alert that is open is a warning. */
static void add_warnings(struct top *top, json_object *root)
{
    json_object *list = json_at(root, "warnings");
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        const char *severity = json_text_at(one, "severity", "-");
        add(top, strcmp(severity, "info") == 0 ? STYLE_PLAIN : STYLE_ALARM, "%s: %s", severity,
            json_text_at(one, "message", ""));
    }
}

static void add_operations(struct top *top, json_object *root, size_t most)
{
    json_object *list = json_at(root, "top");
    if (list == NULL || json_object_array_length(list) == 0) return;
    add(top, STYLE_TITLE, "%-16s %-24s %12s %9s", "namespace", "operation", "lookups", "hit rate");
    for (size_t i = 0; i < most && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        add(top, STYLE_PLAIN, "%-16.16s %-24.24s %12llu %7.1f %%", json_text_at(one, "namespace", "-"),
            json_text_at(one, "operation", "-"), (unsigned long long)json_u64_at(one, "lookups"),
            json_double_at(one, "hit_rate"));
    }
}

static void add_slow(struct top *top, json_object *root, size_t most)
{
    json_object *list = json_at(root, "slow");
    if (list == NULL || json_object_array_length(list) == 0) return;
    add(top, STYLE_TITLE, "%-41s %12s %17s", "slow of late", "took", "times the usual");
    for (size_t i = 0; i < most && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        add(top, STYLE_PLAIN, "%-41.41s %9.3f ms %17.1f", json_text_at(one, "what", "-"),
            json_double_at(one, "duration") * 1000, json_double_at(one, "times_slower"));
    }
}

static void add_breakdown(struct top *top, json_object *root)
{
    json_object *list = json_at(root, "breakdown");
    if (list == NULL || json_object_array_length(list) == 0) return;
    json_sort_by(list, "bytes");
    add(top, STYLE_TITLE, "%-24s %12s  %s", "memory of", "bytes", "");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        char size[PRINT_BYTES];
        json_object *one = json_object_array_get_idx(list, i);
        if (json_u64_at(one, "bytes") == 0) continue;
        add(top, STYLE_PLAIN, "%-24.24s %12s  %s", json_text_at(one, "owner", "-"),
            print_size(size, json_u64_at(one, "bytes")), json_text_at(one, "help", ""));
    }
}

static void measure(struct top *top)
{
    struct winsize size;
    top->width = 80;
    top->height = top->terminal ? 24 : TOP_MAX_LINES;
    if (!top->terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return;
    top->width = size.ws_col;
    top->height = size.ws_row;
}

static void show(struct top *top)
{
    static const char *const begin[] = {"", "\033[1m", "\033[31m"};
    size_t rows = top->height > 1 ? (size_t)top->height - 1 : 1;
    if (top->terminal) fputs("\033[H", stdout);
    for (size_t i = 0; i < top->count && i < rows; i++) {
        if (top->terminal) fputs(begin[top->lines[i].style], stdout);
        print_cell(stdout, top->lines[i].text, top->width, false);
        fputs(top->terminal ? "\033[0m\033[K\n" : "\n", stdout);
    }
    if (top->terminal) fputs("\033[J", stdout);
    if (!output_works()) top_stopped = 1; /* without a reader there is nothing to show */
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Above the figures of then, once a second. */
static void show_silence(struct top *top, const char *why)
{
    char since[16];
    struct tm parts;
    if (now_ms() - top->drawn_ms < 1000) return;
    top->drawn_ms = now_ms();
    localtime_r(&top->last, &parts);
    strftime(since, sizeof since, "%H:%M:%S", &parts);
    const char *place = session_place(top->cli);
    if (top->count == 0) top->count = 1;
    top->lines[0].style = STYLE_ALARM;
    snprintf(top->lines[0].text, TOP_LINE_BYTES, "no answer since %s from %s%s%s; asking again, q ends", since, place,
             why[0] != '\0' ? ": " : "", why);
    measure(top);
    show(top);
}

/* One snapshot. False ends the stream. */
static bool on_snapshot(void *context, aic_view text)
{
    struct top *top = context;
    top->came = true;
    top->last_ms = now_ms();
    top->last = time(NULL);
    if (top->cli->json) {
        print_view(text);
        return output_works() && !top->once && !top_stopped;
    }
    json_tokener *tokener = json_tokener_new();
    json_object *root = tokener != NULL && text.size < INT32_MAX
                            ? json_tokener_parse_ex(tokener, text.data, (int)text.size)
                            : NULL;
    if (tokener != NULL) json_tokener_free(tokener);
    if (root == NULL) return true;
    measure(top);
    bool tall = top->height > 30;
    top->count = 0;
    add_head(top, root);
    if (is_own(root)) add_own_state(top, root);
    else add_state(top, root);
    if (json_object_is_type(json_at(root, "traffic"), json_type_object)) add_traffic(top, root);
    if (!is_own(root)) {
        add_memory(top, root);
        add_curve(top, root);
        add_warnings(top, root);
    }
    add_operations(top, root, tall ? 10 : 4);
    add_slow(top, root, tall ? 6 : 3);
    add_breakdown(top, root);
    show(top);
    json_object_put(root);
    return !top->once && !top_stopped;
}

/* Between snapshots: was `q` pressed, is there still somebody? */
static bool on_idle(void *context)
{
    struct top *top = context;
    char key;
    if (top->terminal && now_ms() - top->last_ms >= TOP_SILENT_MS) show_silence(top, "");
    if (top->terminal && isatty(STDIN_FILENO) && read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 3))
        top_stopped = 1;
    return !top_stopped;
}

/* Waits that long while `q` is listened to. False: it was pressed. */
static bool pause_for(struct top *top, uint64_t pause_ms, const char *why)
{
    const struct timespec tenth = {.tv_nsec = 100000000};
    for (uint64_t until_ms = now_ms() + pause_ms; now_ms() < until_ms && !top_stopped;) {
        show_silence(top, why);
        if (!on_idle(top)) break;
        nanosleep(&tenth, NULL);
    }
    return !top_stopped;
}

/* Follows the stream, again and again as long as that is of use. */
static int follow(struct top *top, struct reply *reply)
{
    uint64_t pause_ms = TOP_PAUSE_MIN_MS;
    top->last = time(NULL);
    while (true) {
        uint64_t began_ms = top->last_ms = now_ms();
        struct session_stream stream = {.take = on_snapshot, .idle = on_idle, .context = top};
        int result = session_stream(top->cli, "GET", "/monitoring/stream", &stream, reply);
        bool lasting = reply->status >= 400 && reply->status < 500;
        if (result == CLI_OK || lasting || !top->terminal || !top->came) return result;
        if (top->last_ms != began_ms) pause_ms = TOP_PAUSE_MIN_MS;
        top->drawn_ms = 0;
        if (!pause_for(top, pause_ms, reply->why)) return CLI_OK;
        pause_ms = pause_ms * 2 < TOP_PAUSE_MAX_MS ? pause_ms * 2 : TOP_PAUSE_MAX_MS;
        reply_fini(reply);
    }
}

int command_top(struct cli *cli)
{
    struct top *top = mem_zalloc(&cli->mem, MEM_OTHER, sizeof *top);
    if (top == NULL) return cli_fail("no memory");
    top->cli = cli;
    top->once = cli_has(cli, "once");
    top->terminal = !top->once && !cli->json && print_obeys(STDOUT_FILENO);
    struct termios before;
    bool keys = top->terminal && tcgetattr(STDIN_FILENO, &before) == 0;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (keys) {
        struct termios raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 0; /* read() returns at once */
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    if (top->terminal) fputs("\033[?1049h\033[?25l", stdout); /* a screen of its own, no cursor */
    struct reply reply = {0};
    int result = follow(top, &reply);
    if (top->terminal) fputs("\033[?25h\033[?1049l", stdout);
    (void)output_works();
    if (keys) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    if (result == CLI_ERROR) result = session_complain(cli, &reply);
    reply_fini(&reply);
    mem_free(&cli->mem, MEM_OTHER, top, sizeof *top);
    return result;
}
