#include "vmm_device/agent_channel/agent_channel.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "clonesafe/abi/secret_page.h"

namespace clonesafe::agent_channel {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

// The log is not the guest's to fill.
constexpr unsigned kMaxErrorsLogged = 8;
// What waits for an agent that doesn't read; more than a few lines is an agent that hangs.
constexpr std::size_t kMaxOutgoing = std::size_t{256} * 1024;

// One connection. Reads only when everything was written, so that an agent that asks and doesn't
// listen has nothing pile up here.
struct Connection {
  explicit Connection(asio::io_context& io) : socket(io) {}
  asio::local::stream_protocol::socket socket;
  std::array<char, 4096> incoming;
  LineReader reader;
  std::string outgoing;
  std::string writing;
  bool reads = false;
  bool greeted = false;
};
using ConnectionPointer = std::shared_ptr<Connection>;

}  // namespace

// All on the device thread.
class AgentChannel::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, std::string host, AgentCallbacks callbacks)
      : io_(io), host_(std::move(host)), callbacks_(std::move(callbacks)), deadline_(io) {}

  asio::io_context& io() { return io_; }

  void serve(UniqueFd stream) {
    if (stopped_) return;
    close("another agent connected");
    auto connection = std::make_shared<Connection>(io_);
    ErrorCode error;
    if (connection->socket.assign(asio::local::stream_protocol(), stream.get(), error)) {
      return log(Error("assign: " + error.message()));
    }
    static_cast<void>(stream.release());
    connection_ = connection;
    go_on(connection);
  }

  void set_restore(const RestoreId& restore_id, RestoreKind kind) {
    restore_id_ = restore_id;
    kind_ = kind;
  }

  void resumed(const RestoreId& restore_id, RestoreKind kind) {
    set_restore(restore_id, kind);
    tell(resumed_line(restore_id, kind));
  }

  void abort(const std::string& id) { tell(abort_line(id)); }
  void check_secrets() { tell(check_secrets_line()); }

  void prepare(std::string id, std::chrono::milliseconds deadline, OnPrepared callback) {
    if (stopped_) return callback(fail("the machine is going away"));
    if (!connection_ || !connection_->greeted) return callback(fail("no agent is connected"));
    if (prepared_) return callback(fail("a snapshot is being prepared already"));
    if (id.size() > 64) return callback(fail("the id of a prepare is longer than 64 bytes"));
    prepare_id_ = std::move(id);
    prepared_ = std::move(callback);
    deadline_.expires_after(deadline);
    deadline_.async_wait([weak = weak_from_this(), deadline](const ErrorCode& error) {
      const auto self = weak.lock();
      if (!self || error) return;
      self->finish_prepare(fail("the agent did not answer prepare within " +
                                std::to_string(deadline.count()) + " ms"));
    });
    tell(prepare_line(prepare_id_, deadline));
  }

  void stop() {
    stopped_ = true;
    callbacks_ = {};
    close("the machine is going away");
  }

 private:
  // Writes what is to be written; then handles what was read; then reads.
  void go_on(const ConnectionPointer& connection) {
    while (connection == connection_ && connection->writing.empty()) {
      if (!connection->outgoing.empty()) return write(connection);
      const auto next = connection->reader.next();
      if (!next) return broken(next.error());
      const auto& line = *next;
      if (!line) return read(connection);
      if (auto handled = handle(*connection, *line); !handled) return broken(handled.error());
    }
  }

  void read(const ConnectionPointer& connection) {
    if (connection->reads) return;
    connection->reads = true;
    connection->socket.async_read_some(
        asio::buffer(connection->incoming),
        [weak = weak_from_this(), connection](const ErrorCode& error, std::size_t size) {
          const auto self = weak.lock();
          connection->reads = false;
          if (!self || connection != self->connection_) return;
          if (error) return self->close("the agent went away");
          connection->reader.add({connection->incoming.data(), size});
          self->go_on(connection);
        });
  }

  void write(const ConnectionPointer& connection) {
    connection->writing = std::exchange(connection->outgoing, {});
    asio::async_write(connection->socket, asio::buffer(connection->writing),
                      [weak = weak_from_this(), connection](const ErrorCode& error, std::size_t) {
                        const auto self = weak.lock();
                        connection->writing.clear();
                        if (!self || connection != self->connection_) return;
                        if (error) return self->close("the agent went away");
                        self->go_on(connection);
                      });
  }

  // A line that isn't an answer.
  void tell(const std::string& line) {
    const ConnectionPointer connection = connection_;
    if (!connection || !connection->greeted) return;
    if (connection->outgoing.size() + line.size() > kMaxOutgoing) {
      return broken(Error("the agent doesn't read"));
    }
    connection->outgoing += line;
    go_on(connection);
  }

  Status handle(Connection& connection, std::string_view line) {
    auto message = parse_guest_message(line);
    if (!message) return fail(std::move(message).error());
    if (std::holds_alternative<Hello>(*message) == connection.greeted) {
      return fail(connection.greeted ? "a second hello" : "a message before hello");
    }
    return std::visit([&](const auto& value) { return take(connection, value); }, *message);
  }

  Status take(Connection& connection, const Hello& hello) {
    if (hello.version < CLONESAFE_HOST_PROTOCOL_VERSION) {
      return fail("protocol version " + std::to_string(hello.version));
    }
    connection.greeted = true;
    const std::uint64_t secrets = callbacks_.on_register_secrets ? CLONESAFE_SECRET_PAGES_MAX : 0;
    connection.outgoing +=
        welcome_line(CLONESAFE_HOST_PROTOCOL_VERSION, host_, restore_id_, kind_, secrets,
                     callbacks_.facts ? callbacks_.facts() : HostFacts());
    if (callbacks_.on_hello) callbacks_.on_hello(hello);
    return {};
  }

  Status take(Connection& connection, const RegisterPage& page) {
    Status status = fail("this host does not write the page");
    if (page.address.value() % 0x1000 != 0) {
      status = fail("the address is not the start of a page");
    } else if (callbacks_.on_register_page) {
      status = callbacks_.on_register_page(page.address, page.nonce);
    }
    connection.outgoing += registered_line(status);
    return {};
  }

  Status take(Connection& connection, const RegisterSecrets& secrets) {
    Status status = fail("this host keeps no pages out of snapshots");
    if (callbacks_.on_register_secrets) status = callbacks_.on_register_secrets(secrets.pages);
    connection.outgoing += secrets_registered_line(secrets.id, status);
    return {};
  }

  Status take(Connection&, const Prepared& prepared) {
    // An answer that comes too late, or to an aborted prepare, is nobody's.
    if (prepared_ && prepared.id == prepare_id_) finish_prepare(prepared);
    return {};
  }

  Status take(Connection&, const SafeReport& report) {
    if (report.restore_id == restore_id_ && callbacks_.on_safe) callbacks_.on_safe(report);
    return {};
  }

  void finish_prepare(Result<Prepared> result) {
    if (!prepared_) return;
    deadline_.cancel();
    const OnPrepared callback = std::exchange(prepared_, {});
    callback(std::move(result));
  }

  void broken(const Error& error) {
    log(error);
    close("the agent broke the protocol: " + error.message());
  }

  void close(const std::string& why) {
    if (connection_) {
      ErrorCode ignored;
      (void)connection_->socket.close(ignored);
      const bool greeted = connection_->greeted;
      connection_.reset();
      if (greeted && callbacks_.on_lost) callbacks_.on_lost();
    }
    finish_prepare(fail(why));
  }

  void log(const Error& error) {
    if (errors_logged_ >= kMaxErrorsLogged) return;
    ++errors_logged_;
    spdlog::warn("agent channel: {}", error.message());
  }

  asio::io_context& io_;
  const std::string host_;
  AgentCallbacks callbacks_;
  bool stopped_ = false;
  RestoreId restore_id_{};
  RestoreKind kind_ = RestoreKind::kBoot;
  ConnectionPointer connection_;
  unsigned errors_logged_ = 0;

  std::string prepare_id_;
  OnPrepared prepared_;
  asio::steady_timer deadline_;
};

AgentChannel::AgentChannel(asio::io_context& device_thread, std::string host,
                           AgentCallbacks callbacks)
    : impl_(std::make_shared<Impl>(device_thread, std::move(host), std::move(callbacks))) {}

// NOLINTNEXTLINE(bugprone-exception-escape): only for want of memory, which ends the machine
AgentChannel::~AgentChannel() {
  asio::post(impl_->io(), [impl = impl_] { impl->stop(); });
}

Status AgentChannel::accept(UniqueFd stream) {
  const int flags = ::fcntl(stream.get(), F_GETFL);
  if (flags < 0 || ::fcntl(stream.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno("agent channel: fcntl");
  }
  asio::post(impl_->io(), [impl = impl_, held = std::make_shared<UniqueFd>(std::move(stream))] {
    impl->serve(std::move(*held));
  });
  return {};
}

void AgentChannel::set_restore(const RestoreId& restore_id, RestoreKind kind) {
  asio::post(impl_->io(),
             [impl = impl_, restore_id, kind] { impl->set_restore(restore_id, kind); });
}

void AgentChannel::resumed(const RestoreId& restore_id, RestoreKind kind) {
  asio::post(impl_->io(), [impl = impl_, restore_id, kind] { impl->resumed(restore_id, kind); });
}

void AgentChannel::prepare(std::string id, std::chrono::milliseconds deadline,
                           OnPrepared callback) {
  asio::post(impl_->io(), [impl = impl_, id = std::move(id), deadline,
                           callback = std::move(callback)]() mutable {
    impl->prepare(std::move(id), deadline, std::move(callback));
  });
}

void AgentChannel::abort(std::string id) {
  asio::post(impl_->io(), [impl = impl_, id = std::move(id)] { impl->abort(id); });
}

void AgentChannel::check_secrets() {
  asio::post(impl_->io(), [impl = impl_] { impl->check_secrets(); });
}

}  // namespace clonesafe::agent_channel
