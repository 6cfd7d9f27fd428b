/* parts_test.c - the router, the outgoing queue, addresses. */
#include "base/check.h"
#include "serve/http/listen.h"
#include "serve/http/output.h"
#include "serve/http/router.h"

#include "../../../support/test_mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void nothing(struct http_exchange *exchange)
{
    (void)exchange;
}

/* ---- router ---- */

static const struct http_route ROUTES[] = {
    {HTTP_VERB_GET, "/", nothing},           {HTTP_VERB_GET, "/a", nothing},
    {HTTP_VERB_POST, "/a", nothing},         {HTTP_VERB_GET, "/a/{x}", nothing},
    {HTTP_VERB_GET, "/a/b/c", nothing},      {HTTP_VERB_GET, "/a/{x}/d/{y}", nothing},
    {HTTP_VERB_GET, "/v1/{rest*}", nothing}, {HTTP_VERB_POST, "/v1/chat", nothing},
};

static const char *found_path(struct router *router, const char *path, struct router_match *match)
{
    if (router_match(router, aic_view_of(path), match) != AIC_OK) return "none";
    for (int verb = 0; verb < HTTP_VERB_COUNT; verb++) {
        if (match->by_verb[verb] != NULL) return match->by_verb[verb]->path;
    }
    return "empty";
}

static void test_router(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"/", "/", NULL},
        {"/a", "/a", NULL},
        {"/a/", "none", NULL},
        {"/a/q", "/a/{x}", "q"},
        {"/a/b", "/a/{x}", "b"},
        {"/a/b/c", "/a/b/c", NULL},
        {"/a/b/e", "none", NULL},
        {"/a/b/d/z", "/a/{x}/d/{y}", "b"},
        {"/v1/", "/v1/{rest*}", ""},
        {"/v1", "none", NULL},
        {"/v1/x/y", "/v1/{rest*}", "x/y"},
        {"/v1/chat", "/v1/chat", NULL},
        {"/v1/chat/x", "/v1/{rest*}", "chat/x"},
        {"/%61", "/a", NULL},
        {"//", "none", NULL},
        {"/a/%62/c", "/a/b/c", NULL},
        {"", "none", NULL},
        {"a", "none", NULL},
        {"/a%", "none", NULL},
        {"/v1/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h/i", "/v1/{rest*}", "1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h/i"},
    };
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct router *router = NULL;
    struct router_match match;
    assert_int_equal(router_create(&test.mem, ROUTES, COUNT_OF(ROUTES), &router, NULL), AIC_OK);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_string_equal(found_path(router, rows[i][0], &match), rows[i][1]);
        if (rows[i][2] == NULL) continue;
        assert_true(match.parameter_count >= 1);
        assert_int_equal(match.parameters[0].size, strlen(rows[i][2]));
        assert_memory_equal(match.parameters[0].data, rows[i][2], match.parameters[0].size);
    }
    char allow[ROUTER_ALLOW_BYTES];
    assert_int_equal(router_match(router, AIC_LITERAL("/a"), &match), AIC_OK);
    router_allow(match.by_verb, allow);
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
    router_destroy(&router);
    router_destroy(&router);
    test_mem_fini(&test);
}

static void test_router_refuses(void **state)
{
    (void)state;
    static const struct http_route bad[][2] = {
        {{HTTP_VERB_GET, "a", nothing}},
        {{HTTP_VERB_GET, "/{x*}/a", nothing}},
        {{HTTP_VERB_GET, "/{x", nothing}},
        {{HTTP_VERB_GET, "/a{x}", nothing}},
        {{HTTP_VERB_GET, "/{}", nothing}},
        {{HTTP_VERB_GET, "/a", NULL}},
        {{HTTP_VERB_GET, "/a", nothing}, {HTTP_VERB_GET, "/a", nothing}},
    };
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct router *router = NULL;
        aic_error error;
        assert_int_equal(router_create(&test.mem, bad[i], bad[i][1].path != NULL ? 2 : 1, &router, &error),
                         AIC_INVALID);
        assert_null(router);
        assert_true(strlen(error.message) > 0);
    }
    test_mem_fini(&test);
}

/* ---- output: random pieces against a flat copy ---- */

static int released;

static void release(void *context)
{
    (void)context;
    released++;
}

static size_t drain(struct output *output, char *out, size_t most)
{
    struct iovec pieces[5];
    unsigned count = output_pieces(output, pieces, COUNT_OF(pieces));
    size_t size = 0;
    for (unsigned i = 0; i < count && size < most; i++) {
        size_t take = pieces[i].iov_len < most - size ? pieces[i].iov_len : most - size;
        memcpy(out + size, pieces[i].iov_base, take);
        size += take;
    }
    output_consume(output, size);
    return size;
}

static void add_random(struct output *output, struct mem *mem, const char *source, size_t size, unsigned kind,
                       int *expected)
{
    aic_view pieces[3] = {{source, size / 2}, {source, 0}, {source + size / 2, size - size / 2}};
    struct buf body;
    switch (kind % 3) {
    case 0: assert_int_equal(output_copy(output, (aic_view){source, size}), AIC_OK); break;
    case 1:
        (*expected)++;
        assert_int_equal(output_borrow(output, pieces, 3, release, NULL), AIC_OK);
        break;
    default:
        buf_init(&body, mem, MEM_OTHER);
        buf_append(&body, source, size);
        assert_int_equal(output_own(output, &body), AIC_OK);
        assert_null(body.data);
    }
}

static void test_output_model(void **state)
{
    (void)state;
    static char source[100000];
    static char got[100000];
    struct test_mem test, large;
    test_mem_init(&test, TEST_MEM_NEVER);
    test_mem_init(&large, TEST_MEM_NEVER);
    unsigned seed = 4711;
    for (size_t i = 0; i < sizeof source; i++) source[i] = (char)rand_r(&seed);
    struct output output;
    output_init(&output, &test.mem, &large.mem);
    size_t put = 0, counted = 0;
    size_t taken = 0;
    int expected = 0;
    released = 0;
    while (taken < 90000) {
        if (rand_r(&seed) % 2 == 0 && put < 90000) {
            size_t size = (size_t)rand_r(&seed) % 700;
            add_random(&output, &test.mem, source + put, size, (unsigned)rand_r(&seed), &expected);
            put += size;
        } else {
            taken += drain(&output, got + taken, (size_t)rand_r(&seed) % 900);
        }
        output_verify(&output);
        assert_int_equal(output.pending, put - taken);
        size_t copied = output.copied.capacity;
        assert_int_equal(mem_bytes(&large.mem, MEM_CONNECTIONS), copied > OUTPUT_KEEP_BYTES ? copied : 0);
        counted += copied > OUTPUT_KEEP_BYTES;
    }
    assert_true(counted > 0);
    assert_memory_equal(got, source, taken);
    output_fini(&output);
    test_mem_fini(&large);
    assert_int_equal(released, expected);
    test_mem_fini(&test);
}

static void output_without_memory(struct test_mem *test)
{
    struct output output;
    output_init(&output, &test->mem, &test->mem);
    int expected = 0;
    released = 0;
    for (int i = 0; i < 12; i++) {
        aic_view piece = {"abc", 3};
        struct buf body;
        buf_init(&body, &test->mem, MEM_OTHER);
        buf_append(&body, "defg", 4);
        expected++;
        (void)!output_borrow(&output, &piece, 1, release, NULL);
        (void)!output_own(&output, &body);
        (void)!output_copy(&output, piece);
        output_verify(&output);
    }
    output_fini(&output);
    assert_int_equal(released, expected);
}

static void test_output_without_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(test, output_without_memory(&test));
}

/* ---- addresses ---- */

static void close_sockets(int *sockets, unsigned count)
{
    for (unsigned i = 0; i < count; i++) close(sockets[i]);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "1.2.3.4", "127.0.0.1:", ":80",          "127.0.0.1:65536", "127.0.0.1:x",
        "::1:80", "[::1]80", "unix:",      "999.1.1.1:80", "192.0.2.1:1"};
    struct listener listener;
    int sockets[3];
    aic_error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        memset(&error, 0, sizeof error);
        assert_int_equal(listener_open(&listener, bad[i], sockets, 3, &error), AIC_INVALID);
        assert_string_equal(error.field, "listen");
        assert_int_equal(sockets[0], -1);
    }
    assert_int_equal(listener_open(&listener, "127.0.0.1:0", sockets, 3, &error), AIC_OK);
    assert_int_equal(strncmp(listener.address, "127.0.0.1:", 10), 0);
    assert_int_not_equal(strcmp(listener.address, "127.0.0.1:0"), 0);
    struct listener second;
    int others[1];
    assert_int_equal(listener_open(&second, listener.address, others, 1, &error), AIC_LOCKED);
    close_sockets(sockets, 3);
    listener_close(&listener);
}

/* In place of the C library's: "two.test" has both loopback addresses, in the order that is asked for, and no resolver
 * is to be had for "none.test". All else is a number. */
static bool six_first;
static struct sockaddr_in four;
static struct sockaddr_in6 six;
static struct addrinfo entries[2];

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    in_port_t number = htons((in_port_t)strtoul(port, NULL, 10));
    (void)hints;
    if (strcmp(host, "none.test") == 0) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = number};
    six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = number, .sin6_addr = in6addr_loopback};
    bool both = strcmp(host, "two.test") == 0, is_six = strcmp(host, "::1") == 0;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!both && !is_six && inet_pton(AF_INET, host, &four.sin_addr) != 1) return EAI_NONAME;
    memset(entries, 0, sizeof entries);
    struct addrinfo *first = &entries[is_six || (both && six_first) ? 1 : 0];
    entries[0] = (struct addrinfo){
        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)(void *)&four, .ai_addrlen = sizeof four};
    entries[1] = (struct addrinfo){
        .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)(void *)&six, .ai_addrlen = sizeof six};
    if (both) first->ai_next = first == entries ? &entries[1] : &entries[0];
    *out = first;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static void test_a_name_is_all_its_addresses(void **state)
{
    (void)state;
    char addresses[LISTEN_NAME_ADDRESSES][LISTEN_ADDRESS_BYTES];
    aic_error error = {0};
    unsigned count = 0;
    struct listener listener;
    int fd;
    assert_int_equal(listener_addresses("none.test:80", addresses, &count, &error), AIC_INVALID);
    assert_non_null(strstr(error.message, strerror(EMFILE)));
    if (listener_open(&listener, "[::1]:0", &fd, 1, &error) != AIC_OK) {
        print_message("SKIPPED: this machine has no ::1 (%s)\n", error.message);
        skip();
    }
    close(fd);
    for (unsigned order = 0; order < 2; order++) {
        six_first = order == 1;
        assert_int_equal(listener_addresses("two.test:0", addresses, &count, &error), AIC_OK);
        assert_int_equal(count, 2);
        assert_string_equal(addresses[six_first ? 1 : 0], "127.0.0.1:0");
        assert_string_equal(addresses[six_first ? 0 : 1], "[::1]:0");
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(listener_open(&listener, addresses[i], &fd, 1, &error), AIC_OK);
            close(fd);
        }
    }
}

static void test_unix_addresses(void **state)
{
    (void)state;
    char directory[] = "/tmp/serve-parts-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char text[128];
    snprintf(text, sizeof text, "unix:%s/s", directory);
    const char *path = text + 5;
    struct listener listener;
    struct listener second;
    int sockets[2];
    int others[1];
    aic_error error;
    struct stat file;
    assert_int_equal(listener_open(&listener, text, sockets, 2, &error), AIC_OK);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0660);
    assert_int_equal(listener_open(&second, text, others, 1, &error), AIC_LOCKED);
    close_sockets(sockets, 2); /* as if the process had died: the file stays, nobody listens */
    assert_int_equal(listener_open(&second, text, others, 1, &error), AIC_OK);
    listener_close(&listener); /* the file is another's now */
    assert_int_equal(stat(path, &file), 0);
    close_sockets(others, 1);
    listener_close(&second);
    assert_int_not_equal(stat(path, &file), 0);
    FILE *plain = fopen(path, "w");
    assert_non_null(plain);
    fclose(plain);
    assert_int_equal(listener_open(&second, text, others, 1, &error), AIC_INVALID);
    assert_int_equal(stat(path, &file), 0);
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_router),         cmocka_unit_test(test_router_refuses),
        cmocka_unit_test(test_output_model),   cmocka_unit_test(test_output_without_memory),
        cmocka_unit_test(test_addresses),      cmocka_unit_test(test_a_name_is_all_its_addresses),
        cmocka_unit_test(test_unix_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
