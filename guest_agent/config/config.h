// config: the agent's TOML file. Every key has a default, so that no file is needed; a key that is
// not known or has a wrong value is one line that names it and where it stands.
#ifndef CLONESAFE_GUEST_AGENT_CONFIG_CONFIG_H_
#define CLONESAFE_GUEST_AGENT_CONFIG_CONFIG_H_

#include <chrono>
#include <string>
#include <vector>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/host_protocol.h"
#include "guest_agent/core/failure_policy.h"
#include "guest_agent/hooks/http_hooks.h"
#include "guest_agent/sources/discover.h"

namespace clonesafe::agent {

struct Config {
  std::string log_level = "info";
  std::string page_path = CLONESAFE_GENERATION_PAGE_PATH;
  std::string control_socket = "/run/clonesafe/agent.sock";
  // Whose members may announce a snapshot and be waited for, besides root; empty: nobody's.
  std::string control_group = "clonesafe";
  // How often the words are looked at where nothing can wake the agent.
  std::chrono::milliseconds poll_interval{100};
  SourcePaths sources;

  struct Host {
    bool enabled = true;
    unsigned cid = 2;  // VMADDR_CID_HOST
    unsigned port = CLONESAFE_HOST_VSOCK_PORT;
    std::string socket;  // a Unix socket in place of vsock
  } host;

  // Whether the wall clock of a clone is stepped to the host's time; not where something else does.
  bool step_clock = true;

  // Whether interfaces of a clone get the addresses that the operator's document has for them.
  bool set_network = true;

  struct Identity {
    // An empty path leaves the item alone.
    std::string machine_id = "/etc/machine-id";
    std::string dbus_machine_id = "/var/lib/dbus/machine-id";
    std::string boot_id = "/proc/sys/kernel/random/boot_id";
    std::string boot_id_file = "/run/clonesafe/boot_id";  // mounted over boot_id
    // {base}: the name before the first clone; {generation}: 8 hexadecimal digits. Empty: leave.
    std::string hostname = "{base}-{generation}";
    // The operator's document for this machine.
    std::string metadata_file = "/run/clonesafe/metadata";
  } identity;

  // What becomes of a restored machine that can't be repaired.
  FailurePolicy on_failure = FailurePolicy::kContinue;

  struct Snapshot {
    // Frozen from `prepare` until repaired. Never the agent's own, nor what it waits for.
    std::vector<std::string> freeze;
    // Write what is cached to disk and drop it, so that the snapshot need not hold it.
    bool drop_caches = true;
    // How long the kernel's own reclaim of idle pages (DAMON) runs; 0: not.
    std::chrono::milliseconds reclaim{0};
  } snapshot;

  struct Hooks {
    // Programs in its folders before-snapshot and after-restore; empty: none.
    std::string folder = "/etc/clonesafe/hooks.d";
    std::chrono::milliseconds each{10'000};
    std::chrono::milliseconds all{60'000};
    std::chrono::milliseconds watchers{5'000};
    std::vector<HttpHook> http;
  } hooks;

  struct Metrics {
    std::string socket = "/run/clonesafe/metrics.sock";  // empty: none
  } metrics;
};

// `name` is how errors call the text ("/etc/clonesafe/agent.toml").
Result<Config> parse_config(std::string_view text, const std::string& name);
Result<Config> load_config(const std::string& path);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONFIG_CONFIG_H_
