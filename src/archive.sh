#!/bin/sh
# The static library as one object in which only what the headers promise is global: a hidden symbol hides from other shared objects alone, and in an
# archive of many objects every one of them would meet the names of the program that links it. As in the shared library, all of some floors comes in, and of
# the floors below what those need.
#   archive.sh OBJCOPY AR OUTPUT WHOLE.a... -- NEEDED.a... -- CC...
set -eu
objcopy=$1 ar=$2 output=$3
object=${output%.a}.o
shift 3
floors=-Wl,--whole-archive
while [ "$1" != -- ]; do
    floors="$floors $1"
    shift
done
shift
floors="$floors -Wl,--no-whole-archive -Wl,--start-group"
while [ "$1" != -- ]; do
    floors="$floors $1"
    shift
done
shift
rm -f "$output"
# shellcheck disable=SC2086
"$@" -r -nostdlib -o "$object" $floors -Wl,--end-group
"$objcopy" --localize-hidden "$object"
"$ar" crsD "$output" "$object"
rm -f "$object"
