#!/usr/bin/env bash
# Formatting (clang-format-19) and shell syntax of everything; with --tidy also clang-tidy-19 over the sources that the
# debug build compiles (scripts/build.sh debug). It takes a quarter of a minute of processor time for each source that changed since it was
# last found clean, so it is a command of its own and no part of test.sh.
#
#   scripts/lint.sh [--tidy [--since COMMIT] [FILE.cc ...]]      see scripts/tidy.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t all < <(git ls-files '*.h' '*.hpp' '*.cc' '*.c')
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)

clang-format-19 --dry-run -Werror "${all[@]}"
for script in "${scripts[@]}"; do bash -n "$script"; done
echo "lint: ${#all[@]} sources formatted, ${#scripts[@]} scripts parsed"

if [ "${1:-}" = --tidy ]; then
  shift
  exec scripts/tidy.py "$@"
fi
