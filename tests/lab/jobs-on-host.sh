# Sourced by scripts that keep machines running on a host with KVM, which may be a real one: nothing is left behind.

kill_jobs() {
  for job in $(jobs -p); do kill -KILL "$job" 2>/dev/null; done
}

# until_ SECONDS COMMAND...: false if the command fails all that time.
until_() {
  until_time=$(($(date +%s) + $1))
  shift
  while ! "$@"; do
    [ "$(date +%s)" -lt "$until_time" ] || return 1
    sleep 0.2
  done
}
