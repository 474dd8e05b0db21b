#!/bin/sh
# In a clone that nothing was built in yet, demo.sh gets as far as the build, and a build that fails is said with its own words.
here="$(dirname "$(readlink -f "$0")")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
cp -R "$here/../../scripts" "$scratch/scripts"
printf '#!/bin/sh\necho "no compiler today"\nexit 1\n' >"$scratch/bin/cmake"
chmod 755 "$scratch/bin/cmake"

code=0
PATH="$scratch/bin:$PATH" "$scratch/scripts/demo.sh" >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
for expected in "no compiler today" "demo: the build failed; see build/demo-build.log"; do
  grep -qxF "$expected" "$scratch/stderr" || {
    echo "FAILED: demo.sh did not say '$expected' but:"
    cat "$scratch/stderr"
    exit 1
  }
done
[ "$code" = 1 ] || {
  echo "FAILED: exit code $code"
  exit 1
}
