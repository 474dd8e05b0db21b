#!/usr/bin/env bash
# Builds a preset of CMakePresets.json in build/PRESET.   build.sh PRESET [TARGET...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?usage: build.sh PRESET [TARGET...]}"
shift
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" --log-level=WARNING
ninja -C "build/$preset" --quiet "$@"
