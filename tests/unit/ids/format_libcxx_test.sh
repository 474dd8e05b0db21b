#!/bin/bash
# Compiles format_libcxx.cc as a user of clang's C++ library does, and runs it.
# usage: format_libcxx_test.sh CLANG SOURCE LIBRARY INCLUDE...
set -euo pipefail
clang="$1" source="$2" library="$(readlink -f "$3")"
shift 3
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$clang" -std=c++20 -stdlib=libc++ -Wall -Wextra -Werror "${@/#/-I}" "$source" "$library" -Wl,-rpath,"$(dirname "$library")" \
  -o "$scratch/program"
"$scratch/program"
