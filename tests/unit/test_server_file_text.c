/* Whole small files: what fits, what is one byte too long, what cannot be read. */
#include "server/file_text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int holding(const char *text)
{
    char path[] = "/tmp/greedylrd-file-text-XXXXXX";
    int fd = mkstemp(path);

    cr_assert(fd >= 0);
    unlink(path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    lseek(fd, 0, SEEK_SET);
    return fd;
}

Test(server_file_text, up_to_the_limit)
{
    static const struct {
        const char *text;
        int no;
    } cases[] = {{"", 0}, {"1234567", 0}, {"12345678", 0}, {"123456789", EFBIG}, {"1234567890123", EFBIG}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = (char *)1;
        size_t len = 0;
        int fd = holding(cases[i].text);

        cr_assert_eq(file_text(fd, 8, &text, &len), cases[i].no, "%s", cases[i].text);
        if (cases[i].no)
            cr_assert_null(text);
        else
            cr_assert(len == strlen(cases[i].text) && !strcmp(text, cases[i].text));
        free(text);
        close(fd);
    }
}

Test(server_file_text, what_cannot_be_read)
{
    char *text = (char *)1;
    size_t len = 0;
    int fd = open("/", O_RDONLY);

    cr_assert_eq(file_text(fd, 8, &text, &len), EISDIR);
    cr_assert_null(text);
    close(fd);
}

Test(server_file_text, credentials_lie_right_in_their_directory)
{
    unsetenv("CREDENTIALS_DIRECTORY");
    cr_assert(!file_is_credential("/run/credentials/x/key"));
    setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1);
    cr_assert(file_is_credential("/run/credentials/x/key"));
    cr_assert(!file_is_credential("/run/credentials/x/sub/key"));
    cr_assert(!file_is_credential("/run/credentials/xy"));
    cr_assert(!file_is_credential("/run/credentials"));
}
