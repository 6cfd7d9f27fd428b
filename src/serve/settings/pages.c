/*
 * pages.c - help, manual and reference of the daemon: a frame of fixed text around what base/option.h makes
 * from the table.
 */
#include "serve/settings/settings.h"

void settings_write_help(struct buf *out)
{
    buf_append_text(
        out,
        "Usage: aicached [--config FILE] [FLAG...]\n\n"
        "The response cache daemon of aicache. Settings come from the file, over it the environment, over it flags:\n"
        "memory.max_bytes is `memory: {max_bytes: 256M}`, AICACHE_MEMORY_MAX_BYTES and --memory-max-bytes 256M.\n\n");
    option_write_help(settings_table(), out);
    buf_append_text(out,
                    "\nSIGHUP reloads what can change live, SIGTERM and SIGINT stop gracefully. See aicached(8).\n");
}

void settings_write_manual(struct buf *out)
{
    buf_append_text(
        out,
        ".\\\" Made by `aicached --manual` from the table of options.\n"
        ".TH AICACHED 8 \"\" \"aicache " AIC_VERSION "\" \"aicache\"\n"
        ".SH NAME\naicached \\- response cache and memory service for LLM backends\n"
        ".SH SYNOPSIS\n.B aicached\n[\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fIFLAG\\fR...]\n"
        ".SH DESCRIPTION\n"
        "Keeps the answers of language models under the requests that led to them, in memory bounded in bytes and in an embedded store on disk, and "
        "serves them over HTTP.\n"
        "Once requests are accepted it writes \\fBaicached VERSION listening on ADDRESS:PORT\\fR to standard error, one line for each address, before any other line.\n"
        ".SH OPTIONS\n"
        "Every option can stand in the file (YAML), in the environment and on the command line; the later of these wins. Sizes take \\fBK\\fR, \\fBM\\fR and "
        "\\fBG\\fR (powers of 1024), durations \\fBms\\fR, \\fBs\\fR, \\fBm\\fR, \\fBh\\fR and \\fBd\\fR.\n"
        "Lists are separated by commas in the environment, and a flag of a list may be repeated. A flag of a truth may stand alone, or as \\fB\\-\\-no\\-\\fINAME\\fR.\n");
    option_write_roff(settings_table(), out);
    buf_append_text(
        out,
        ".SH SIGNALS\n"
        ".TP\n.BR SIGTERM , \" SIGINT\"\nStop: \\fB/health/ready\\fR says no, requests under way are answered for at most \\fBtimeouts.drain\\fR, everything is "
        "synced to disk, and the exit status is 0. When storage hangs, it ends without it, fifteen seconds later, and says so.\n"
        ".TP\n.B SIGHUP\nRead file and environment again, change what can change live, and log what cannot. When something is wrong, nothing changes. Certificates are loaded again.\n"
        ".SH EXIT STATUS\n"
        ".TP\n.B 0\nafter a graceful stop, or when \\fB\\-\\-check\\-config\\fR found nothing wrong\n"
        ".TP\n.B 1\nwhen it could not start: an address in use, a store that another daemon holds, a directory that cannot be written\n"
        ".TP\n.B 2\nwhen the settings are wrong\n"
        ".SH FILES\n"
        ".TP\n.I /etc/aicache/aicached.yaml\nthe settings that the systemd unit reads\n"
        ".TP\n.I /var/lib/aicache\nthe default of data_dir for root\n"
        ".SH SEE ALSO\n.BR aicache (1)\n");
}

void settings_write_reference(struct buf *out)
{
    buf_append_text(
        out,
        "# Configuration\n\n"
        "<!-- Made by `aicached --reference` from the table of options; a test compares it. -->\n\n"
        "`aicached --config FILE` reads YAML; the environment overrides the file, and flags override the environment. One option has three spellings:\n\n"
        "| file | environment | flag |\n|---|---|---|\n"
        "| `memory: {max_bytes: 256M}` | `AICACHE_MEMORY_MAX_BYTES=256M` | `--memory-max-bytes 256M` |\n\n"
        "Sizes take `K`, `M` and `G` (powers of 1024), durations `ms`, `s`, `m`, `h` and `d`. Lists are separated by commas in the environment, and their flag may be "
        "repeated. A preset (`preset: production`) lies below all of them.\n\n"
        "`aicached --check-config` tells everything that is wrong, with file, line, option, what came and what is accepted, and exits with 0 or 2. It also tries what a start needs and leaves nothing behind: the certificate and its key are loaded, the secret is read, in the directories of data_dir and of unix sockets a file is made and removed, addresses are bound (a port that somebody has is not told); run it as the user that runs the daemon. `aicached --print-config` "
        "shows what would be in force and where each value comes from. SIGHUP reads file and environment again and changes what is marked *live* below.\n\n"
        "```yaml\nlisten: [127.0.0.1:8080, \"unix:/run/aicache/aicache.sock\"]\ndata_dir: /var/lib/aicache\nmemory:\n  max_bytes: 1G\nttl:\n  default: 2h\n"
        "  operations: {qa: 30m, translate: 7d}\napi_keys:\n  - {id: web, sha256: \"<64 hex digits>\", namespace: web}\n```\n");
    option_write_markdown(settings_table(), out);
}
