#!/bin/sh
# The removal matrix's part that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit,
# vmlinuz and guest.cpio: the same audit with one part of clonesafe taken away each time.
# usage: removal-on-host.sh KERNEL_NAME CLONES
# $OUT gets one folder for each part: nothing, seed, agent, word, page.
kernel="$1" clones="$2"
PATH="$PWD:$PATH"
export PATH

# run NAME ARGUMENT...
run() {
  name="$1"
  shift
  clonesafe-audit run --vmm clonevm --mode unannounced --kernel vmlinuz --kernel-name "$kernel" --guest guest.cpio \
    --clones "$clones" --cpu-mask rdrand,rdseed --label "without $name" --out "$OUT/$name" "$@" >/dev/null
  code=$?
  # Large, and holds secrets.
  rm -rf "$OUT/$name/snapshot"
  if [ "$code" != 0 ]; then
    for file in "$OUT/$name"/*stderr "$OUT/$name"/*/*stderr "$OUT/$name"/parent-vm/console.log; do
      [ -s "$file" ] && tail -n 5 "$file" >&2
    done
    exit "$code"
  fi
}

run nothing
run seed --vmm-argument=--no-seed
run page --vmm-argument=--no-registered-page
# Nobody is left who could report that the clones are safe.
run agent --dont-wait-safe --cmdline clonesafe.agent=off
run word --vmm-argument=--no-vmgenid --vmm-argument=--no-vmclock --vmm-argument=--no-restore-page
