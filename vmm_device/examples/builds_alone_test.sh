#!/bin/bash
# Builds what another VMM takes of this project, as that project's own build does: a subdirectory, generation devices only.
# usage: builds_alone_test.sh CHECKOUT
set -euo pipefail

checkout="$1"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.25)
project(another_vmm CXX C)
set(CLONESAFE_PARTS generation)
add_subdirectory("$checkout" clonesafe)
add_executable(another_vmm vmm.cc)
target_compile_features(another_vmm PRIVATE cxx_std_23)
target_link_libraries(another_vmm PRIVATE clonesafe::generation clonesafe::acpi)
CMAKE
cp "$checkout/vmm_device/examples/example_vmm.cc" "$scratch/vmm.cc"
# What these parts do not need is not found.
cmake -S "$scratch" -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DBUILD_TESTING=OFF \
  -DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON -DCMAKE_DISABLE_FIND_PACKAGE_spdlog=ON -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON >"$scratch/log" 2>&1 ||
  {
    cat "$scratch/log" >&2
    exit 1
  }
cmake --build "$scratch/build" -j2 --target another_vmm >"$scratch/log" || {
  tail -40 "$scratch/log" >&2
  exit 1
}
if ldd "$scratch/build/another_vmm" | grep -E 'boost|spdlog|fmt|seccomp|cap-ng' >&2; then
  echo "builds_alone_test.sh: it needs more than libcrypto" >&2
  exit 1
fi
