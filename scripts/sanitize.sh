#!/usr/bin/env bash
# The C kernels of the runtime under AddressSanitizer and UndefinedBehaviorSanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
sources=$(ls native/runtime/*.c | grep -v -e table.c -e threads.c)
# shellcheck disable=SC2086
"${CC:-cc}" -O1 -g -std=c11 -fsanitize=address,undefined -fno-sanitize-recover=all -Inative/runtime \
    tests/runtime/driver.c $sources -lm -o "$out/driver"
"$out/driver"
