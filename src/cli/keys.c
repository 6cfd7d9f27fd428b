/*
 * keys.c - `aicache key new`: 256 random bits, shown once; the configuration holds their digest alone.
 */
#include "cli/commands.h"

#include "base/digest.h"
#include "base/hex.h"

#include <string.h>

#define KEY_RANDOM_BYTES 32
#define KEY_PREFIX "aic_"

/* Digits and letters that survive a double click, 32 of them, so that a byte gives five bits without a bias. */
static const char alphabet[] = "abcdefghijkmnopqrstuvwxyz2345679";
_Static_assert(sizeof alphabet == 33, "five bits a letter");

/* 52 letters hold 260 bits, of which 256 are random. */
static void write_key(const uint8_t random[KEY_RANDOM_BYTES], char out[64])
{
    unsigned held = 0, bits = 0;
    size_t at = strlen(KEY_PREFIX);
    memcpy(out, KEY_PREFIX, at);
    for (size_t i = 0; i < KEY_RANDOM_BYTES; i++) {
        held = held << 8 | random[i];
        bits += 8;
        for (; bits >= 5; bits -= 5) out[at++] = alphabet[held >> (bits - 5) & 31];
    }
    if (bits > 0) out[at++] = alphabet[held << (5 - bits) & 31];
    out[at] = '\0';
}

static int check_name(const char *option, const char *name)
{
    size_t size = strlen(name);
    bool plain = size >= 1 && size <= 128;
    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++)
        plain = plain && *at >= 0x20 && *at != 0x7f;
    return plain ? CLI_OK
                 : cli_fail("--%s: %zu bytes; accepted: 1 to 128 bytes without control characters", option, size);
}

/* A YAML double-quoted scalar. */
static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void print_key(struct cli *cli, const char *key, const char *id, const char *name, const char *sha256)
{
    bool admin = cli_has(cli, "admin");
    if (cli->json) {
        json_object *out = json_object_new_object();
        json_object_object_add(out, "key", json_object_new_string(key));
        json_object_object_add(out, "id", json_object_new_string(id));
        json_object_object_add(out, "sha256", json_object_new_string(sha256));
        json_object_object_add(out, "namespace", json_object_new_string(name));
        json_object_object_add(out, "admin", json_object_new_boolean(admin));
        puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(out);
        return;
    }
    printf(
        "# The key; it is nowhere kept, so this is the time to put it where the client finds it (AICACHE_API_KEY):\n# %s\n\n",
        key);
    printf("# The entry for the daemon's configuration; SIGHUP takes it in:\napi_keys:\n  - id: ");
    print_quoted(id);
    printf("\n    sha256: \"%s\"\n    namespace: ", sha256);
    print_quoted(name);
    printf("\n    admin: %s\n", admin ? "true" : "false");
}

int command_key_new(struct cli *cli)
{
    uint8_t random[KEY_RANDOM_BYTES], digest[32];
    char key[64], sha256[65], made[160];
    const char *name = cli_value(cli, "namespace") != NULL ? cli_value(cli, "namespace") : "default";
    const char *id = cli_value(cli, "id");
    if (check_name("namespace", name) != CLI_OK || (id != NULL && check_name("id", id) != CLI_OK)) return CLI_ERROR;
    if (digest_random(random, sizeof random) != AIC_OK) return cli_fail("the system gives no random bytes");
    write_key(random, key);
    if (digest_sha256(key, strlen(key), digest) != AIC_OK) return cli_fail("no memory");
    hex_write(digest, sizeof digest, sha256);
    sha256[2 * sizeof digest] = '\0';
    snprintf(made, sizeof made, "%.100s-%.6s", name, sha256);
    print_key(cli, key, id != NULL ? id : made, name, sha256);
    explicit_bzero(random, sizeof random);
    explicit_bzero(key, sizeof key);
    return CLI_OK;
}
