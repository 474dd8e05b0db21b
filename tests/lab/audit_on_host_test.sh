#!/bin/sh
# audit-on-host.sh repeats a run only for a triple fault, only on an emulated host, and only once.
here="$(dirname "$(readlink -f "$0")")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
cp "$here/audit-on-host.sh" .

# Instead of the audit: each run counts itself and takes the next word of $scratch/plan: ok, fault, other.
cat >clonesafe-audit <<'STUB'
#!/bin/sh
while [ "$1" != --out ]; do shift; done
out="$2"
mkdir -p "$out/parent-vm"
read -r now rest <plan
echo "$rest" >plan
echo run >>runs
case "$now" in
  ok) exit 0 ;;
  fault) echo "clonevm: reset (triple fault, vcpu 1)" >"$out/parent-vm/stderr" ;;
  other) echo "clonevm: no room" >"$out/parent-vm/stderr" ;;
esac
exit 3
STUB
chmod +x clonesafe-audit

failed=0
# expect WHERE "PLAN" RUNS CODE
expect() {
  rm -rf runs out out-broken
  echo "$2" >plan
  (kernel=k clones=1 where="$1" && . ./audit-on-host.sh && audit_or_end out --label x) 2>said
  code=$?
  runs="$(wc -l <runs)"
  if [ "$runs" != "$3" ] || [ "$code" != "$4" ]; then
    echo "FAILED: $2 on $1: $runs runs and exit code $code, expected $3 and $4"
    cat said
    failed=1
  fi
}
expect nested "ok" 1 0
expect nested "fault ok" 2 0
expect nested "fault fault ok" 2 3
expect nested "other ok" 1 3
expect direct "fault ok" 1 3
exit "$failed"
