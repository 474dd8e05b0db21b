#include "vmm_device/machine/metrics.h"

#include <sys/resource.h>

#include <string_view>

#include "libclonesafe/base/prometheus.h"

namespace clonesafe {
namespace {

using Text = PrometheusText;

std::string label(std::string_view name, std::string_view value) {
  return Text::label(name, value);
}

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

void put_machine(Text& text, const Metrics& metrics) {
  text.family("machine_info", "gauge", "Version of clonevm, and why the machine was made.");
  text.sample(1, label("version", metrics.version) + "," + label("kind", metrics.kind));
  text.family("running", "gauge", "Whether the vCPUs run; 0 while the machine is paused.");
  text.sample(metrics.running ? 1 : 0);
  text.family("cpus", "gauge", "Virtual CPUs.");
  text.sample(metrics.cpus);
  text.family("memory_bytes", "gauge", "Memory of the guest.");
  text.sample(metrics.memory_bytes);
  text.family("restores_total", "counter", "Restores that this process made: 1 in a clone.");
  text.sample(metrics.restored ? 1 : 0);
  text.family("exits_total", "counter", "Exits of the guest to this process, by reason.");
  text.sample(metrics.exits.port, label("reason", "port"));
  text.sample(metrics.exits.mmio, label("reason", "mmio"));
  text.sample(metrics.exits.interrupted, label("reason", "interrupted"));
  text.sample(metrics.exits.other, label("reason", "other"));
}

void put_snapshots(Text& text, const Metrics& metrics) {
  text.family("snapshots_total", "counter", "Snapshots of this machine, by result.");
  text.sample(metrics.snapshots, label("result", "written"));
  text.sample(metrics.snapshots_failed, label("result", "failed"));
  text.family("snapshot_bytes_total", "counter", "Bytes written to snapshots.");
  text.sample(metrics.snapshot_bytes);
  text.family("forks_total", "counter", "Clones forked from this running machine.");
  text.sample(metrics.forks);
  if (!metrics.pause_us) return;
  text.family("snapshot_pause_seconds", "gauge", "How long the last snapshot stopped the guest.");
  text.seconds(*metrics.pause_us);
}

// A family has one sample a device, by its number.
template <typename Figures>
auto putter(Text& text, std::string_view device, const std::vector<Figures>& all) {
  return
      [&text, device, &all](const char* name, const char* help, std::uint64_t Figures::* figure) {
        text.family(name, "counter", help);
        for (std::size_t index = 0; index < all.size(); ++index)
          text.sample(all[index].*figure, label(device, std::to_string(index)));
      };
}

void put_vsock(Text& text, const Metrics& metrics) {
  if (!metrics.vsock) return;
  text.family("vsock_streams", "gauge", "Streams by vsock.");
  text.sample(metrics.vsock->streams);
  text.family("vsock_refused_total", "counter",
              "Streams that the guest asked for: nobody listens, or there are too many.");
  text.sample(metrics.vsock->refused);
  text.family("vsock_held_total", "counter", "Streams that waited for ports that are held.");
  text.sample(metrics.vsock->held);
}

void put_disks(Text& text, const Metrics& metrics) {
  if (metrics.disks.empty()) return;
  const auto put = putter(text, "disk", metrics.disks);
  put("disk_reads_total", "Reads by the guest.", &DiskFigures::reads);
  put("disk_writes_total", "Writes by the guest.", &DiskFigures::writes);
  put("disk_flushes_total", "Flushes by the guest.", &DiskFigures::flushes);
  put("disk_discards_total", "Discards and writes of zeroes.", &DiskFigures::discards);
  put("disk_read_bytes_total", "Bytes that the guest read.", &DiskFigures::read_bytes);
  put("disk_written_bytes_total", "Bytes that the guest wrote.", &DiskFigures::written_bytes);
  put("disk_errors_total", "Errors of the host's files, which the guest saw as I/O errors.",
      &DiskFigures::errors);
}

void put_nets(Text& text, const Metrics& metrics) {
  if (metrics.nets.empty()) return;
  text.family("network_held", "gauge", "Whether the network waits for the agent's report.");
  text.sample(metrics.network_held ? 1 : 0);
  const auto put = putter(text, "net", metrics.nets);
  put("net_received_frames_total", "Frames that the guest received.", &NetFigures::received_frames);
  put("net_received_bytes_total", "Bytes of these frames.", &NetFigures::received_bytes);
  put("net_received_lost_total", "Frames that had no room in the guest's buffers.",
      &NetFigures::received_lost);
  put("net_sent_frames_total", "Frames that the guest sent.", &NetFigures::sent_frames);
  put("net_sent_bytes_total", "Bytes of these frames.", &NetFigures::sent_bytes);
  put("net_sent_lost_total", "Frames that were malformed, or that the tap refused.",
      &NetFigures::sent_lost);
  put("net_parents_frames_total", "Frames that a clone's parent had queued: not sent.",
      &NetFigures::parents);
  put("net_held_frames_total", "Frames of the guest that were parked while it was held.",
      &NetFigures::parked);
  put("net_held_dropped_frames_total", "Frames that were lost while the network was held.",
      &NetFigures::held_lost);
  put("net_held_stale_frames_total",
      "Frames of TCP connections from before the hold that the guest sent during it: not sent.",
      &NetFigures::held_stale);
}

void put_balloon(Text& text, const Metrics& metrics) {
  if (!metrics.balloon) return;
  constexpr std::uint64_t kBalloonPage = 4096;
  const BalloonFigures& balloon = *metrics.balloon;
  text.family("balloon_bytes", "gauge", "Memory of the guest that is in the balloon.");
  text.sample(balloon.pages * kBalloonPage);
  text.family("balloon_taken_bytes_total", "counter", "Memory that the guest gave, by how.");
  text.sample(balloon.inflated * kBalloonPage, label("by", "inflate"));
  text.sample(balloon.reported * kBalloonPage, label("by", "report"));
  text.family("balloon_discarded_bytes_total", "counter", "Memory of that which was discarded.");
  text.sample(balloon.discarded * kBalloonPage);
  text.family("balloon_refused_pages_total", "counter", "Pages that are none of the guest's.");
  text.sample(balloon.refused);
  if (!balloon.total) return;
  text.family("guest_memory_bytes", "gauge", "What the guest told last of its memory.");
  const auto put = [&](const char* kind, const std::optional<std::uint64_t>& bytes) {
    if (bytes) text.sample(*bytes, label("kind", kind));
  };
  put("total", balloon.total);
  put("available", balloon.available);
  put("free", balloon.free);
  put("caches", balloon.caches);
}

void put_agent(Text& text, const Metrics& metrics) {
  text.family("agent_connected", "gauge", "Whether the guest's agent has connected.");
  text.sample(metrics.agent_connected ? 1 : 0);
  text.family("agent_state", "gauge", "What the agent reported for the present restore.");
  for (const char* state : {"none", "safe", "degraded"})
    text.sample(metrics.agent_state == state ? 1 : 0, label("state", state));
  if (!metrics.safe_us) return;
  text.family("safe_seconds", "gauge", "From the first run to the agent's report.");
  text.seconds(*metrics.safe_us);
}

void put_process(Text& text, const Metrics& metrics) {
  text.family("page_faults_total", "counter", "Page faults of this process.");
  text.sample(metrics.minor_faults, label("type", "minor"));
  text.sample(metrics.major_faults, label("type", "major"));
  text.family("cpu_seconds_total", "counter", "CPU time of this process, its vCPUs' included.");
  text.seconds(metrics.user_us, label("mode", "user"));
  text.seconds(metrics.system_us, label("mode", "system"));
}

}  // namespace

void add_resource_use(Metrics& metrics) {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);  // can't fail with these arguments
  metrics.minor_faults = static_cast<std::uint64_t>(use.ru_minflt);
  metrics.major_faults = static_cast<std::uint64_t>(use.ru_majflt);
  metrics.user_us = microseconds(use.ru_utime);
  metrics.system_us = microseconds(use.ru_stime);
}

std::string to_prometheus(const Metrics& metrics) {
  Text text("clonevm_");
  put_machine(text, metrics);
  put_snapshots(text, metrics);
  put_vsock(text, metrics);
  put_disks(text, metrics);
  put_nets(text, metrics);
  put_balloon(text, metrics);
  put_agent(text, metrics);
  put_process(text, metrics);
  return text.take();
}

}  // namespace clonesafe
