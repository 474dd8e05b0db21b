#!/bin/bash
# The agent as a service: what it tells the service manager, and what systemd says of its unit.
# usage: service_test.sh CLONESAFED UNIT DROP-IN
set -euo pipefail

clonesafed="$1" unit="$2" drop_in="$3"
scratch="$(mktemp -d)"
agent=""
# shellcheck disable=SC2329
tidy_up() {
  [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
  rm -rf "$scratch"
}
trap tidy_up EXIT
die() {
  echo "service_test: $*" >&2
  cat "$scratch/log" >&2 2>/dev/null || true
  exit 1
}

cat >"$scratch/agent.toml" <<TOML
page = "$scratch/run/generation"
control_socket = "$scratch/run/agent.sock"
[sources]
memory = ""
iomem = ""
acpi_tables = ""
vmclock_device = ""
kmsg = ""
[host]
enabled = false
[identity]
metadata_file = ""
machine_id = ""
dbus_machine_id = ""
boot_id = ""
hostname = ""
[metrics]
socket = "$scratch/run/metrics.sock"
TOML
# The manager: prints each datagram, and at READY=1 what is there of the control socket.
python3 - "$scratch" >"$scratch/told" <<'PYTHON' &
import os, socket, sys
scratch = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(scratch + "/notify.new")
manager.settimeout(30)
os.rename(scratch + "/notify.new", scratch + "/notify")
while True:
    text = manager.recv(4096).decode()
    print(text.replace("\n", " "), "listens" if os.path.exists(scratch + "/run/agent.sock") else "", flush=True)
    if "STOPPING=1" in text:
        break
PYTHON
manager=$!
until [ -S "$scratch/notify" ]; do sleep 0.05; done
NOTIFY_SOCKET="$scratch/notify" "$clonesafed" --config "$scratch/agent.toml" 2>"$scratch/log" &
agent=$!
for _ in $(seq 200); do
  if grep -q READY "$scratch/told"; then break; fi
  sleep 0.05
done
kill "$agent" || die "the agent has ended"
wait "$agent" || die "the agent failed"
agent=""
wait "$manager" || die "the service manager did not hear of the end"
grep -Eq '^READY=1 STATUS=(safe|degraded) \(boot, 0 restores\), tier lagging listens$' "$scratch/told" ||
  die "the service manager heard: $(cat "$scratch/told")"

if ! command -v systemd-analyze >/dev/null; then
  echo "service_test: notified; no systemd-analyze here to check the unit"
  exit 0
fi
# The unit's program has to be where the unit says.
root="$scratch/root"
mkdir -p "$root/usr/sbin" "$root/etc/systemd/system"
install -m 755 "$clonesafed" "$root/usr/sbin/clonesafed"
cp "$unit" "$root/etc/systemd/system/clonesafed.service"
said="$(systemd-analyze verify --root="$root" --man=no --recursive-errors=no clonesafed.service 2>&1)" || die "systemd-analyze verify: $said"
[ -z "$said" ] || die "systemd-analyze verify: $said"
# The drop-in for programs in a root of their own.
mkdir -p "$root/etc/systemd/system/app.service.d"
printf '[Service]\nExecStart=/usr/sbin/clonesafed\n' >"$root/etc/systemd/system/app.service"
cp "$drop_in" "$root/etc/systemd/system/app.service.d/clonesafe.conf"
said="$(systemd-analyze verify --root="$root" --man=no --recursive-errors=no app.service 2>&1)" || die "systemd-analyze verify: $said"
[ -z "$said" ] || die "systemd-analyze verify: $said"
# What the agent must be able to do (mount where all see it, /dev/mem, the host's name) costs it most of these points.
systemd-analyze security --offline=true --threshold=58 --no-pager "$unit" >"$scratch/exposure" 2>&1 ||
  die "systemd-analyze security: $(tail -1 "$scratch/exposure")"
echo "service_test: $(tail -1 "$scratch/exposure")"
