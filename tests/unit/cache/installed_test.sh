#!/bin/sh
# The library as a user gets it: installed into a directory of its own, found by pkg-config, linked shared and static, with no symbol but aic_* in either.
#   installed_test.sh MESON BUILD_DIR SOURCE_DIR CC
set -eu
meson=$1 build=$2 source=$3 cc=$4
root=$(mktemp -d "${TMPDIR:-/tmp}/aicache-installed-XXXXXX")
trap 'rm -rf "$root"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

DESTDIR=$root "$meson" install -C "$build" --no-rebuild --quiet --tags devel,libaicache >"$root/log" 2>&1 || { cat "$root/log"; fail install; }
pc=$(find "$root" -name aicache.pc)
[ -n "$pc" ] || fail "no pkg-config file"
pcdir=$(dirname "$pc")
libdir=$(dirname "$(find "$root" -name 'libaicache.so')")
[ -f "$(find "$root" -path '*/include/aicache/aicache.h')" ] || fail "no header"
export PKG_CONFIG_PATH="$pcdir" PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1

# Nothing but aic_* leaves the shared library, and everything that the headers promise does.
nm -D --defined-only "$libdir/libaicache.so" | awk '{print $3}' | sed 's/@.*//' | sort -u >"$root/exported"
if grep -v '^aic_' "$root/exported"; then fail "symbols that should be hidden"; fi
cat "$source"/include/aicache/*.h | tr '\n' ' ' | sed 's/AIC_API/\n&/g' | sed -n 's/^AIC_API[^(;]*[ *]\(aic_[a-z0-9_]*\)(.*/\1/p' | sort -u >"$root/promised"
[ "$(wc -l <"$root/promised")" -ge 40 ] || fail "the headers were not understood"
comm -23 "$root/promised" "$root/exported" | { ! grep . || fail "promised by a header, not exported"; }
nm -g --defined-only "$libdir/libaicache.a" | awk 'NF == 3 {print $3}' | sort -u >"$root/archived"
if grep -v '^aic_' "$root/archived"; then fail "symbols that should be hidden in the archive"; fi
comm -3 "$root/exported" "$root/archived" | { ! grep . || fail "the archive and the shared library differ in what they export"; }

strict="-std=c11 -Wall -Wextra -Wpedantic -Werror"
# shellcheck disable=SC2046,SC2086
run() { # name, compiler flags
    name=$1
    shift
    "$cc" $strict "$source/examples/remember.c" -o "$root/$name" "$@"
    first=$("$root/$name" "$root/data-$name" "What is the capital of France?")
    second=$("$root/$name" "$root/data-$name" "What is the capital of France?")
    [ "$first" = 'asked: {"answer":"I thought about 30 characters.","sure":true}' ] || fail "$name said: $first"
    [ "$second" = 'remembered: {"answer":"I thought about 30 characters.","sure":true}' ] || fail "$name said: $second"
    [ "$(stat -c %a "$root/data-$name/secret")" = 600 ] || fail "the secret is not private"
    "$cc" $strict "$source/examples/measure.c" -o "$root/measure-$name" "$@"
    "$root/measure-$name" >"$root/measured" 2>"$root/said" || fail "measure-$name ended with $?"
    [ "$(cat "$root/said")" = "Slow cache get: 0.700s (hit: true, text_length: 1200)
High cache memory: 60.0 MiB used, warning threshold 50.0 MiB" ] || fail "measure-$name logged $(cat "$root/said")"
    grep -q '"total_operations":3,"cache_hits":1,"cache_misses":1' "$root/measured" || fail "measure-$name counted $(cat "$root/measured")"
    grep -q '"severity":"warning"' "$root/measured" || fail "measure-$name warned of nothing"
    grep -q '"duration":0.7,' "$root/measured" || fail "measure-$name found nothing slow"
}
# shellcheck disable=SC2046
LD_LIBRARY_PATH=$libdir run shared $(pkg-config --cflags --libs aicache)
# shellcheck disable=SC2046
run static $(pkg-config --cflags aicache) "$libdir/libaicache.a" $(pkg-config --static --libs aicache | sed 's/-laicache//')

# A program may use the library's inner names for its own functions.
echo '#include <aicache/aicache.h>
#include <string.h>
int buf_append(void);
int buf_append(void) { return 7; }
int cache_put(void);
int cache_put(void) { return buf_append(); }
int main(void)
{
    aic_options options = {.memory_max_bytes = 1 << 20};
    aic_cache *cache = NULL;
    aic_error error;
    if (aic_cache_open(&options, &cache, &error) != AIC_OK) return 1;
    aic_cache_close(&cache);
    return cache_put() == 7 ? 0 : 1;
}' >"$root/own.c"
# shellcheck disable=SC2046,SC2086
"$cc" $strict "$root/own.c" -o "$root/own" $(pkg-config --cflags aicache) "$libdir/libaicache.a" $(pkg-config --static --libs aicache | sed 's/-laicache//')
"$root/own" || fail "a program with a buf_append of its own ended with $?"

# C++ users include the same header.
if command -v c++ >/dev/null; then
    echo '#include <aicache/aicache.h>
#include <aicache/monitor.h>
int main() { return aic_status_name(AIC_OK) == nullptr; }' >"$root/plus.cc"
    # shellcheck disable=SC2046
    c++ -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags aicache) "$root/plus.cc" || fail "the header is no C++"
fi
echo "shared, static, $(wc -l <"$root/exported") symbols: fine"
