#!/bin/bash
# What clonesafed and clonesafectl say of a command line, and of a configuration, that they don't understand.
# usage: command_line_test.sh CLONESAFED CLONESAFECTL CONFIG
set -euo pipefail

clonesafed="$1" clonesafectl="$2" config="$3"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
failed=0
# expect CODE TEXT COMMAND...: the exit code, and at most one line on standard error, which begins with the text.
expect() {
  local code="$1" text="$2" got=0
  shift 2
  "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
  if [ "$got" != "$code" ] || [ "$(wc -l <"$scratch/err")" -gt 1 ] || [[ "$(cat "$scratch/err")" != "$text"* ]]; then
    echo "FAILED: $(basename "$1") ${*:2}: exit code $got, expected $code and '$text...': $(cat "$scratch/err")"
    failed=1
  fi
}

expect 2 "clonesafed: " "$clonesafed" --nonsense
expect 2 "clonesafed: " "$clonesafed" --config
expect 2 "clonesafed: --check" "$clonesafed" --check
expect 2 "clonesafectl: " "$clonesafectl"
expect 2 "clonesafectl: " "$clonesafectl" nonsense
expect 2 "clonesafectl: " "$clonesafectl" status --nonsense
expect 2 "clonesafectl: --timeout" "$clonesafectl" wait --timeout soon
for program in "$clonesafed" "$clonesafectl"; do
  for option in --help --version; do expect 0 "" "$program" "$option"; done
done

expect 0 "" "$clonesafed" --config "$config" --check
expect 2 "clonesafed: " "$clonesafed" --config "$scratch/nowhere" --check
printf '[host]\nprot = 1\n' >"$scratch/agent.toml"
expect 2 "clonesafed: $scratch/agent.toml:2:1: unknown key 'host.prot'" "$clonesafed" --config "$scratch/agent.toml" --check
exit "$failed"
