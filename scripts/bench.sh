#!/usr/bin/env bash
# Measures side by side with peers, in one run, and prints a table.   bench.sh agent|clones|devices|library|proxy [--out FILE]
#
# FILE gets {"results": [{"name", "value", "unit", "peer", "peer_value", "ratio", "goal", "met"}], "machine": {...}}; a ratio above 1
# means that ours is better. docs/benchmarks.md says what each figure is. Builds what it needs. A goal that is missed is no failure of the measurement: see "met".
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
usage="usage: bench.sh agent|clones|devices|library|proxy [--out FILE]"
die() {
  echo "bench.sh: $*" >&2
  exit 2
}
what="${1:?$usage}" out=""
shift
while [ $# -gt 0 ]; do
  case "$1" in
    --out)
      [ $# -ge 2 ] || die "--out needs a value"
      out="$2" && shift 2
      ;;
    *) die "unknown argument '$1'" ;;
  esac
done

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
where=""
case "$what" in
  agent)
    "$root/scripts/build.sh" release clonevm clonesafed clonesafectl command_server clonesafe-audit-guest entropy_log fixed_realtime bench_guest_times bench_agent >&2
    where="$("$root/tests/lab/on-kvm-host.sh" --where)"
    "$root/tests/lab/nested.sh" --kernel 6.12 --program bench_agent --out "$scratch" >&2
    ;;
  clones)
    [ "$(id -u)" -eq 0 ] || die "clones needs root, for network namespaces"
    "$root/scripts/build.sh" release clonesafe-proxy bench_proxy_load >&2
    unshare --net -- "$root/bench/proxy/clones_bench.py" --programs "$root/build/release/bin" --out "$scratch/results.json"
    ;;
  devices)
    "$root/scripts/build.sh" release clonevm clonesafed clonesafectl command_server clonesafe-audit-guest entropy_log fixed_realtime bench_io bench_devices >&2
    where="$("$root/tests/lab/on-kvm-host.sh" --where)"
    "$root/tests/lab/nested.sh" --kernel 6.12 --program bench_devices --out "$scratch" >&2
    ;;
  library)
    "$root/scripts/build.sh" release bench_library >&2
    "$root/build/release/bin/bench_library" "$scratch/results.json"
    ;;
  proxy)
    [ "$(id -u)" -eq 0 ] || die "proxy needs root, for a network namespace"
    for program in haproxy nginx openssl pgbench redis-server stunnel4; do
      command -v "$program" >/dev/null || die "proxy needs $program: scripts/setup.sh --bench"
    done
    "$root/scripts/build.sh" release clonesafe-proxy bench_proxy_load >&2
    fetched="$("$root/tests/lab/fetch.sh" pgbouncer nginx-stream)"
    unshare --net -- "$root/bench/proxy/proxy_bench.py" --programs "$root/build/release/bin" --fetched "$fetched" --out "$scratch/results.json"
    ;;
  *) die "unknown benchmark '$what' ($usage)" ;;
esac
exec "$root/bench/report/report.py" "$scratch/results.json" --where "$where" --out "${out:-/dev/null}"
