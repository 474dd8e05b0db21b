// Private to session.cc and session_calls.cc.
#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SESSION_IMPL_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SESSION_IMPL_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <optional>

#include "vmm_device/agent_channel/agent_channel.h"
#include "vmm_device/machine/api_server.h"
#include "vmm_device/machine/reclaim.h"
#include "vmm_device/machine/serial_input.h"
#include "vmm_device/machine/session.h"
#include "vmm_device/machine/snapshot_writer.h"

namespace clonesafe {

class Session::Impl {
 public:
  explicit Impl(SessionOptions options) : options_(std::move(options)) {}

  MachineHooks machine_hooks();
  Status attach(std::unique_ptr<Machine> machine);
  Result<SessionEnd> run();

  boost::asio::io_context& io() { return io_; }
  Machine& machine() { return *machine_; }
  void set_parent(const snapshot::Digest& digest) {
    parent_ = digest;
    base_ = digest;
    restored_ = true;
  }
  void set_metadata_by_vsock(std::span<const std::byte> document) {
    metadata_by_vsock_.emplace(reinterpret_cast<const char*>(document.data()), document.size());
  }

 private:
  enum class Running { kRunning, kPaused };
  enum class Then { kStop, kResume };
  struct SnapshotCall;

  // session.cc
  Status confine_process();
  void finish(Result<SessionEnd> with);
  void machine_ended(MachineEnd how);
  void watch_stop();
  void start_agent_channel();
  void set_restore();
  void limit_seed();
  Result<std::vector<snapshot::ZeroRange>> secret_ranges();
  void safe(const agent_channel::SafeReport& report);
  void limit_hold();
  void release();
  Held held() const;

  // session_calls.cc
  void handle_call(ApiRequest request, ApiServer::Reply reply);
  boost::json::object status() const;
  Metrics metrics() const;
  void pause(const ApiServer::Reply& reply);
  void resume(const ApiServer::Reply& reply);
  void snapshot(ApiRequest request, ApiServer::Reply reply);
  void prepared(const std::shared_ptr<SnapshotCall>& call,
                Result<agent_channel::Prepared> prepared);
  void reclaim(const std::shared_ptr<SnapshotCall>& call);
  void reclaimed(const std::shared_ptr<SnapshotCall>& call, const Reclaimed& result);
  void take_snapshot(const std::shared_ptr<SnapshotCall>& call);
  Status check_base(const std::string& digest) const;
  void fork(const ApiRequest& request, ApiServer::Reply reply);
  Status read_snapshot_call(SnapshotCall& call, ApiRequest& request) const;
  Status check_disks(const std::string& what) const;
  static Status read_key(SnapshotCall& call, const ApiRequest& request);
  void prepare_and_take(std::shared_ptr<SnapshotCall> call, const boost::json::object& request);
  Status begin(const std::shared_ptr<SnapshotCall>& call);
  void snapshot_written(SnapshotCall& call, const Result<snapshot::Written>& written);
  void forked(SnapshotCall& call, Result<snapshot::Image> image);
  void answer_taken(SnapshotCall& call, boost::json::object result, ApiFiles files);
  void snapshot_failed(SnapshotCall& call, const Error& error);
  bool go_on_or_end(SnapshotCall& call, bool was_taken);
  Status go_on(bool was_taken, const std::string& announced);

  SessionOptions options_;
  boost::asio::io_context io_{1};
  std::optional<Result<SessionEnd>> end_;
  // The machine's vsock device hands streams to the channel: the channel outlives it.
  std::optional<agent_channel::AgentChannel> agent_;
  std::unique_ptr<Machine> machine_;
  std::optional<Reclaim> reclaim_;  // of a machine with a balloon
  std::unique_ptr<ApiServer> api_;
  std::optional<SerialInput> input_;
  std::optional<boost::asio::posix::stream_descriptor> stop_;
  boost::asio::steady_timer seed_limit_{io_};
  boost::asio::steady_timer hold_limit_{io_};
  // Reads the machine's memory: goes first.
  SnapshotWriter writer_{io_};

  std::vector<std::string> jail_lacks_;
  Running running_ = Running::kRunning;
  bool holds_ = options_.hold.anything();
  bool snapshot_in_progress_ = false;
  bool agent_connected_ = false;
  std::optional<agent_channel::Hello> hello_;
  std::optional<agent_channel::SafeReport> report_;  // of the present restore id
  std::uint64_t snapshots_ = 0;
  std::uint64_t forks_ = 0;  // clones, not calls
  std::uint64_t snapshots_failed_ = 0;
  std::uint64_t snapshot_bytes_ = 0;
  std::optional<std::uint64_t> pause_us_;  // of the last snapshot
  std::uint64_t running_us_ = 0;
  std::uint64_t safe_us_ = 0;
  snapshot::Digest parent_{};
  // The snapshot since which dirty pages are counted; none before the first.
  std::optional<snapshot::Digest> base_;
  bool restored_ = false;
  // The operator's document where the restore page is too small for it.
  std::optional<std::string> metadata_by_vsock_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SESSION_IMPL_H_
