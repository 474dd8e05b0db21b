// The calls of the control socket (docs/protocols/api.md); `snapshot` and `fork` are in
// session_snapshot.cc.
#include <unistd.h>

#include <bit>

#include "clonesafe/version.h"
#include "vmm_device/machine/metrics.h"
#include "vmm_device/machine/session_impl.h"
#include "vmm_device/machine/session_json.h"

namespace clonesafe {
namespace json = boost::json;

void Session::Impl::handle_call(ApiRequest request, ApiServer::Reply reply) {
  auto call = text_member(request.body, "call", "");
  if (!call) {
    reply(api_failure(call.error().message()), {});
  } else if (*call == "status") {
    reply(status(), {});
  } else if (*call == "metrics") {
    json::object answer = api_done();
    answer["text"] = to_prometheus(metrics());
    reply(answer, {});
  } else if (*call == "stop") {
    reply(api_done(), [this] { finish(SessionEnd{.kind = SessionEnd::Kind::kStopped}); });
  } else if (snapshot_in_progress_) {
    reply(api_failure("a snapshot is being taken"), {});
  } else if (*call == "pause") {
    pause(reply);
  } else if (*call == "resume") {
    resume(reply);
  } else if (*call == "snapshot") {
    snapshot(std::move(request), std::move(reply));
  } else if (*call == "fork") {
    fork(request, std::move(reply));
  } else {
    reply(api_failure("unknown call; known: status, metrics, pause, resume, stop, snapshot, fork"),
          {});
  }
}

json::object Session::Impl::status() const {
  const GenerationDevices& generation = machine_->generation();
  json::object result = api_done();
  result["version"] = kApiVersion;
  if (options_.jail != nullptr)
    result["jail"] = json::object{{"lacks", json::array(jail_lacks_.begin(), jail_lacks_.end())}};
  else
    result["jail"] = nullptr;
  result["pid"] = ::getpid();
  result["state"] = running_ == Running::kRunning && !writer_.busy() ? "running" : "paused";
  if (writer_.busy()) {
    const auto [bytes, total] = writer_.progress();
    result["snapshot"] = json::object{{"done", bytes}, {"total", total}};
  } else {
    result["snapshot"] = nullptr;
  }
  result["cpus"] = machine_->config().cpus;
  result["memory"] = machine_->config().memory;
  result["kind"] = std::string(name_of(generation.kind()));
  result["generation"] = hex(generation.generation());
  result["reseed_epoch"] = hex(generation.reseed_epoch());
  result["vm_generation_id"] = to_guid(generation.vm_generation_id());
  result["restore_id"] = hex(generation.restore_id());
  result["seed_present"] = generation.seed_present();
  result["page_registered"] = generation.registration().has_value();
  if (const std::string why = generation.registration_ended(); !why.empty())
    result["registration_ended"] = why;
  result["secret_pages"] = machine_->secrets().count();
  if (hello_)
    result["agent"] = json::object{{"version", hello_->agent}, {"kernel", hello_->kernel}};
  else
    result["agent"] = nullptr;
  json::array nets;
  for (const auto& net : machine_->nets())
    nets.push_back(json::object{{"tap", net->tap()}, {"mac", network::to_string(net->mac())}});
  result["nets"] = std::move(nets);
  if (const virtio::BalloonDevice* const balloon = machine_->balloon()) {
    result["balloon"] = json::object{{"driver", balloon->active()},
                                     {"reporting", balloon->reporting()},
                                     {"target", balloon->target()},
                                     {"pages", balloon->pages()}};
  } else {
    result["balloon"] = nullptr;
  }
  if (options_.hold.anything()) {
    const Held held = this->held();
    result["hold"] = json::object{{"held", holds_},
                                  {"packets", held.frames_parked},
                                  {"dropped", held.frames_lost},
                                  {"stale", held.frames_stale},
                                  {"streams", held.streams},
                                  {"flushes", held.flushes}};
  } else {
    result["hold"] = nullptr;
  }
  if (report_) {
    result["safe"] = json::object{{"state", report_->state},
                                  {"us", safe_us_ > running_us_ ? safe_us_ - running_us_ : 0},
                                  {"repairs", repairs_of(report_->repairs)}};
  } else {
    result["safe"] = nullptr;
  }
  return result;
}

Metrics Session::Impl::metrics() const {
  const auto kind = machine_->generation().kind();
  Metrics metrics{.version = CLONESAFE_VERSION,
                  .kind = std::string(name_of(kind)),
                  .running = running_ == Running::kRunning && !writer_.busy(),
                  .cpus = machine_->config().cpus,
                  .memory_bytes = machine_->config().memory,
                  .restored = restored_,
                  .exits = machine_->exits(),
                  .snapshots = snapshots_,
                  .snapshots_failed = snapshots_failed_,
                  .snapshot_bytes = snapshot_bytes_,
                  .forks = forks_,
                  .pause_us = pause_us_,
                  .agent_connected = agent_connected_};
  if (machine_->vsock() != nullptr) {
    const virtio::VsockCounts counts = machine_->vsock()->counts();
    metrics.vsock = {.streams = counts.streams, .refused = counts.refused, .held = counts.held};
  }
  for (const auto& disk : machine_->disks()) {
    const virtio::BlockCounts counts = disk->counts();
    metrics.disks.push_back({.reads = counts.reads,
                             .writes = counts.writes,
                             .flushes = counts.flushes,
                             .discards = counts.discards,
                             .read_bytes = counts.read_bytes,
                             .written_bytes = counts.written_bytes,
                             .errors = counts.errors});
  }
  metrics.network_held = holds_ && options_.hold.network;
  for (const auto& net : machine_->nets()) {
    const virtio::NetCounts counts = net->counts();
    metrics.nets.push_back({.received_frames = counts.received_frames,
                            .received_bytes = counts.received_bytes,
                            .received_lost = counts.received_lost,
                            .sent_frames = counts.sent_frames,
                            .sent_bytes = counts.sent_bytes,
                            .sent_lost = counts.sent_lost,
                            .parents = counts.parents,
                            .parked = counts.parked,
                            .held_lost = counts.held_lost,
                            .held_stale = counts.held_stale});
  }
  if (virtio::BalloonDevice* const balloon = machine_->balloon()) {
    const virtio::BalloonCounts& counts = balloon->counts();
    const virtio::BalloonStatistics& told = balloon->statistics();
    metrics.balloon = BalloonFigures{.pages = balloon->pages(),
                                     .inflated = counts.inflated,
                                     .reported = counts.reported,
                                     .discarded = counts.discarded,
                                     .refused = counts.refused,
                                     .free = told.free,
                                     .available = told.available,
                                     .total = told.total,
                                     .caches = told.caches};
    // For the next call: nobody waits for a guest here.
    balloon->ask_statistics();
  }
  if (report_) {
    metrics.agent_state = report_->state;
    metrics.safe_us = safe_us_ > running_us_ ? safe_us_ - running_us_ : 0;
  }
  add_resource_use(metrics);
  return metrics;
}

// That the changes since the snapshot with this digest are known, so that one can lie over it.
Status Session::Impl::check_base(const std::string& digest) const {
  if (!machine_->tracks_dirty())
    return fail("no incremental snapshot: the machine was started without --track-dirty");
  if (!base_) return fail("no incremental snapshot: there is no whole one of this machine yet");
  if (digest != hex(*base_))
    return fail("no incremental snapshot: the digest of this machine's last snapshot is " +
                hex(*base_));
  return {};
}

void Session::Impl::pause(const ApiServer::Reply& reply) {
  if (running_ == Running::kRunning) machine_->pause();
  running_ = Running::kPaused;
  reply(api_done(), {});
}

void Session::Impl::resume(const ApiServer::Reply& reply) {
  if (running_ == Running::kPaused) {
    if (auto resumed = machine_->resume(); !resumed) {
      reply(api_failure(resumed.error().message()), {});
      return;
    }
  }
  running_ = Running::kRunning;
  reply(api_done(), {});
}

// The source after its snapshot. If it was taken there may be clones: the source's generators must
// not go on as theirs do. A machine that was paused before stays so, with the news in its pages.
Status Session::Impl::go_on(bool was_taken, const std::string& announced) {
  if (was_taken) {
    if (auto told = machine_->announce_resume(); !told) return told;
    report_.reset();
    if (agent_) {
      const GenerationDevices& generation = machine_->generation();
      agent_->resumed(std::bit_cast<agent_channel::RestoreId>(generation.restore_id()),
                      generation.kind());
    }
    limit_seed();
  } else if (!announced.empty()) {
    agent_->abort(announced);
  }
  if (running_ == Running::kPaused) return {};
  return machine_->resume();
}

}  // namespace clonesafe
