#!/bin/sh
# The part of qemu-on-kvm.sh that runs on the host with KVM, in a folder with qemu, clonesafe-audit, clonesafectl, socat, vmlinuz and
# guest.cpio. $OUT gets the audit's two folders, and what was said on vsock.
# usage: qemu-on-kvm-on-host.sh KERNEL_NAME
. ./jobs-on-host.sh
kernel="$1"
work="$PWD/vsock"
mkdir -p "$work"

die() {
  echo "qemu-on-kvm: $*" >&2
  tail -n 5 "$work"/*.log "$work"/console-* "$OUT"/*/*stderr "$OUT"/*/*/*stderr >&2 2>/dev/null
  exit 1
}
trap kill_jobs EXIT

for mode in without unannounced; do
  ./clonesafe-audit run --vmm qemu --vmm-program ./qemu/qemu --accel kvm --mode "$mode" --label "$mode" --kernel vmlinuz \
    --kernel-name "$kernel" --guest guest.cpio --clones 2 --out "$OUT/$mode" >/dev/null || die "the audit $mode"
  rm -f "$OUT/$mode/snapshot.migration"
done

# The host's word alone: no vmgenid.
[ -c /dev/vhost-vsock ] || die "no /dev/vhost-vsock"
./socat VSOCK-LISTEN:17228,fork UNIX-CONNECT:"$work/vm.vsock_17228" 2>"$work/socat.log" &
machine() { # NAME [ARGUMENT]...
  name="$1"
  shift
  mkfifo "$work/monitor-$name"
  ./qemu/qemu -accel kvm -cpu host -m 256 -nodefaults -display none -no-reboot -kernel vmlinuz -initrd guest.cpio \
    -append "console=ttyS0 panic=-1 quiet clonesafe.probes=off" -serial "file:$work/console-$name" -monitor stdio \
    -device virtio-rng-pci -device vhost-vsock-pci,guest-cid=3 "$@" \
    <>"$work/monitor-$name" >"$work/monitor-$name.out" 2>"$work/$name.log" &
  echo $! >"$work/pid"
}
ready() { grep -q READY "$work/console-source" 2>/dev/null; }
migrated() {
  echo "info migrate" >"$work/monitor-source"
  grep -qi 'status.*completed' "$work/monitor-source.out"
}

machine source
./clonesafectl --vsock "$work/vm.vsock" wait --kind boot --timeout 180 --json >"$OUT/vsock-boot.json" || die "no word of the guest's boot"
until_ 60 ready || die "the guest is not ready"
# Not stopped first: QEMU would restore it stopped.
echo "migrate \"exec:cat >$work/state\"" >"$work/monitor-source"
until_ 120 migrated || die "QEMU takes no snapshot: $(tail -c 600 "$work/monitor-source.out")"
kill -KILL "$(cat "$work/pid")"
wait "$(cat "$work/pid")" 2>/dev/null

for clone in 1 2; do
  machine "$clone" -incoming "exec:cat <$work/state"
  ./clonesafectl --vsock "$work/vm.vsock" wait --safe --timeout 180 --json >"$OUT/vsock-$clone.json" || die "no safe report of clone $clone"
  kill -KILL "$(cat "$work/pid")"
  wait "$(cat "$work/pid")" 2>/dev/null
done

# generation FILE: of a clone that was repaired as one.
generation() {
  grep -q '"name":"machine_id","result":"ok"' "$1" || die "no new identity in $1"
  sed 's/.*"generation":"\([0-9a-f]*\)".*/\1/' "$1"
}
one="$(generation "$OUT/vsock-1.json")" && two="$(generation "$OUT/vsock-2.json")" || exit 1
[ "$one" != "$two" ] || die "both clones have the generation $one"
echo "clones whose host has only vhost-vsock have generations of their own: $one and $two"
