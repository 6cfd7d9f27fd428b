/* tls_test.c - certificates that do not load, keys that do not fit, and what a failed reload leaves. */
#include "base/check.h"
#include "serve/http/tls.h"

#include "../../../support/test_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/serve-tls-XXXXXX";

static const char *path_of(const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", directory, name);
    return out;
}

/* A certificate that the key signs itself, and the key (owned), as NAME.pem and NAME.key. */
static void make_pair(const char *name, EVP_PKEY *key)
{
    char file[64];
    char path[128];
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                               -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    snprintf(file, sizeof file, "%s.key", name);
    FILE *out = fopen(path_of(file, path), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    snprintf(file, sizeof file, "%s.pem", name);
    out = fopen(path_of(file, path), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, certificate), 1);
    fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL) return -1;
    make_pair("one", EVP_EC_gen("P-256"));
    make_pair("two", EVP_EC_gen("P-256"));
    make_pair("rsa", EVP_RSA_gen(2048));
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = {"one.key", "one.pem", "two.key", "two.pem", "rsa.key", "rsa.pem"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(files); i++) unlink(path_of(files[i], path));
    return rmdir(directory);
}

static aic_status try_create(struct mem *mem, const char *certificate, const char *key, struct tls **out,
                             aic_error *error)
{
    char certificate_path[128];
    char key_path[128];
    memset(error, 0, sizeof *error);
    return tls_create(mem, path_of(certificate, certificate_path), path_of(key, key_path), out, error);
}

/* Both files are named: nobody knows which of the two is the wrong one. */
static void refuses_pair(struct mem *mem, const char *certificate, const char *key)
{
    struct tls *tls = NULL;
    aic_error error;
    assert_int_equal(try_create(mem, certificate, key, &tls, &error), AIC_INVALID);
    assert_null(tls);
    assert_string_equal(error.field, "tls.key");
    if (strstr(error.message, certificate) == NULL || strstr(error.message, key) == NULL ||
        strstr(error.message, "does not belong to") == NULL)
        fail_msg("%s", error.message);
}

static void test_refusals(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct tls *tls = NULL;
    aic_error error;
    assert_int_equal(try_create(&test.mem, "none.pem", "one.key", &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.certificate");
    assert_int_equal(try_create(&test.mem, "one.pem", "none.key", &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.key");
    refuses_pair(&test.mem, "one.pem", "two.key");
    refuses_pair(&test.mem, "one.pem", "rsa.key"); /* another kind of key is noticed at another place */
    refuses_pair(&test.mem, "rsa.pem", "one.key");
    assert_int_equal(try_create(&test.mem, "one.key", "one.key", &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.certificate");
    assert_int_equal(tls_create(&test.mem, NULL, "x", &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.certificate");
    assert_int_equal(tls_create(&test.mem, "x", NULL, &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.key");
    assert_null(tls);
    test_mem_fini(&test);
}

/* Nobody is asked for a pass phrase, on a terminal or elsewhere; and a reload waits for no pipe. */
static void test_what_would_wait(void **state)
{
    (void)state;
    struct test_mem test;
    struct tls *tls = NULL;
    aic_error error;
    char path[128], pipe_path[128], certificate[128], key[128];
    test_mem_init(&test, TEST_MEM_NEVER);
    FILE *out = fopen(path_of("secret.key", path), "w");
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    assert_int_equal(PEM_write_PrivateKey(out, pair, EVP_aes_256_cbc(), (const unsigned char *)"phrase", 6, NULL, NULL),
                     1);
    EVP_PKEY_free(pair);
    fclose(out);
    assert_int_equal(try_create(&test.mem, "one.pem", "secret.key", &tls, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.key");
    assert_non_null(strstr(error.message, "is encrypted; a key without a pass phrase is accepted"));
    assert_int_equal(try_create(&test.mem, "one.pem", "one.key", &tls, &error), AIC_OK);
    assert_int_equal(mkfifo(path_of("pipe", pipe_path), 0600), 0);
    assert_int_equal(tls_reload(tls, path_of("one.pem", certificate), pipe_path, &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.key");
    assert_int_equal(tls_reload(tls, pipe_path, path_of("one.key", key), &error), AIC_INVALID);
    assert_string_equal(error.field, "tls.certificate");
    unlink(path);
    unlink(pipe_path);
    tls_destroy(&tls);
    test_mem_fini(&test);
}

/* Turns both ends of a handshake in this thread. The common name of the server's certificate, or "" when there was no
 * handshake. */
static const char *client_ciphers; /* of TLS 1.2; NULL: OpenSSL's own choice */

static void shake_hands(struct tls *tls, int client_max_version, char name[64])
{
    int pair[2];
    char record[8];
    bool other;
    name[0] = '\0';
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct tls_session *session = tls_accept(tls, pair[0]);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, client_max_version);
    if (client_ciphers != NULL) assert_int_equal(SSL_CTX_set_cipher_list(context, client_ciphers), 1);
    SSL *client = SSL_new(context);
    SSL_set_fd(client, pair[1]);
    assert_non_null(session);
    for (int turn = 0; turn < 20 && name[0] == '\0'; turn++) {
        int result = SSL_connect(client);
        ssize_t got = tls_read(session, record, sizeof record, &other);
        assert_true(got <= 0);
        if (result != 1) continue;
        X509 *certificate = SSL_get1_peer_certificate(client);
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, 64);
        X509_free(certificate);
    }
    assert_int_equal(tls_is_ready(session), name[0] != '\0');
    tls_close_notify(session);
    SSL_free(client);
    SSL_CTX_free(context);
    tls_session_destroy(&session);
    tls_session_destroy(&session);
    close(pair[0]);
    close(pair[1]);
}

static void test_reload(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct tls *tls = NULL;
    aic_error error;
    char name[64];
    char certificate[128];
    char key[128];
    assert_int_equal(try_create(&test.mem, "one.pem", "one.key", &tls, &error), AIC_OK);
    shake_hands(tls, TLS1_3_VERSION, name);
    assert_string_equal(name, "one");
    assert_int_equal(tls_reload(tls, path_of("two.pem", certificate), path_of("one.key", key), &error), AIC_INVALID);
    shake_hands(tls, TLS1_2_VERSION, name);
    assert_string_equal(name, "one");
    assert_int_equal(tls_reload(tls, path_of("two.pem", certificate), path_of("two.key", key), &error), AIC_OK);
    shake_hands(tls, TLS1_3_VERSION, name);
    assert_string_equal(name, "two");
    shake_hands(tls, TLS1_1_VERSION, name);
    assert_string_equal(name, "");
    /* TLS 1.2 with what authenticates what it encrypts, and with nothing else. */
    client_ciphers =
        "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA";
    shake_hands(tls, TLS1_2_VERSION, name);
    assert_string_equal(name, "");
    client_ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    shake_hands(tls, TLS1_2_VERSION, name);
    assert_string_equal(name, "two");
    client_ciphers = NULL;
    tls_destroy(&tls);
    tls_destroy(&tls);
    test_mem_fini(&test);
}

static bool begins_a_method(int byte)
{
    return byte != 0 &&
           strchr("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", byte) != NULL;
}

/* The first byte tells plain HTTP from TLS: no record begins like the name of a method. */
static void test_plain_http_is_told(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct tls *tls = NULL;
    aic_error error;
    assert_int_equal(try_create(&test.mem, "one.pem", "one.key", &tls, &error), AIC_OK);
    for (int byte = 0; byte < 256; byte++) {
        int ends[2];
        char out[64];
        bool wants_write;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        struct tls_session *session = tls_accept(tls, ends[0]);
        assert_non_null(session);
        for (int i = 0; i < 2; i++) { /* nothing has come yet */
            assert_int_equal(tls_read(session, out, sizeof out, &wants_write), -1);
            assert_int_equal(errno, EAGAIN);
            assert_false(wants_write);
        }
        assert_int_equal(write(ends[1], &(char){(char)byte}, 1), 1);
        assert_int_equal(tls_read(session, out, sizeof out, &wants_write), -1);
        int number = errno;
        if (begins_a_method(byte) != (number == EPROTONOSUPPORT)) fail_msg("byte %d: %s", byte, strerror(number));
        if (!begins_a_method(byte)) assert_int_equal(number, EAGAIN); /* the rest of a record's head */
        /* Whoever answers in plain text finds all that was sent. */
        if (begins_a_method(byte)) assert_int_equal(recv(ends[0], out, sizeof out, 0), 1);
        tls_session_destroy(&session);
        close(ends[0]);
        close(ends[1]);
    }
    int ends[2];
    char out[64];
    bool wants_write;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    struct tls_session *session = tls_accept(tls, ends[0]);
    close(ends[1]);
    assert_int_equal(tls_read(session, out, sizeof out, &wants_write), 0); /* gone before a word */
    tls_session_destroy(&session);
    close(ends[0]);
    tls_destroy(&tls);
    test_mem_fini(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_what_would_wait),
                                       cmocka_unit_test(test_reload), cmocka_unit_test(test_plain_http_is_told)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
