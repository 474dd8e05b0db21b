#include "vmm_device/machine/session.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <optional>

namespace clonesafe {
namespace asio = boost::asio;
namespace {

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

struct Session::State {
  explicit State(SessionOptions given) : options(std::move(given)) {}

  void finish(Result<SessionEnd> with) {
    if (!end) end = std::move(with);
    io.stop();
  }
  void machine_ended(MachineEnd how) {
    if (how.reason == MachineEnd::Reason::kFailed) {
      finish(fail(std::move(how.detail)));
      return;
    }
    finish(SessionEnd{.kind = how.reason == MachineEnd::Reason::kPowerOff
                                  ? SessionEnd::Kind::kPowerOff
                                  : SessionEnd::Kind::kReset,
                      .detail = std::move(how.detail)});
  }

  // Reads the terminal, and waits while the guest's receive FIFO is full.
  void read_input() {
    input->async_read_some(asio::buffer(buffer),
                           [this](boost::system::error_code error, std::size_t size) {
                             if (error) return;  // end of input: the guest just hears nothing more
                             deliver(0, size);
                           });
  }
  void deliver(std::size_t from, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(buffer)).subspan(from, size - from);
    const std::size_t taken = machine->serial().receive(bytes);
    if (taken == bytes.size()) {
      read_input();
      return;
    }
    retry.expires_after(std::chrono::milliseconds(5));
    retry.async_wait([this, next = from + taken, size](boost::system::error_code error) {
      if (!error) deliver(next, size);
    });
  }
  void start_input() {
    if (options.serial.input < 0) return;
    // A copy: the descriptor's owner here must not close stdin. What can't be polled (a file, a
    // closed stdin) is no input.
    const int copy = ::fcntl(options.serial.input, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return;
    UniqueFd owned(copy);
    boost::system::error_code error;
    asio::posix::stream_descriptor descriptor(io);
    if (descriptor.assign(owned.get(), error)) return;
    [[maybe_unused]] const int released = owned.release();
    input = std::move(descriptor);
    read_input();
  }
  void watch_stop() {
    if (options.stop_fd < 0) return;
    stop.emplace(io);
    boost::system::error_code error;
    const int copy = ::fcntl(options.stop_fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0 || stop->assign(copy, error)) return;
    stop->async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](boost::system::error_code waited) {
                       if (!waited) finish(SessionEnd{.kind = SessionEnd::Kind::kStopped});
                     });
  }

  SessionOptions options;
  asio::io_context io{1};
  std::optional<Result<SessionEnd>> end;
  std::unique_ptr<Machine> machine;
  std::optional<asio::posix::stream_descriptor> input;
  std::optional<asio::posix::stream_descriptor> stop;
  asio::steady_timer retry{io};
  std::array<char, 256> buffer{};
};

Session::Session(SessionOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Session::~Session() = default;

Status Session::create(const MachineConfig& config) {
  MachineHooks hooks;
  hooks.serial_output = [fd = state_->options.serial.output](std::span<const std::byte> bytes) {
    if (fd >= 0) write_all(fd, bytes);
  };
  hooks.vsock_path = state_->options.vsock_path;
  hooks.vcpus.ended = [state = state_.get()](MachineEnd how) {
    asio::post(state->io,
               [state, how = std::move(how)]() mutable { state->machine_ended(std::move(how)); });
  };
  auto machine = Machine::create(config, std::move(hooks), state_->io);
  if (!machine) return fail(machine.error());
  state_->machine = std::move(*machine);
  return {};
}

Machine& Session::machine() {
  return *state_->machine;
}

Result<SessionEnd> Session::run() {
  State& state = *state_;
  if (auto started = state.machine->start(); !started) return fail(started.error());
  state.watch_stop();
  state.start_input();
  if (auto resumed = state.machine->resume(); !resumed) return fail(resumed.error());
  const auto keep_running = asio::make_work_guard(state.io);
  state.io.run();
  state.machine->stop();
  return std::move(*state.end);
}

}  // namespace clonesafe
