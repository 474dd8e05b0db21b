#!/usr/bin/env bash
# Formatting (clang-format-19) and shell syntax of everything; with --tidy also clang-tidy-19 over the sources that the
# release build compiles (about 15 s of processor time for a source).
#
#   scripts/lint.sh [--tidy [FILE.cc ...]]      without files: all that git knows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t all < <(git ls-files '*.h' '*.hpp' '*.cc' '*.c')
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)

clang-format-19 --dry-run -Werror "${all[@]}"
for script in "${scripts[@]}"; do bash -n "$script"; done
if [ "${1:-}" != --tidy ]; then
  echo "lint: ${#all[@]} sources formatted, ${#scripts[@]} scripts parsed"
  exit 0
fi
shift

sources=("$@")
[ ${#sources[@]} -gt 0 ] || mapfile -t sources < <(git ls-files '*.cc')
# Only what the release build compiles has the flags that clang-tidy needs.
database=build/release/compile_commands.json
compiled=()
for source in "${sources[@]}"; do
  if grep -qF "/$source\"" "$database"; then compiled+=("$source"); fi
done
printf '%s\0' "${compiled[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 --quiet -p build/release --extra-arg=-Wno-unknown-warning-option 2>/dev/null
echo "lint: ${#compiled[@]} sources checked"
