#!/usr/bin/env bash
# Unit tests and, for a short time each (CLONESAFE_FUZZ_SECONDS), fuzz targets under ASan and UBSan. One build serves both: the fuzz
# preset has these two sanitizers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/build.sh fuzz unit_tests fuzz_targets
ctest --no-tests=error --test-dir build/fuzz --output-on-failure -j 2 -L unit
fuzz/run.sh build/fuzz
