#include "vmm_device/machine/session.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/version.h"
#include "vmm_device/machine/session_impl.h"

namespace clonesafe {
namespace asio = boost::asio;
namespace {

// A seed that no agent asks for goes then: long enough for a slow boot, short for a secret.
constexpr std::chrono::seconds kSeedLimit{120};

// What a machine writes beside its memory: a serial log for one.
constexpr std::uint64_t kSmallFiles = std::uint64_t{1} << 30;

std::uint64_t monotonic_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
}

void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // a closed terminal or full disk doesn't stop the guest
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

Result<SerialEnd> open_serial(const std::string& where) {
  SerialEnd end;
  if (where == "none") return end;
  if (where == "stdio") {
    end.output = STDOUT_FILENO;
    end.input = STDIN_FILENO;
    return end;
  }
  end.owned.reset(::open(where.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!end.owned) return fail_errno("serial output " + where);
  end.output = end.owned.get();
  return end;
}

std::string to_string(const SessionEnd& end) {
  std::string text;
  switch (end.kind) {
    case SessionEnd::Kind::kPowerOff:
      text = "powered off";
      break;
    case SessionEnd::Kind::kReset:
      text = "reset";
      break;
    case SessionEnd::Kind::kStopped:
      text = "stopped";
      break;
  }
  return end.detail.empty() ? text : text + " (" + end.detail + ")";
}

MachineHooks Session::Impl::machine_hooks() {
  MachineHooks hooks;
  hooks.serial_output = [fd = options_.serial.output](std::span<const std::byte> bytes) {
    if (fd >= 0) write_all(fd, bytes);
  };
  hooks.vsock_path = options_.vsock_path;
  hooks.disks = std::move(options_.disks);
  hooks.taps = std::move(options_.taps);
  hooks.macs = std::move(options_.macs);
  hooks.hold = options_.hold;
  hooks.track_dirty = options_.track_dirty;
  // These come on a vCPU's thread.
  hooks.vcpus.ended = [this](MachineEnd how) {
    asio::post(io_, [this, how = std::move(how)]() mutable { machine_ended(std::move(how)); });
  };
  if (options_.jail != nullptr) {
    hooks.vcpus.started = [jail = options_.jail](const std::string& vcpu) {
      return jail->confine_thread(jail::Thread::vcpu, vcpu);
    };
    hooks.disk_thread_started = [jail = options_.jail](const std::string& disk) {
      return jail->confine_thread(jail::Thread::disk, disk);
    };
  }
  hooks.vcpus.first_run = [this] {
    asio::post(io_, [this, at = monotonic_us()] {
      running_us_ = at;
      if (options_.events.running) options_.events.running(at);
    });
  };
  hooks.vcpus.first_exit = [this] {
    asio::post(io_, [this, at = monotonic_us()] {
      if (options_.events.first_exit) options_.events.first_exit(at);
    });
  };
  return hooks;
}

Status Session::Impl::attach(std::unique_ptr<Machine> machine) {
  machine_ = std::move(machine);
  if (metadata_by_vsock_ && machine_->vsock() == nullptr)
    return fail(
        std::to_string(metadata_by_vsock_->size()) +
        " bytes of metadata are too many for the restore page, and the machine has no vsock");
  if (machine_->vsock() != nullptr) start_agent_channel();
  if (machine_->balloon() != nullptr) reclaim_.emplace(io_, *machine_->balloon());
  if (options_.api.empty()) return {};
  auto api =
      ApiServer::create(io_, options_.api, [this](ApiRequest request, ApiServer::Reply reply) {
        handle_call(std::move(request), std::move(reply));
      });
  if (!api) return fail(api.error());
  api_ = std::move(*api);
  return {};
}

void Session::Impl::start_agent_channel() {
  agent_channel::AgentCallbacks callbacks;
  callbacks.on_register_page = [this](GuestAddress address, const agent_channel::Nonce& nonce) {
    return machine_->generation().register_page(address, std::bit_cast<PageNonce>(nonce));
  };
  callbacks.on_register_secrets = [this](const std::vector<agent_channel::RegisterPage>& pages) {
    std::vector<SecretPage> list;
    for (const auto& page : pages)
      list.push_back({.address = page.address, .nonce = std::bit_cast<PageNonce>(page.nonce)});
    return machine_->secrets().replace(std::move(list));
  };
  callbacks.on_safe = [this](const agent_channel::SafeReport& report) { safe(report); };
  callbacks.on_hello = [this](const agent_channel::Hello& hello) {
    agent_connected_ = true;
    hello_ = hello;
  };
  callbacks.facts = [this] { return agent_channel::HostFacts{.metadata = metadata_by_vsock_}; };
  // A snapshot that is taken now must not say that an agent will report.
  callbacks.on_lost = [this] {
    agent_connected_ = false;
    hello_.reset();
  };
  agent_.emplace(io_, std::string("clonevm ") + CLONESAFE_VERSION, std::move(callbacks));
  set_restore();
  // Who speaks here decides when the guest counts as safe, so the guest's ordinary programs must
  // not.
  machine_->vsock()->listen(
      CLONESAFE_HOST_VSOCK_PORT,
      [this](UniqueFd stream) { return agent_->accept(std::move(stream)); },
      virtio::VsockDevice::GuestPorts::kPrivileged);
}

void Session::Impl::set_restore() {
  const GenerationDevices& generation = machine_->generation();
  agent_->set_restore(std::bit_cast<agent_channel::RestoreId>(generation.restore_id()),
                      generation.kind());
}

void Session::Impl::safe(const agent_channel::SafeReport& report) {
  // The agent has used the seed: it may go.
  machine_->generation().wipe_seed();
  seed_limit_.cancel();
  const bool first = !report_;
  report_ = report;
  const bool was_held = holds_;
  // A degraded guest may hold what its siblings hold: it waits for a better report.
  if (report.state == "safe") release();
  if (!first) return;
  safe_us_ = monotonic_us();
  if (options_.events.safe)
    options_.events.safe(report, was_held ? std::optional(held()) : std::nullopt, safe_us_);
}

void Session::Impl::release() {
  if (!std::exchange(holds_, false)) return;
  hold_limit_.cancel();
  machine_->release();
}

Held Session::Impl::held() const {
  Held held;
  for (const auto& net : machine_->nets()) {
    const virtio::NetCounts counts = net->counts();
    held.frames_parked += counts.parked;
    held.frames_lost += counts.held_lost;
    held.frames_stale += counts.held_stale;
  }
  if (machine_->vsock() != nullptr) held.streams = machine_->vsock()->counts().held;
  for (const auto& disk : machine_->disks()) held.flushes += disk->counts().held;
  return held;
}

void Session::Impl::limit_hold() {
  if (!holds_ || !options_.hold.limit) return;
  hold_limit_.expires_after(*options_.hold.limit);
  hold_limit_.async_wait([this](boost::system::error_code error) {
    if (error || !holds_) return;
    spdlog::warn("what is held is released after {} ms without a report that the guest is safe",
                 options_.hold.limit->count());
    release();
  });
}

void Session::Impl::limit_seed() {
  seed_limit_.expires_after(kSeedLimit);
  seed_limit_.async_wait([this](boost::system::error_code error) {
    if (!error) machine_->generation().wipe_seed();
  });
}

// What no snapshot and no fork may hold. If a secret is not where it was registered, nothing is
// kept; the agent is asked to put its list right for the next one.
Result<std::vector<snapshot::ZeroRange>> Session::Impl::secret_ranges() {
  auto ranges = machine_->secrets().ranges();
  if (!ranges) {
    if (agent_) agent_->check_secrets();
    return fail(ranges.error());
  }
  std::vector<snapshot::ZeroRange> zeros;
  for (const SecretPages::Range& range : *ranges)
    zeros.push_back({.start = range.start, .size = range.size, .name = "secret page"});
  return zeros;
}

void Session::Impl::finish(Result<SessionEnd> with) {
  if (!end_) end_ = std::move(with);
  io_.stop();
}

void Session::Impl::machine_ended(MachineEnd how) {
  if (how.reason == MachineEnd::Reason::kFailed) {
    finish(fail(std::move(how.detail)));
    return;
  }
  finish(SessionEnd{.kind = how.reason == MachineEnd::Reason::kPowerOff
                                ? SessionEnd::Kind::kPowerOff
                                : SessionEnd::Kind::kReset,
                    .detail = std::move(how.detail)});
}

void Session::Impl::watch_stop() {
  if (options_.stop_fd < 0) return;
  UniqueFd copy(::fcntl(options_.stop_fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return;
  stop_.emplace(io_);
  boost::system::error_code error;
  if (stop_->assign(copy.get(), error)) return;
  [[maybe_unused]] const int owned_by_stop = copy.release();
  stop_->async_wait(asio::posix::stream_descriptor::wait_read,
                    [this](boost::system::error_code waited) {
                      if (!waited) finish(SessionEnd{.kind = SessionEnd::Kind::kStopped});
                    });
}

Status Session::Impl::confine_process() {
  if (options_.jail == nullptr) return {};
  std::uint64_t largest = machine_->config().memory + kSmallFiles;
  for (const auto& disk : machine_->disks())
    largest = std::max(largest, block::layer_shape(disk->disk().capacity()).file_size);
  auto lacks = jail::confine_process({.file_size = largest}, options_.violation);
  if (!lacks) return fail(lacks.error(), "jail");
  jail_lacks_ = std::move(*lacks);
  return {};
}

Result<SessionEnd> Session::Impl::run() {
  // The process while it has one thread, then each thread, all before the first KVM_RUN.
  if (auto confined = confine_process(); !confined) return fail(confined.error());
  if (auto started = machine_->start(); !started) return fail(started.error());
  watch_stop();
  if (options_.serial.input >= 0) input_.emplace(io_, options_.serial.input, machine_->serial());
  limit_seed();
  limit_hold();
  if (options_.jail != nullptr) {
    auto confined = options_.jail->confine_thread(jail::Thread::devices, "devices");
    if (!confined) return fail(confined.error(), "jail");
  }
  if (auto resumed = machine_->resume(); !resumed) return fail(resumed.error());
  const auto keep_running = asio::make_work_guard(io_);
  io_.run();
  writer_.cancel();
  machine_->stop();
  return std::move(*end_);
}

Session::Session(SessionOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Session::~Session() = default;

Status Session::boot(const MachineConfig& config, std::span<const std::byte> kernel,
                     std::span<const std::byte> initrd, const std::string& command_line) {
  auto machine = Machine::create(config, impl_->machine_hooks(), impl_->io());
  if (!machine) return fail(machine.error());
  if (auto booted = (*machine)->boot(kernel, initrd, command_line); !booted) return booted;
  return impl_->attach(std::move(*machine));
}

Status Session::restore(const RestoreSource& source) {
  RestoreSource by_page = source;
  if (source.metadata.size() > CLONESAFE_RESTORE_METADATA_MAX) {
    by_page.metadata = {};
    impl_->set_metadata_by_vsock(source.metadata);
  }
  auto machine = Machine::restore(by_page, impl_->machine_hooks(), impl_->io());
  if (!machine) return fail(machine.error());
  impl_->set_parent(source.snapshot.digest());
  return impl_->attach(std::move(*machine));
}

Machine& Session::machine() {
  return impl_->machine();
}

Result<SessionEnd> Session::run() {
  return impl_->run();
}

}  // namespace clonesafe
