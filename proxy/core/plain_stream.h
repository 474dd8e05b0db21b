#ifndef CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_
#define CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <vector>

#include "proxy/core/fence.h"
#include "proxy/core/gate.h"
#include "proxy/core/stream.h"
#include "proxy/core/tombstones.h"
#include "proxy/core/traffic.h"

namespace clonesafe::proxy {

using Socket = boost::asio::generic::stream_protocol::socket;

// A short message leaves at once; a peer that is gone is noticed some day (tcp(7)).
void set_tcp_options(int descriptor);

// A TCP connection or Unix socket, and what its guard says of it.
class PlainStream final : public Stream, private Tombstones::Holder {
 public:
  // They outlive the stream; each may be null.
  struct Watch {
    Traffic* traffic = nullptr;
    Gate* gate = nullptr;  // what is read is held back while it is closed
    Tombstones* tombstones = nullptr;
    Opener opener = Opener::kThisEnd;
    std::shared_ptr<const void> keeps = {};  // until the stream is gone
  };
  // Given back when the connection is closed, whatever it is.
  using Permit = std::shared_ptr<void>;

  // The socket is connected and non-blocking.
  PlainStream(Socket socket, Guard guard) : PlainStream(std::move(socket), guard, Watch()) {}
  PlainStream(Socket socket, Guard guard, Watch watch, Permit permit = nullptr)
      : Holder(guard.can_be_stale() ? watch.tombstones : nullptr),
        socket_(std::move(socket)),
        guard_(guard),
        watch_(std::move(watch)),
        permit_(std::move(permit)) {
    if (watch_.traffic != nullptr) ++watch_.traffic->open;
  }
  ~PlainStream() override { PlainStream::close(); }

  Awaitable<Result<std::size_t>> read(std::span<std::byte> to) override;
  Awaitable<Status> write(std::span<const std::byte> from) override;
  Awaitable<Status> finish() override;
  bool stale() const override { return guard_.stale(); }
  bool quiet() override;
  bool left() override;
  void close() override;
  void reset() override;

  int fd() { return socket_.native_handle(); }

 private:
  Awaitable<Status> write_rest(std::vector<std::byte> rest);
  Result<std::size_t> send(std::span<const std::byte> from);
  void leave_stale() override;
  int take_descriptor();
  void end_by(void (*how)(int descriptor));
  void abandon(int descriptor);
  // False: it was closed meanwhile.
  Awaitable<bool> pass_gate();
  bool held_back() const { return watch_.gate != nullptr && watch_.gate->closed(); }

  Socket socket_;
  std::array<std::byte, 4096> waiting_;
  const Guard guard_;
  const Watch watch_;
  Permit permit_;
  boost::asio::steady_timer* at_gate_ = nullptr;  // of whoever waits there
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_
