#include "net/backend.h"

#include "base/check.h"
#include "base/status.h"
#include "net/breaker.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NS_PER_MS UINT64_C(1000000)
#define RETRY_FIRST_MS 100
#define RETRY_MOST_MS 10000
#define SLOTS 4
#define TRIES 3
#define CONNECT_MS 5000

/* Where one call is under way; the loop's thread alone. */
struct slot {
    struct backend *backend;
    struct backend_call *call; /* NULL: free */
    CURL *curl;                /* keeps nothing of a call between two */
    struct curl_slist *headers;
    bool unwatched;  /* there was no memory to watch its socket: the try ends */
    bool flying;     /* in the multi handle; else in a pause before the next try */
    uint64_t due_ns; /* of a pause: when it ends */
    size_t taken;    /* bytes of the answer */
    char why[CURL_ERROR_SIZE];
};

struct backend {
    struct backend_options options;
    char *url;
    char place[URL_PLACE_BYTES];
    CURLM *multi;
    uv_timer_t curl_timer, pause_timer;
    unsigned handles; /* of libuv that are open: all are closed before the end */
    struct breaker breaker;
    struct backend_call *first, **last; /* waiting for a slot, in order */
    struct slot *slots;
    uint64_t random; /* of the pauses between tries */
    bool closing;
    /* Written by the loop's thread (`waiting` is added to by whoever calls), read by any; relaxed. */
    _Atomic uint64_t answered, failed, refused, retried, opened, waiting;
    _Atomic bool up;
};

/* A socket of curl's that the loop watches. */
struct socket {
    struct backend *backend;
    uv_poll_t poll;
    curl_socket_t fd;
};

#define COUNT(backend, figure) atomic_fetch_add_explicit(&(backend)->figure, 1, memory_order_relaxed)

static uint64_t now_of(const struct backend *backend)
{
    return clock_mono_ns(backend->options.clock);
}

static void run_slots(struct backend *backend);

/* ------------------------------------------------------------------------------------------------ end of a call -- */

/* The answer, the status and the words are there. */
static void finish(struct backend *backend, struct backend_call *call, aic_status status)
{
    call->status = status;
    if (status == AIC_OK) COUNT(backend, answered);
    else COUNT(backend, failed);
    CHECK(atomic_fetch_sub_explicit(&backend->waiting, 1, memory_order_relaxed) > 0);
    struct buf answer = call->answer; /* the call may be gone after done() */
    call->done(call);
    buf_fini(&answer);
}

static void note_breaker(struct backend *backend, bool changed, const char *how)
{
    atomic_store_explicit(&backend->up, backend->breaker.state == BREAKER_CLOSED, memory_order_relaxed);
    atomic_store_explicit(&backend->opened, backend->breaker.opened, memory_order_relaxed);
    if (changed && backend->options.log != NULL)
        log_line(backend->options.log, AIC_LOG_WARNING, backend->options.name, "%s %s", backend->place, how);
}

/* Whether the place is there is what the breaker is about, not whether it likes the request. */
static void tell_breaker(struct backend *backend, struct backend_call *call, bool there)
{
    bool probe = call->probe;
    call->probe = false;
    if (there) note_breaker(backend, breaker_success(&backend->breaker, probe), "answers again");
    else
        note_breaker(backend, breaker_failure(&backend->breaker, probe, now_of(backend)),
                     "does not answer; it is asked again after a pause");
}

static void free_slot(struct slot *slot)
{
    curl_slist_free_all(slot->headers);
    slot->headers = NULL;
    slot->call = NULL;
}

/* --------------------------------------------------------------------------------------------------- one try -- */

static size_t take_answer(char *bytes, size_t unit, size_t count, void *context)
{
    struct slot *slot = context;
    size_t size = unit * count, most = slot->backend->options.answer_bytes;
    if (most == 0) return size;
    slot->taken += size;
    if (slot->taken > most) return 0;
    buf_append(&slot->call->answer, bytes, size);
    return buf_status(&slot->call->answer) == AIC_OK ? size : 0;
}

static bool prepare(struct slot *slot, uint64_t left_ms)
{
    struct backend *backend = slot->backend;
    struct backend_call *call = slot->call;
    CURL *curl = slot->curl;
    char url[4096], type[128];
    int size = snprintf(url, sizeof url, "%s%s", backend->url, call->path != NULL ? call->path : "");
    if (size < 0 || (size_t)size >= sizeof url) return false;
    snprintf(type, sizeof type, "Content-Type: %s",
             call->content_type != NULL ? call->content_type : "application/json");
    curl_slist_free_all(slot->headers);
    slot->headers = curl_slist_append(NULL, call->body.data != NULL ? type : "Content-Type:");
    if (slot->headers == NULL || curl_slist_append(slot->headers, "Expect:") == NULL) return false;
    slot->why[0] = '\0';
    slot->taken = 0;
    slot->unwatched = false;
    buf_clear(&call->answer);
    curl_easy_reset(curl); /* its connections stay */
    curl_easy_setopt(curl, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->verb);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, slot->why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)backend->options.connect_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, slot->headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, slot);
    if (url_is_local(backend->url)) curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* of the environment: for other hosts */
    if (call->body.data == NULL) return true;
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.data);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.size);
    return true;
}

static void end_call(struct slot *slot, aic_status status)
{
    struct backend_call *call = slot->call;
    if (call->probe) { /* it never went, or says nothing of the place */
        call->probe = false;
        breaker_cancel(&slot->backend->breaker, now_of(slot->backend));
    }
    free_slot(slot);
    finish(slot->backend, call, status);
}

/* Sends the slot's call, or lets it wait for the breaker, or ends it. */
static void try_call(struct slot *slot)
{
    struct backend *backend = slot->backend;
    struct backend_call *call = slot->call;
    uint64_t now = now_of(backend);
    CHECK(!slot->flying && !call->probe);
    if (now >= call->deadline_ns) {
        snprintf(call->why, sizeof call->why, "%s: the deadline passed before it could be asked", backend->place);
        end_call(slot, AIC_TIMEOUT);
        return;
    }
    enum breaker_pass pass = breaker_admit(&backend->breaker, now);
    if (pass == BREAKER_REFUSED) {
        uint64_t wait = breaker_wait_ns(&backend->breaker, now);
        if (wait == UINT64_MAX) wait = RETRY_FIRST_MS * NS_PER_MS; /* a probe is out */
        slot->due_ns = now + (wait > NS_PER_MS ? wait : NS_PER_MS);
        if (slot->due_ns < call->deadline_ns) return; /* the pause timer brings it back */
        snprintf(call->why, sizeof call->why, "%s did not answer lately, and is asked again after a pause",
                 backend->place);
        COUNT(backend, refused);
        end_call(slot, AIC_UNAVAILABLE);
        return;
    }
    call->probe = pass == BREAKER_PROBE;
    if (!prepare(slot, (call->deadline_ns - now) / NS_PER_MS + 1) ||
        curl_multi_add_handle(backend->multi, slot->curl) != CURLM_OK) {
        snprintf(call->why, sizeof call->why, "no memory");
        end_call(slot, AIC_NO_MEMORY);
        return;
    }
    if (call->tried++ > 0) COUNT(backend, retried);
    slot->flying = true;
}

static bool is_passing(long code)
{
    return code == 429 || code == 502 || code == 503 || code == 504;
}

/* xorshift64 (G. Marsaglia, 2003): good enough to be out of step. */
static uint64_t next_random(struct backend *backend)
{
    backend->random ^= backend->random << 13;
    backend->random ^= backend->random >> 7;
    backend->random ^= backend->random << 17;
    return backend->random;
}

/* Is the call to be tried again? Sets when. */
static bool tries_again(struct slot *slot, CURLcode result)
{
    struct backend *backend = slot->backend;
    struct backend_call *call = slot->call;
    curl_off_t asked_s = 0;
    if (!call->repeatable || call->tried >= backend->options.tries || backend->closing) return false;
    if (result == CURLE_OK ? !is_passing(call->code) : result == CURLE_WRITE_ERROR || result == CURLE_OUT_OF_MEMORY)
        return false;
    uint64_t pause_ms = (uint64_t)RETRY_FIRST_MS << (call->tried - 1 < 7 ? call->tried - 1 : 7);
    if (pause_ms > RETRY_MOST_MS) pause_ms = RETRY_MOST_MS;
    pause_ms = pause_ms / 2 + next_random(backend) % (pause_ms / 2 + 1);
    if (result == CURLE_OK) curl_easy_getinfo(slot->curl, CURLINFO_RETRY_AFTER, &asked_s);
    if (asked_s > 0 && (uint64_t)asked_s < UINT32_MAX && (uint64_t)asked_s * 1000 > pause_ms)
        pause_ms = (uint64_t)asked_s * 1000;
    slot->due_ns = now_of(backend) + pause_ms * NS_PER_MS;
    return slot->due_ns < call->deadline_ns;
}

static aic_status status_of(CURLcode result, const struct slot *slot)
{
    switch (result) {
    case CURLE_OK: return AIC_OK;
    case CURLE_OPERATION_TIMEDOUT: return AIC_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: return AIC_NO_MEMORY;
    case CURLE_WRITE_ERROR: return slot->taken > slot->backend->options.answer_bytes ? AIC_FULL : AIC_NO_MEMORY;
    default: return AIC_UNAVAILABLE;
    }
}

/* A try has come to its end. */
static void on_result(struct slot *slot, CURLcode result)
{
    struct backend *backend = slot->backend;
    struct backend_call *call = slot->call;
    CHECK(slot->flying && call != NULL);
    curl_multi_remove_handle(backend->multi, slot->curl);
    slot->flying = false;
    call->code = 0;
    if (result == CURLE_OK) curl_easy_getinfo(slot->curl, CURLINFO_RESPONSE_CODE, &call->code);
    if (result != CURLE_OUT_OF_MEMORY)
        tell_breaker(backend, call, result == CURLE_WRITE_ERROR || (result == CURLE_OK && call->code < 500));
    if (tries_again(slot, result)) return;
    if (result == CURLE_OK) snprintf(call->why, sizeof call->why, "%s answered %ld", backend->place, call->code);
    else snprintf(call->why, sizeof call->why, "%s: %.90s", backend->place, curl_easy_strerror(result));
    end_call(slot, status_of(result, slot));
}

/* --------------------------------------------------------------------------------------------- curl on the loop -- */

static void take_results(struct backend *backend)
{
    int left;
    for (CURLMsg *told; (told = curl_multi_info_read(backend->multi, &left)) != NULL;) {
        struct slot *slot = NULL;
        if (told->msg != CURLMSG_DONE) continue;
        CURLcode result = told->data.result; /* the message is gone once the handle is taken out */
        curl_easy_getinfo(told->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
        on_result(slot, result);
    }
    for (unsigned i = 0; i < backend->options.slots; i++) {
        struct slot *slot = &backend->slots[i];
        if (slot->flying && slot->unwatched) on_result(slot, CURLE_OUT_OF_MEMORY);
    }
    run_slots(backend);
}

static void act(struct backend *backend, curl_socket_t fd, int what)
{
    int running;
    curl_multi_socket_action(backend->multi, fd, what, &running);
    take_results(backend);
}

static void on_curl_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* Not at once: curl may call this from within a call of ours. */
static int set_timer(CURLM *multi, long ms, void *context)
{
    struct backend *backend = context;
    (void)multi;
    if (ms < 0) uv_timer_stop(&backend->curl_timer);
    else uv_timer_start(&backend->curl_timer, on_curl_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct socket *socket = poll->data;
    int what = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    act(socket->backend, socket->fd, status < 0 ? CURL_CSELECT_ERR : what);
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct socket *socket = handle->data;
    CHECK(socket->backend->handles > 0);
    socket->backend->handles--;
    mem_free(socket->backend->options.mem, MEM_CONNECTIONS, socket, sizeof *socket);
}

static struct socket *watch_socket(struct backend *backend, curl_socket_t fd)
{
    struct socket *socket = mem_zalloc(backend->options.mem, MEM_CONNECTIONS, sizeof *socket);
    if (socket == NULL) return NULL;
    if (uv_poll_init_socket(&backend->options.loop->uv, &socket->poll, fd) != 0) {
        mem_free(backend->options.mem, MEM_CONNECTIONS, socket, sizeof *socket);
        return NULL;
    }
    socket->backend = backend;
    socket->fd = fd;
    socket->poll.data = socket;
    backend->handles++;
    curl_multi_assign(backend->multi, fd, socket);
    return socket;
}

/* Which events of a socket curl waits for. The handle is closed before curl closes the descriptor. */
static int set_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned)
{
    struct backend *backend = context;
    struct socket *socket = assigned;
    if (what == CURL_POLL_REMOVE) {
        if (socket == NULL) return 0;
        curl_multi_assign(backend->multi, fd, NULL);
        uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
        return 0;
    }
    if (socket == NULL) socket = watch_socket(backend, fd);
    if (socket == NULL) { /* an error from here would end every transfer: act() ends this one */
        struct slot *slot = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
        slot->unwatched = true;
        return 0;
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    CHECK(uv_poll_start(&socket->poll, events, on_socket) == 0);
    return 0;
}

/* ----------------------------------------------------------------------------------------------- slots and pauses --
 */

static void on_pause_over(uv_timer_t *timer)
{
    run_slots(timer->data);
}

static void take_waiting(struct slot *slot)
{
    struct backend *backend = slot->backend;
    struct backend_call *call = backend->first;
    backend->first = call->next;
    if (backend->first == NULL) backend->last = &backend->first;
    slot->call = call;
    slot->due_ns = 0;
}

/* Ends what has waited for a slot until its deadline. Returns the next deadline. */
static uint64_t expire_waiting(struct backend *backend, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (struct backend_call **at = &backend->first, *call; (call = *at) != NULL;) {
        if (call->deadline_ns > now) {
            if (call->deadline_ns < next) next = call->deadline_ns;
            at = &call->next;
            continue;
        }
        *at = call->next;
        if (backend->last == &call->next) backend->last = at;
        snprintf(call->why, sizeof call->why, "%s: too much was asked of it to have the answer in time",
                 backend->place);
        finish(backend, call, AIC_TIMEOUT);
    }
    return next;
}

/* Sends what may be sent, and sets the timer for what waits. */
static void run_slots(struct backend *backend)
{
    uint64_t now = now_of(backend), next = expire_waiting(backend, now);
    for (unsigned i = 0; i < backend->options.slots && !backend->closing; i++) {
        struct slot *slot = &backend->slots[i];
        if (slot->flying) continue;
        if (slot->call != NULL && slot->due_ns <= now) try_call(slot);
        while (slot->call == NULL && backend->first != NULL) { /* until one has gone, or all have ended */
            take_waiting(slot);
            try_call(slot);
        }
        if (slot->call != NULL && !slot->flying && slot->due_ns < next) next = slot->due_ns;
    }
    uv_update_time(&backend->options.loop->uv);
    if (next == UINT64_MAX) uv_timer_stop(&backend->pause_timer);
    else uv_timer_start(&backend->pause_timer, on_pause_over, next > now ? (next - now) / NS_PER_MS + 1 : 1, 0);
}

static_assert(offsetof(struct backend_call, message) == 0, "the message is found again as its call");

static void on_call(struct message *message)
{
    struct backend_call *call = (struct backend_call *)message;
    struct backend *backend = call->backend;
    call->next = NULL;
    *backend->last = call;
    backend->last = &call->next;
    run_slots(backend);
}

void backend_call(struct backend *backend, struct backend_call *call)
{
    CHECK(call->done != NULL && call->verb != NULL && call->deadline_ms > 0);
    call->message.run = on_call;
    call->backend = backend;
    call->status = AIC_OK;
    call->code = 0;
    call->tried = 0;
    call->probe = false;
    call->why[0] = '\0';
    call->deadline_ns = now_of(backend) + call->deadline_ms * NS_PER_MS;
    buf_init(&call->answer, backend->options.mem, MEM_CONNECTIONS);
    atomic_fetch_add_explicit(&backend->waiting, 1, memory_order_relaxed);
    loop_post(backend->options.loop, &call->message);
}

void backend_figures(const struct backend *backend, struct backend_figures *out)
{
    *out = (struct backend_figures){
        .answered = atomic_load_explicit(&backend->answered, memory_order_relaxed),
        .failed = atomic_load_explicit(&backend->failed, memory_order_relaxed),
        .refused = atomic_load_explicit(&backend->refused, memory_order_relaxed),
        .retried = atomic_load_explicit(&backend->retried, memory_order_relaxed),
        .opened = atomic_load_explicit(&backend->opened, memory_order_relaxed),
        .waiting = atomic_load_explicit(&backend->waiting, memory_order_relaxed),
        .up = atomic_load_explicit(&backend->up, memory_order_relaxed),
    };
}

/* ------------------------------------------------------------------------------------------------ create, destroy --
 */

static void setup(void *context)
{
    struct backend *backend = context;
    CHECK(uv_timer_init(&backend->options.loop->uv, &backend->curl_timer) == 0);
    CHECK(uv_timer_init(&backend->options.loop->uv, &backend->pause_timer) == 0);
    backend->curl_timer.data = backend->pause_timer.data = backend;
    backend->handles = 2;
}

/* Handles of curl, all or AIC_NO_MEMORY; backend_destroy() releases what is there. */
static aic_status make_handles(struct backend *backend)
{
    struct backend_options *options = &backend->options;
    backend->multi = curl_multi_init();
    backend->slots = mem_zalloc(options->mem, MEM_CONNECTIONS, options->slots * sizeof *backend->slots);
    if (backend->multi == NULL || backend->slots == NULL) return AIC_NO_MEMORY;
    for (unsigned i = 0; i < options->slots; i++) {
        backend->slots[i].backend = backend;
        backend->slots[i].curl = curl_easy_init();
        if (backend->slots[i].curl == NULL) return AIC_NO_MEMORY;
    }
    curl_multi_setopt(backend->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(backend->multi, CURLMOPT_SOCKETDATA, backend);
    curl_multi_setopt(backend->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(backend->multi, CURLMOPT_TIMERDATA, backend);
    curl_multi_setopt(backend->multi, CURLMOPT_MAXCONNECTS, (long)options->slots);
    return AIC_OK;
}

static void release(struct backend *backend)
{
    struct mem *mem = backend->options.mem;
    for (unsigned i = 0; backend->slots != NULL && i < backend->options.slots; i++) {
        CHECK(backend->slots[i].call == NULL);
        if (backend->slots[i].curl != NULL) curl_easy_cleanup(backend->slots[i].curl);
    }
    mem_free(mem, MEM_CONNECTIONS, backend->slots,
             backend->slots != NULL ? backend->options.slots * sizeof *backend->slots : 0);
    mem_free_string(mem, MEM_CONNECTIONS, backend->url);
    mem_free(mem, MEM_CONNECTIONS, backend, sizeof *backend);
}

aic_status backend_create(const struct backend_options *options, struct backend **out, aic_error *error)
{
    CHECK(options->loop->started);
    if (strncasecmp(options->url, "http://", 7) != 0 && strncasecmp(options->url, "https://", 8) != 0)
        return error_set(error, AIC_INVALID, options->name,
                         "an address that begins with http:// or https:// is accepted");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(error, AIC_NO_MEMORY, NULL, "no memory for libcurl");
    struct backend *made = mem_zalloc(options->mem, MEM_CONNECTIONS, sizeof *made);
    if (made == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for a backend");
    made->options = *options;
    if (made->options.clock == NULL) made->options.clock = clock_system();
    if (made->options.slots == 0) made->options.slots = SLOTS;
    if (made->options.tries == 0) made->options.tries = TRIES;
    if (made->options.connect_ms == 0) made->options.connect_ms = CONNECT_MS;
    made->last = &made->first;
    made->url = mem_copy_string(options->mem, MEM_CONNECTIONS, aic_view_of(options->url));
    if (made->url == NULL || make_handles(made) != AIC_OK) {
        if (made->multi != NULL) curl_multi_cleanup(made->multi);
        release(made);
        return error_set(error, AIC_NO_MEMORY, NULL, "no memory for a backend");
    }
    url_place(made->url, made->place);
    made->random = now_of(made) | 1;
    breaker_init(&made->breaker, made->random);
    atomic_init(&made->up, true);
    loop_call(options->loop, setup, made);
    *out = made;
    return AIC_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct backend *backend = handle->data;
    backend->handles--;
}

struct ending {
    struct backend *backend;
    bool over;
};

/* On the loop's thread: every call ends, then curl and the handles. */
static void teardown(void *context)
{
    struct backend *backend = context;
    backend->closing = true;
    for (unsigned i = 0; i < backend->options.slots; i++) {
        struct slot *slot = &backend->slots[i];
        if (slot->flying) curl_multi_remove_handle(backend->multi, slot->curl);
        slot->flying = false;
        if (slot->call != NULL) end_call(slot, AIC_CLOSED);
    }
    while (backend->first != NULL) {
        struct backend_call *call = backend->first;
        backend->first = call->next;
        finish(backend, call, AIC_CLOSED);
    }
    backend->last = &backend->first;
    curl_multi_cleanup(backend->multi); /* closes its sockets: set_socket() is called for each */
    backend->multi = NULL;
    uv_close((uv_handle_t *)&backend->curl_timer, on_timer_closed);
    uv_close((uv_handle_t *)&backend->pause_timer, on_timer_closed);
}

/* A turn of the loop lies between two calls, at whose end what was closed has its callback. */
static void look_for_handles(void *context)
{
    struct ending *ending = context;
    ending->over = ending->backend->handles == 0;
}

void backend_destroy(struct backend **backend)
{
    struct backend *self = *backend;
    if (self == NULL) return;
    *backend = NULL;
    loop_call(self->options.loop, teardown, self);
    for (struct ending ending = {.backend = self}; !ending.over;)
        loop_call(self->options.loop, look_for_handles, &ending);
    CHECK(atomic_load_explicit(&self->waiting, memory_order_relaxed) == 0);
    release(self);
}
