#!/usr/bin/env bash
# Formatting (clang-format-19), shell syntax, and clang-tidy-19 over the sources of a release build.
#
#   scripts/lint.sh [FILE.cc ...]      without files: all that git knows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# -gt 0 ]; then
  sources=("$@")
else
  mapfile -t sources < <(git ls-files '*.cc')
fi
mapfile -t all < <(git ls-files '*.h' '*.hpp' '*.cc' '*.c')
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)

clang-format-19 --dry-run -Werror "${all[@]}"
for script in "${scripts[@]}"; do bash -n "$script"; done

# Only what the release build compiles has the flags that clang-tidy needs.
database=build/release/compile_commands.json
compiled=()
for source in "${sources[@]}"; do
  grep -qF "/$source\"" "$database" && compiled+=("$source")
done
printf '%s\0' "${compiled[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 --quiet -p build/release --extra-arg=-Wno-unknown-warning-option 2>/dev/null
echo "lint: ${#all[@]} files formatted, ${#compiled[@]} sources checked"
