#!/usr/bin/env bash
# Runs each fuzz target of a build for CLONESAFE_FUZZ_SECONDS (default 10), beginning with its corpus.
# New inputs stay outside the checkout.
#
#   fuzz/run.sh BUILD-FOLDER
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
build="${1:?usage: fuzz/run.sh BUILD-FOLDER}"
seconds="${CLONESAFE_FUZZ_SECONDS:-10}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

shopt -s nullglob
targets=("$build"/bin/*_fuzz)
if [ ${#targets[@]} -eq 0 ]; then
  echo "run.sh: no fuzz target in $build/bin" >&2
  exit 1
fi

run_one() { # TARGET
  local name
  name="$(basename "$1")"
  mkdir -p "$scratch/$name"
  if ! "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$scratch/$name-" "$scratch/$name" "$here/corpus/$name" >"$scratch/$name.log" 2>&1; then
    echo "FAILED $name"
    tail -40 "$scratch/$name.log"
    # The scratch folder goes; the input that fails stays with who reads this.
    for input in "$scratch/$name"-*; do
      echo "$(basename "$input"), base64: $(base64 -w0 "$input" | head -c 16384)"
    done
    return 1
  fi
  printf '%-32s %s runs\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$name.log")"
}

# Two at a time, in pairs: what one prints stays together, since it is short.
failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
  running=()
  for target in "${targets[@]:i:2}"; do
    run_one "$target" &
    running+=($!)
  done
  for pid in "${running[@]}"; do wait "$pid" || failed=1; done
done
exit $failed
