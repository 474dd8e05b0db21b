#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test.
#
#   scripts/test.sh                    everything: lint, unit tests (also under sanitizers), fuzz targets for a short time, VM lanes
#                                      (without clang-tidy, which takes most of an hour: scripts/lint.sh --tidy)
#   scripts/test.sh CTEST-ARGUMENTS    only `ctest` on the release build with these, say `-L unit` or `-R virtio`
#
# CLONESAFE_FUZZ_SECONDS (default 10) is the time for each fuzz target. CLONESAFE_SANITIZERS (default none) names more presets
# under which the unit tests run, say "tsan".
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
started=$SECONDS

step() { printf '\n== %s (%d s so far)\n' "$*" $((SECONDS - started)); }

step "packages"
scripts/setup.sh

# Kernels, QEMU and a Debian come over the network while the compilers have the processors.
fetch=""
if [ $# -eq 0 ]; then
  { tests/lab/fetch.sh all && { [ "$(id -u)" -ne 0 ] || tests/lab/debian/packages.sh trixie; }; } >/dev/null &
  fetch=$!
fi

step "build: release"
scripts/build.sh release

if [ $# -gt 0 ]; then
  exec ctest --no-tests=error --test-dir build/release --output-on-failure "$@"
fi

step "lint"
scripts/lint.sh

step "unit tests and fuzz targets under ASan and UBSan"
scripts/test-sanitized.sh

for sanitizer in ${CLONESAFE_SANITIZERS-}; do
  step "unit tests: $sanitizer"
  scripts/build.sh "$sanitizer" unit_tests
  ctest --no-tests=error --test-dir "build/$sanitizer" --output-on-failure -j 2 -L unit
done

step "unit lane"
ctest --no-tests=error --test-dir build/release --output-on-failure -j 2 -L unit

# An emulated host has one processor. Two side by side take two thirds of the time that they take one after the other.
step "VM lanes"
wait "$fetch"
ctest --no-tests=error --test-dir build/release --output-on-failure -j 2 -L 'kvm|nested|qemu'
step "done"
