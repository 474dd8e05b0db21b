#!/bin/sh
# The part of restore-soak.sh that runs on the host with KVM, in a folder with vmlinuz, guest.img and the VMM.
# usage: restore-soak-on-host.sh VMM ROUNDS SECONDS CLONES CPUS MOMENTS COMMAND_LINE
# A clone is healthy if each load loop was heard on its console after the restore and it still runs; with MOMENTS on, if all that its
# guest_state counts has moved on since the restore and it found no error. One line for each that is not; its
# console, and what KVM traced, are left in $OUT. The last line has the counts.
. ./jobs-on-host.sh
vmm="$1" rounds="$2" seconds="$3" clones="$4" cpus="$5" moments="$6" cmdline="console=ttyS0 panic=-1 $7"
loops=2 patience=60 memory=256
work="$PWD/soak"
trace=/sys/kernel/tracing
mkdir -p "$work"

die() {
  echo "restore-soak: $*" >&2
  exit 1
}

# Nothing is left traced, either.
cleanup() {
  kill_jobs
  for event in kvm_exit kvm_inj_exception; do echo 0 >"$trace/events/kvm/$event/enable"; done 2>/dev/null
  echo 0 2>/dev/null >"$trace/events/kvm/kvm_exit/filter"
}
trap cleanup EXIT

# KVM's own record of the guests' shutdowns (triple faults) and of the exceptions before them.
start_trace() {
  mount -t tracefs tracefs "$trace" 2>/dev/null
  [ -d "$trace/events/kvm" ] || return 0
  echo 'exit_reason == 0x7f && isa == 2 || exit_reason == 2 && isa == 1' >"$trace/events/kvm/kvm_exit/filter"
  echo 1 >"$trace/events/kvm/kvm_exit/enable"
  echo 1 >"$trace/events/kvm/kvm_inj_exception/enable"
}

# Two reports of guest_state, the last of which has more of everything than the first, and no error.
moved_after() { # FILE SIZE
  tail -c "+$(($2 + 1))" "$1" 2>/dev/null | awk '
    /^state .*end/ {
      for (i = 2; i < NF; i += 2) {
        if (!reports) first[$i] = $(i + 1)
        last[$i] = $(i + 1)
      }
      reports++
    }
    END {
      if (reports < 2) exit 1
      for (name in first) if (name == "errors" ? last[name] != 0 : last[name] <= first[name]) exit 1
    }'
}

# Each load loop has said something after the first SIZE bytes.
beats_after() { # FILE SIZE
  [ "$moments" = off ] || { moved_after "$1" "$2"; return; }
  loop=1
  while [ "$loop" -le "$loops" ]; do
    tail -c "+$(($2 + 1))" "$1" 2>/dev/null | grep -q "^beat $loop " || return 1
    loop=$((loop + 1))
  done
}

# QEMU maps its memory as clonevm does: the source shares it with a file, and each clone has a private copy-on-write view of that file, so
# that nothing is copied at a restore (x-ignore-shared). Its monitor reads a fifo.
qemu_start() { # FOLDER SHARE [ARGUMENT]...
  ram="$work/ram"
  [ "$moments$2" = onon ] || [ "$moments" = off ] || ram="$work/ram.snapshot"
  folder="$1"
  share="$2"
  shift 2
  mkfifo "$folder/monitor.in"
  # Opened for both ends, so that QEMU never sees its end.
  ./qemu/qemu -accel kvm -machine microvm,acpi=on,pit=off,pic=off,rtc=on,memory-backend=ram -cpu host -smp "$cpus" \
    -object "memory-backend-file,id=ram,size=${memory}M,mem-path=$ram,share=$share" -m "$memory" -nodefaults -display none \
    -no-reboot -kernel vmlinuz -initrd guest.img -append "$cmdline" -serial "file:$folder/console" -monitor stdio "$@" \
    <>"$folder/monitor.in" >>"$folder/monitor.out" 2>"$folder/log" &
  echo $! >"$folder/pid"
  echo "migrate_set_capability x-ignore-shared on" >"$folder/monitor.in"
}
qemu_migrated() { echo "info migrate" >"$work/source/monitor.in" && grep -qi 'status.*completed' "$work/source/monitor.out"; }

boot_qemu() {
  qemu_start "$work/source" on
  until_ 180 beats_after "$work/source/console" 0 || die "no load in the source: $(tail -3 "$work/source/console" "$work/source/log")"
}
# Not stopped first: QEMU would restore it stopped.
snapshot_qemu() {
  rm -f "$work/snapshot"
  : >"$work/source/monitor.out"
  echo "migrate file:$work/snapshot" >"$work/source/monitor.in"
  until_ 120 qemu_migrated || die "QEMU takes no snapshot: $(tail -c 600 "$work/source/monitor.out")"
  # One that goes on, when its clone is done with, changes its memory.
  if [ "$moments" = on ]; then cp "$work/ram" "$work/ram.snapshot"; else kill -KILL "$(cat "$work/source/pid")"; fi
}
restore_qemu() {
  clone=1
  while [ "$clone" -le "$clones" ]; do
    mkdir -p "$work/run/$clone"
    qemu_start "$work/run/$clone" off -incoming defer
    echo "migrate_incoming file:$work/snapshot" >"$work/run/$clone/monitor.in"
    clone=$((clone + 1))
  done
}
console_qemu() { echo "$work/run/$1/console"; }
why_qemu() { # why the clone is not running; fails if it is
  kill -0 "$(cat "$work/run/$1/pid")" 2>/dev/null && return 1
  echo "ended: $(tail -1 "$work/run/$1/log")"
}
stop_qemu() {
  for pid in "$work"/run/*/pid; do
    kill -KILL "$(cat "$pid")" 2>/dev/null
    wait "$(cat "$pid")"
  done
  [ "$moments" = off ] || echo cont >"$work/source/monitor.in"
}

boot_clonevm() {
  ./clonevm run --kernel vmlinuz --initrd guest.img --cmdline "$cmdline" --mem "${memory}M" --cpus "$cpus" \
    --vsock "cid=3,path=$work/source/vsock" --api "$work/source/api" --serial "$work/source/console" 2>"$work/source/log" &
  until_ "${BOOT:-180}" beats_after "$work/source/console" 0 || die "no load in the source: $(tail -3 "$work/source/console" "$work/source/log")"
}
snapshot_clonevm() {
  rm -rf "$work/snapshot"
  then=--stop
  [ "$moments" = off ] || then=--resume
  ./clonevm snapshot --api "$work/source/api" --out "$work/snapshot" "$then" >/dev/null || die "no snapshot"
  [ "$moments" = off ] || ./clonevm pause --api "$work/source/api" >/dev/null || die "the source is not paused"
}
restore_clonevm() {
  ./clonevm restore "$work/snapshot" --count "$clones" --run-dir "$work/run" --wait running --timeout 120 --json \
    >"$work/restore.json" 2>"$work/restore.log" &
  supervisor=$!
}
console_clonevm() { echo "$work/run/$1/serial.log"; }
why_clonevm() {
  kill -0 "$supervisor" 2>/dev/null || [ -f "$work/run/$1/clone.json" ] || {
    echo "no clone: $(tail -1 "$work/restore.log")"
    return 0
  }
  grep -q '"state":"ended"\|"state":"failed"' "$work/run/$1/clone.json" 2>/dev/null || return 1
  sed -n 's/.*"reason":"\([^"]*\)".*/ended: \1/p' "$work/run/$1/clone.json"
}
stop_clonevm() {
  kill -TERM "$supervisor" 2>/dev/null
  wait "$supervisor"
  [ "$moments" = off ] || ./clonevm resume --api "$work/source/api" >/dev/null || die "the source does not go on"
}

mkdir -p "$work/source"
start_trace
"boot_$vmm"
if [ "$moments" = off ]; then
  "snapshot_$vmm"
  wait
fi
restored=0 bad=0 round=1
end=$(($(date +%s) + seconds))
while [ "$round" -le "$rounds" ] && [ "$(date +%s)" -lt "$end" ]; do
  rm -rf "$work/run"
  mkdir "$work/run"
  if [ "$moments" = on ]; then
    usleep $((RANDOM * 15))
    "snapshot_$vmm"
  fi
  [ "$vmm" = qemu ] || rmdir "$work/run"
  "restore_$vmm"
  # All of the round run side by side for as long as the slowest needs to be heard.
  clone=1
  while [ "$clone" -le "$clones" ]; do
    console="$("console_$vmm" "$clone")"
    settled() { why="$("why_$vmm" "$clone")" || beats_after "$console" 0; }
    why=""
    if ! until_ "$patience" settled; then
      found="$(grep -o 'errors [1-9].* end' "$console" | tail -n 1)"
      [ -z "$found" ] || why="guest_state found $found"
      [ -n "$found" ] || why="not heard in $patience s; $(tail -n 2 "$work/run/$clone/log" "$console" 2>&1 | tail -c 400)"
    fi
    eval "why_$clone=\$why"
    clone=$((clone + 1))
  done
  sleep 2
  clone=1
  while [ "$clone" -le "$clones" ]; do
    restored=$((restored + 1))
    eval "why=\$why_$clone"
    [ -n "$why" ] || why="$("why_$vmm" "$clone")"
    if [ -n "$why" ]; then
      bad=$((bad + 1))
      echo "round $round, clone $clone: $why"
      cp "$("console_$vmm" "$clone")" "$OUT/$vmm-$round-$clone.console" 2>/dev/null
      grep -v '^#' "$trace/trace" >"$OUT/$vmm-$round-$clone.trace" 2>/dev/null
      grep "reason shutdown\|TRIPLE" "$trace/trace" 2>/dev/null | tail -4
    fi
    clone=$((clone + 1))
  done
  "stop_$vmm"
  echo "round $round: $bad of $restored so far"
  round=$((round + 1))
done
echo "restore-soak: $vmm: $bad of $restored restores did not stay healthy ($clones side by side, $cpus vCPUs)"
[ "$bad" -eq 0 ]
