#!/bin/sh
# on-kvm-host.sh keeps its word: files in, files out, both streams apart, the exit code, the time limit, nothing left behind.
here="$(dirname "$(readlink -f "$0")")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export TMPDIR="$scratch/tmp"
mkdir "$TMPDIR"
failed=0
check() {
  if ! eval "$2"; then
    echo "FAILED: $1"
    failed=1
  fi
}

printf 'it is here' >"$scratch/in"
"$here/on-kvm-host.sh" --copy "$scratch/in:folder/as" --out "$scratch/out" --timeout 100 -- \
  sh -c 'cat folder/as; echo "it'"'"'s apart" >&2; [ -c /dev/kvm ] && [ "$(id -u)" = 0 ] && cp folder/as "$OUT/came back"; exit 7' \
  >"$scratch/stdout" 2>"$scratch/stderr"
code=$?
check "the exit code is the command's ($code)" "[ $code = 7 ]"
check "stdout passes through" '[ "$(cat "$scratch/stdout")" = "it is here" ]'
check "stderr passes through, apart" '[ "$(cat "$scratch/stderr")" = "it'"'"'s apart" ]'
check "files come out" '[ "$(cat "$scratch/out/came back")" = "it is here" ]'

"$here/on-kvm-host.sh" --timeout 3 -- sleep 1000 >"$scratch/stdout" 2>&1
code=$?
check "the time limit holds ($code)" "[ $code = 124 ]"
check "nothing is left behind: $(ls "$TMPDIR")" '[ -z "$(ls "$TMPDIR")" ]'

# In QEMU, whatever this machine has: the command brings the kernel down that runs it.
CLONESAFE_LAB_FORCE=nested "$here/on-kvm-host.sh" --timeout 60 -- sh -c 'echo c >/proc/sysrq-trigger; sleep 60' 2>"$scratch/stderr"
code=$?
check "a host that goes down is started once more ($code)" \
  '[ $code = 125 ] && [ "$(grep -c "once more, from the start" "$scratch/stderr")" = 1 ]'
"$here/on-kvm-host.sh" --copy "$scratch/none" -- true 2>"$scratch/stderr"
check "a missing file is named" 'grep -q "no $scratch/none to copy" "$scratch/stderr"'
exit "$failed"
