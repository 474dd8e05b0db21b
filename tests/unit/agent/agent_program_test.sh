#!/bin/bash
# clonesafed and clonesafectl as they are, with a file in place of the restore page: restores, hooks, watchers, announced snapshots.
# usage: agent_program_test.sh CLONESAFED CLONESAFECTL WATCHER-PROGRAM
set -euo pipefail

clonesafed="$1" clonesafectl="$2" watcher_program="$3" here="$(dirname "$(readlink -f "$0")")"
[ "$(id -u)" = 0 ] || {
  echo "SKIPPED: clonesafed reseeds the kernel's generator, which only root may"
  exit 77
}
scratch="$(mktemp -d)"
finish() {
  kill $(jobs -p) 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap finish EXIT

die() {
  echo "FAILED: $*" >&2
  sed 's/^/  agent: /' "$scratch/agent.log" >&2
  exit 1
}
restore() { python3 "$here/restore_file.py" "$scratch/restore" "$@"; }
ctl() { "$clonesafectl" --socket "$scratch/agent.sock" --page "$scratch/generation" "$@"; }
# Until a command succeeds, for a minute at most.
until_() {
  local end=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "never: $*"
    sleep 0.02
  done
}
# Without an agent `status` tells of the page, which is of the generation before.
state_is() { ctl status --json | grep -q "\"state\":\"$1\".*\"generation\":\"$2\""; }
ran_is() { [ "$(cat "$scratch/ran")" = "$1" ]; }

restore boot 10 1
mkdir -p "$scratch/hooks.d/before-snapshot" "$scratch/hooks.d/after-restore"
chmod -R go-w "$scratch/hooks.d"
cat >"$scratch/agent.toml" <<END
page = "$scratch/generation"
control_socket = "$scratch/agent.sock"
[sources]
poll_ms = 10
memory = ""
iomem = ""
acpi_tables = ""
vmclock_device = ""
kmsg = ""
restore_file = "$scratch/restore"
[host]
enabled = false
[clock]
step = false # it is this machine's
[identity]
metadata_file = "$scratch/metadata"
machine_id = "$scratch/machine-id"
dbus_machine_id = ""
boot_id = ""
hostname = ""
[snapshot]
drop_caches = false # they are this machine's
[hooks]
folder = "$scratch/hooks.d"
END
grep -q '^\[metrics\]' "$here/../../../guest_agent/systemd/agent.toml" && printf '[metrics]\nsocket = ""\n' >>"$scratch/agent.toml"
: >"$scratch/ran"
hook() { # FOLDER NAME SCRIPT
  printf '#!/bin/sh\n%s\n' "$3" >"$scratch/hooks.d/$1/$2"
  chmod 755 "$scratch/hooks.d/$1/$2"
}
hook after-restore 10-first "echo after \$CLONESAFE_CAUSE \$CLONESAFE_GENERATION >>$scratch/ran"
hook before-snapshot 10-first "echo before \$CLONESAFE_CAUSE >>$scratch/ran"

"$clonesafed" --config "$scratch/agent.toml" 2>"$scratch/agent.log" &
agent=$!
until_ ctl wait --safe --timeout 1

# A hook that somebody else could have written is no hook, and the doctor says so.
hook after-restore 20-loose "echo loose >>$scratch/ran"
chmod 777 "$scratch/hooks.d/after-restore/20-loose"
ctl doctor >"$scratch/doctor" && die "the doctor finds nothing bad"
grep -q '20-loose does not run' "$scratch/doctor" || die "the doctor: $(cat "$scratch/doctor")"
rm "$scratch/hooks.d/after-restore/20-loose"
ctl doctor | grep -q 'does not run' && die "the doctor still finds a hook"

# A clone: its hook runs, then it is safe.
ctl events --json --count 1 >"$scratch/events" &
watcher=$!
until_ sh -c "'$clonesafectl' --socket '$scratch/agent.sock' hooks | grep -q clonesafectl"
restore clone 32 2
wait $watcher
grep -q '"event":"restored".*"cause":"clone","generation":"20"' "$scratch/events" || die "events: $(cat "$scratch/events")"
until_ state_is safe 20
ran_is "after clone 20" || die "hooks: $(cat "$scratch/ran")"

# Announced from inside, and not taken.
: >"$scratch/ran"
ctl prepare --deadline 30 >"$scratch/prepared" || die "prepare: $(cat "$scratch/prepared")"
grep -q "hook 10-first *ok" "$scratch/prepared" || die "prepare: $(cat "$scratch/prepared")"
ctl prepare >/dev/null 2>"$scratch/err" && die "prepared twice"
grep -q "is being prepared" "$scratch/err" || die "twice: $(cat "$scratch/err")"
ctl resume
until_ ran_is "before snapshot
after undone 20"
ctl resume 2>/dev/null && die "resumed twice"

# Announced and taken; the agent is killed in between, and the next one goes on.
until_ ctl prepare --deadline 30
kill -KILL $agent
wait $agent 2>/dev/null || true
: >"$scratch/ran"
restore clone 48 3
"$clonesafed" --config "$scratch/agent.toml" 2>>"$scratch/agent.log" &
agent=$!
until_ state_is safe 30
ran_is "after clone 30" || die "after the death: $(cat "$scratch/ran")"

# A program with libclonesafe's hooks is waited for, before a snapshot and after a restore.
CLONESAFE_AGENT_SOCKET="$scratch/agent.sock" CLONESAFE_GENERATION_PAGE="$scratch/generation" "$watcher_program" >>"$scratch/watched" &
watcher=$!
watched_is() { [ "$(cat "$scratch/watched")" = "$1" ]; }
until_ grep -q "state 3" "$scratch/watched"
: >"$scratch/watched"
ctl prepare --deadline 30 >"$scratch/prepared" || die "prepare: $(cat "$scratch/prepared")"
grep -q "watcher hooks_watcher_.* ok" "$scratch/prepared" || die "prepare: $(cat "$scratch/prepared")"
watched_is "before" || die "watched: $(cat "$scratch/watched")"
restore clone 49 11
until_ state_is safe 31
watched_is "before
after kind 3 from 30 to 31" || die "watched: $(cat "$scratch/watched")"
# Not taken; and a resume keeps the generation.
until_ ctl prepare --deadline 30
ctl resume
until_ grep -q "after kind 6 from 31 to 31" "$scratch/watched"
# It finds the next agent, and what fails in it is the machine's failure.
: >"$scratch/watched"
kill -KILL $agent
wait $agent 2>/dev/null || true
until_ grep -q "state 1" "$scratch/watched"
"$clonesafed" --config "$scratch/agent.toml" 2>>"$scratch/agent.log" &
until_ grep -q "state 3" "$scratch/watched"
restore clone 50 12
until_ state_is degraded 32
ctl status | grep -q "watcher hooks_watcher_.*hook renew: no lease" || die "status: $(ctl status)"
kill $watcher

# A hook that fails is the last word.
hook after-restore 20-second "echo no disk >&2; exit 9"
restore clone 64 4
until_ state_is degraded 40
ctl status | grep -q "hook 20-second.*exit code 9: no disk" || die "status: $(ctl status)"
ctl wait --safe --timeout 5 2>/dev/null && die "called safe"

# So is a folder that others may write, and nothing in it runs.
: >"$scratch/ran"
chmod o+w "$scratch/hooks.d/after-restore"
ctl hooks >/dev/null 2>&1 && die "trusted"
restore clone 80 5
until_ sh -c "'$clonesafectl' --socket '$scratch/agent.sock' status | grep -q 'others than its owner may write it'"
ran_is "" || die "ran: $(cat "$scratch/ran")"
echo "passed"
