/*
 * keys.c - `aicache key new`: 256 random bits, shown once; the configuration holds their digest alone.
 */
#include "cli/commands.h"

#include "base/digest.h"
#include "base/hex.h"
#include "base/utf8.h"

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
    aic_view text = aic_view_of(name);
    bool good = text.size > 0 && text.size <= AIC_MAX_NAME_BYTES && utf8_is_valid(text) && !utf8_has_control(text);
    return good ? CLI_OK
                : cli_fail("--%s: %zu bytes; accepted: 1 to 128 bytes of UTF-8 without control characters", option,
                           text.size);
}

static void write_page(const struct cli *cli, const char *key, const char *id, const char *name, const char *sha256,
                       struct buf *out)
{
    bool admin = cli_has(cli, "admin");
    struct json_writer writer;
    if (cli->json) {
        json_writer_init(&writer, out);
        json_open(&writer, '{');
        json_key(&writer, "key"), json_put_text(&writer, key);
        json_key(&writer, "id"), json_put_text(&writer, id);
        json_key(&writer, "sha256"), json_put_text(&writer, sha256);
        json_key(&writer, "namespace"), json_put_text(&writer, name);
        json_key(&writer, "admin"), json_put_bool(&writer, admin);
        json_close(&writer, '}');
        return;
    }
    buf_printf(out, "# The key is not kept anywhere: put it where the client finds it now (AICACHE_API_KEY):\n# %s\n\n",
               key);
    buf_append_text(out, "# The entry for the daemon's configuration; SIGHUP takes it in:\napi_keys:\n  - id: ");
    option_write_quoted(id, out);
    buf_printf(out, "\n    sha256: \"%s\"\n    namespace: ", sha256);
    option_write_quoted(name, out);
    buf_printf(out, "\n    admin: %s\n", admin ? "true" : "false");
}

int command_key_new(struct cli *cli)
{
    uint8_t random[KEY_RANDOM_BYTES], digest[32];
    char key[64], sha256[65], made[160];
    const char *name = cli_value(cli, "namespace") != NULL ? cli_value(cli, "namespace") : "default";
    const char *id = cli_value(cli, "id");
    struct buf page;
    if (check_name("namespace", name) != CLI_OK || (id != NULL && check_name("id", id) != CLI_OK)) return CLI_ERROR;
    if (digest_random(random, sizeof random) != AIC_OK) return cli_fail("the system gives no random bytes");
    write_key(random, key);
    if (digest_sha256(key, strlen(key), digest) != AIC_OK) return cli_fail("no memory");
    hex_write(digest, sizeof digest, sha256);
    sha256[2 * sizeof digest] = '\0';
    snprintf(made, sizeof made, "%.100s-%.6s", name, sha256);
    buf_init(&page, &cli->mem, MEM_OTHER);
    write_page(cli, key, id != NULL ? id : made, name, sha256, &page);
    int result = buf_status(&page) == AIC_OK ? CLI_OK : cli_fail("no memory");
    if (result == CLI_OK) print_view(buf_view(&page));
    if (page.data != NULL) explicit_bzero(page.data, page.size);
    buf_fini(&page);
    explicit_bzero(random, sizeof random);
    explicit_bzero(key, sizeof key);
    return result;
}
