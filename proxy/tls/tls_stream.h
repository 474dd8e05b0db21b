#ifndef CLONESAFE_PROXY_TLS_TLS_STREAM_H_
#define CLONESAFE_PROXY_TLS_TLS_STREAM_H_

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string_view>

#include "proxy/core/stream.h"
#include "proxy/tls/context.h"
#include "proxy/tls/sealed_bio.h"

namespace clonesafe::proxy {

// A TLS session over another stream, which is asked last whether it is stale: what is sealed here
// leaves only if the machine was not cloned before that. A snapshot that is taken after that
// question makes every clone send the same bytes; none sends two things under one key and number.
//
// A stale session is not closed with an alert, and not read: both would seal something.
class TlsStream final : public Stream {
 public:
  // `timer` is one of the event loop that the stream is on; `received` is what was read from it
  // already.
  static Result<std::unique_ptr<TlsStream>> make(std::unique_ptr<Stream> below, SslPointer ssl,
                                                 boost::asio::steady_timer timer,
                                                 std::span<const std::byte> received = {});
  ~TlsStream() override;

  // To be done first. An error says what is wrong with the peer's certificate, if that is it.
  Awaitable<Status> handshake();

  Awaitable<Result<std::size_t>> read(std::span<std::byte> to) override;
  Awaitable<Status> write(std::span<const std::byte> from) override;
  // Says that no more will come (close_notify); reading goes on.
  Awaitable<Status> finish() override;
  bool stale() const override { return below_->stale(); }
  bool quiet() override;
  bool left() override { return below_->left(); }
  // The session's keys are gone from memory afterwards, whoever still waits.
  void close() override;
  void reset() override;

  // What was agreed on; empty for nothing.
  std::string_view alpn() const;
  const SSL* session() const { return ssl_.get(); }

 private:
  TlsStream(std::unique_ptr<Stream> below, SslPointer ssl, boost::asio::steady_timer timer)
      : below_(std::move(below)), ssl_(std::move(ssl)), sent_(std::move(timer)) {}

  // Waits for sealed bytes and gives them to the session; false at their end.
  Awaitable<Result<bool>> take_sealed();
  void keep_unread();
  // Why nothing can be sealed or opened: it is closed, or stale.
  Status usable() const;
  void forget();
  // Sends what the session has sealed.
  Awaitable<Status> send_sealed();
  Error error(const std::string& what) const;

  std::unique_ptr<Stream> below_;
  SealedBytes sealed_;
  SslPointer ssl_;
  std::vector<std::byte> kept_;     // records that were read and have no room at the reader yet
  boost::asio::steady_timer sent_;  // cancelled when send_sealed() has ended
  bool sending_ = false;
  bool ended_ = false;  // nothing comes from below any more
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_TLS_TLS_STREAM_H_
