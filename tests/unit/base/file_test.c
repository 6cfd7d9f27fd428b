/* file_test.c - pieces of a file under a limit on its size: what the kernel moved in part is told by its reason. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static int open_file(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void test_there_and_back(void **state)
{
    (void)state;
    int fd = open_file();
    char back[16] = "";
    size_t got = 99;
    assert_int_equal(file_write(fd, "0123456789", 10, 5), 0);
    assert_int_equal(file_read(fd, back, sizeof back, 7, &got), 0);
    assert_int_equal(got, 8); /* the file ends there */
    assert_memory_equal(back, "23456789", 8);
    assert_int_equal(file_read(fd, back, 3, 5, &got), 0);
    assert_int_equal(got, 3);
    assert_int_equal(file_read(fd, back, 3, 15, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(file_write(fd, NULL, 0, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    close(fd);
}

/* The first call writes six bytes of ten and sets no errno: it is the second that says why. */
static void test_a_short_write_has_a_reason(void **state)
{
    (void)state;
    int fd = open_file();
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){6, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    errno = ENOENT;
    int fault = file_write(fd, "0123456789", 10, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(fault, EFBIG);
    close(fd);
}

static void test_what_cannot_be_done_has_a_reason(void **state)
{
    (void)state;
    char byte;
    size_t got = 99;
    int fd = open("/tmp", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_read(fd, &byte, 1, 0, &got), EISDIR);
    assert_int_equal(got, 0);
    assert_int_equal(file_write(fd, "x", 1, 0), EBADF);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_a_short_write_has_a_reason),
        cmocka_unit_test(test_what_cannot_be_done_has_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
