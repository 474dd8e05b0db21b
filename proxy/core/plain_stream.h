#ifndef CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_
#define CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>

#include <vector>

#include "proxy/core/fence.h"
#include "proxy/core/stream.h"

namespace clonesafe::proxy {

using Socket = boost::asio::generic::stream_protocol::socket;

// A TCP connection or Unix socket, and what its guard says of it.
class PlainStream final : public Stream {
 public:
  // The socket is connected and non-blocking.
  PlainStream(Socket socket, Guard guard) : socket_(std::move(socket)), guard_(guard) {}
  ~PlainStream() override { PlainStream::close(); }

  Awaitable<Result<std::size_t>> read(std::span<std::byte> to) override;
  Awaitable<Status> write(std::span<const std::byte> from) override;
  Awaitable<Status> finish() override;
  bool stale() const override { return guard_.stale(); }
  bool quiet() override;
  void close() override;
  void reset() override;

  int fd() { return socket_.native_handle(); }

 private:
  Awaitable<Status> write_rest(std::vector<std::byte> rest);
  Result<std::size_t> send(std::span<const std::byte> from);
  int take_descriptor();

  Socket socket_;
  std::array<std::byte, 4096> waiting_;
  const Guard guard_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_PLAIN_STREAM_H_
