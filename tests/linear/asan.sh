#!/bin/sh
# The compiled core under AddressSanitizer and UBSan: a sanitised extension beside a copy of the package, and a command
# run on it; without one, the tests of solvers and refits. Usage: tests/linear/asan.sh PYTHON [COMMAND ...]
# The variable SANITISED names a directory in which the build is kept for the next call.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-"$root/.venv/bin/python"}
[ $# -gt 0 ] && shift
work=${SANITISED:-$(mktemp -d)}
[ -n "${SANITISED:-}" ] || trap 'rm -rf "$work"' EXIT
if [ ! -e "$work/fewer/_native.abi3.so" ]; then
    mkdir -p "$work"
    cp -r "$root/src/fewer" "$work/fewer"
    rm -f "$work"/fewer/_native*
    include=$("$python" -c "import sysconfig; print(sysconfig.get_path('include'))")
    gcc -shared -fPIC -g -O1 -std=c11 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
        -DPy_LIMITED_API=0x030B0000 -I"$include" "$root"/native/module.c "$root"/native/*/*.c -lm -lpthread \
        -o "$work/fewer/_native.abi3.so"
fi
export PYTHONPATH="$work" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
if [ $# -eq 0 ]; then
    set -- "$python" -m pytest -p no:cacheprovider --rootdir="$root" -c "$root/pyproject.toml" -q -x -W ignore \
        "$root/tests/linear/test_linear_paths.py" "$root/tests/linear/test_linear_losses.py" \
        "$root/tests/linear/test_linear_general.py" "$root/tests/linear/test_linear_roads.py" \
        "$root/tests/linear/test_joint.py" "$root/tests/linear/test_known.py" "$root/tests/linear/test_concave.py" \
        "$root/tests/update/test_supports.py" "$root/tests/update/test_projection.py" \
        -k "not import_is_light and not million and not literal_descent"
fi
LD_PRELOAD=$(gcc -print-file-name=libasan.so) "$@"
