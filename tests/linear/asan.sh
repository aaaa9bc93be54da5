#!/bin/sh
# The compiled core under AddressSanitizer and UBSan: builds a sanitised extension beside a copy of the package and runs
# the solver's tests on it. Usage: tests/linear/asan.sh [python]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-"$root/.venv/bin/python"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root/src/fewer" "$work/fewer"
rm -f "$work"/fewer/_native*.so
include=$("$python" -c "import sysconfig; print(sysconfig.get_path('include'))")
gcc -shared -fPIC -g -O1 -std=c11 -fsanitize=address,undefined -fno-omit-frame-pointer -DPy_LIMITED_API=0x030B0000 \
    -I"$include" "$root"/native/module.c "$root"/native/*/*.c -lm -lpthread -o "$work/fewer/_native.abi3.so"
LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    PYTHONPATH="$work" OMP_NUM_THREADS=1 "$python" -m pytest -p no:cacheprovider --rootdir="$root" -c "$root/pyproject.toml" \
    "$root/tests/linear/test_linear_paths.py" "$root/tests/linear/test_linear_losses.py" -q -x -W ignore \
    -k "not import_is_light and not million and not scikit"
