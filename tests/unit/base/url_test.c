/* What is shown of a URL never holds a piece of its password, path or query; hosts of this machine are known. */
#include "base/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_place(void **state)
{
    (void)state;
    static const struct {
        const char *url, *place;
    } cases[] = {
        {"https://hooks.example.com/services/T0/B0/token", "https://hooks.example.com"},
        {"http://user:s3cret@10.0.0.1:9000/x?key=s3cret", "http://10.0.0.1:9000"},
        {"http://user:p@s3cret@host:1", "http://host:1"},
        {"http://[::1]:8080/s3cret", "http://[::1]:8080"},
        {"http://user:a/s3cret@host/", "http://(hidden)"},
        {"http://user:s3cret/", "http://(hidden)"},
        {"s3cret@host", "host"},
        {"http://", "http://(hidden)"},
        {"http://a b/", "http://(hidden)"},
        {"http://\xe2\x80\xae/", "http://(hidden)"},
        {"\n://host", "host"},
    };
    char out[URL_PLACE_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(url_place(cases[i].url, out), cases[i].place);
    char lengthy[2000] = "http://";
    memset(lengthy + 7, 'a', sizeof lengthy - 8);
    assert_string_equal(url_place(lengthy, out), "http://(hidden)");
}

static void test_user_info_is_hidden(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hidden;
    } cases[] = {
        {"http://u:p@h:1/t", "http://*@h:1/t"},
        {"http://token@h", "http://*@h"},
        {"--ulr=http://u:p@h/a@b", "--ulr=http://*@b"},
        {"--ulr=u:p@h", "--ulr=*@h"},
        {"u:p@h", "*@h"},
        {"a@b", "a@b"},
        {"http://h:1/t", "http://h:1/t"},
        {"http://@h", "http://@h"},
        {"is 'http://u:p@h' no address of u:p@h, nor \"x://y@z\"",
         "is 'http://*@h' no address of *@h, nor \"x://*@z\""},
        {"http://127.0.0.1:8: (an argument that begins with @ names a file)",
         "http://127.0.0.1:8: (an argument that begins with @ names a file)"},
        {"http://*@h", "http://*@h"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[200];
        strcpy(message, cases[i].text);
        url_hide(message);
        assert_string_equal(message, cases[i].hidden);
    }
    aic_view secret = url_user_info((aic_view){"--x=http://u:a b'c@h", 20}); /* blanks and quotes, where all is known */
    assert_int_equal(secret.size, 7);
    assert_memory_equal(secret.data, "u:a b'c", 7);
}

static void test_local(void **state)
{
    (void)state;
    static const char *const local[] = {"http://127.0.0.1",   "https://127.9.9.9:1/x", "http://localhost:8080",
                                        "http://LOCALHOST./", "http://a.localhost/?@", "http://[::1]:80",
                                        "127.0.0.1:8080",     "http://u:p@127.0.0.1/"};
    static const char *const foreign[] = {"http://example.com",
                                          "http://127.0.0.1.example.com",
                                          "http://notlocalhost",
                                          "http://10.0.0.1",
                                          "http://127.0.0.1@host",
                                          "http://[::2]",
                                          "http://",
                                          ""};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) assert_true(url_is_local(local[i]));
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) assert_false(url_is_local(foreign[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_place), cmocka_unit_test(test_user_info_is_hidden),
                                       cmocka_unit_test(test_local)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
