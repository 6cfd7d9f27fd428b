/*
 * replay.c - runs a fuzzer's function over every file of a corpus folder, so that each finding of the past is a test.
 *
 * An empty input and every prefix of a few short files are tried as well: cheap, and truncation is the most common
 * damage. Writes TAP, one case per file.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Files up to this size are also tried at every length. */
#define PREFIX_BYTES 256

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long length = ftell(file);
        rewind(file);
        /* Exactly sized, so that the address sanitizer sees a read of one byte too many. */
        if (length >= 0) data = malloc(length > 0 ? (size_t)length : 1);
        if (data != NULL) *size = fread(data, 1, (size_t)length, file);
    }
    fclose(file);
    return data;
}

static void replay_prefixes(const uint8_t *data, size_t size)
{
    for (size_t length = 0; length < size; length++) {
        uint8_t *prefix = malloc(length > 0 ? length : 1);
        if (prefix == NULL) abort();
        memcpy(prefix, data, length);
        LLVMFuzzerTestOneInput(prefix, length);
        free(prefix);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    struct dirent **entries = NULL;
    int count = scandir(argv[1], &entries, NULL, alphasort);
    if (count < 0) {
        fprintf(stderr, "%s cannot be read\n", argv[1]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int cases = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        size_t size = 0;
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        uint8_t *data = entries[i]->d_name[0] == '.' ? NULL : read_file(path, &size);
        if (data != NULL) {
            LLVMFuzzerTestOneInput(data, size);
            if (size <= PREFIX_BYTES) replay_prefixes(data, size);
            printf("ok %d - %s\n", ++cases, entries[i]->d_name);
        }
        free(data);
        free(entries[i]);
    }
    free(entries);
    printf("1..%d\n", cases);
    if (cases == 0) fprintf(stderr, "no corpus in %s\n", argv[1]);
    return cases == 0 ? 1 : 0;
}
