#include "proxy/tls/tls_stream.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace clonesafe::proxy {
namespace {

// What is read from below at once.
constexpr std::size_t kSealedSize = 64 * 1024;
// What an idle session keeps at most of its buffer.
constexpr std::size_t kKeptCapacity = 4096;
// So much is sealed before it is sent.
constexpr std::size_t kSealAtOnce = 64 * 1024;

}  // namespace

Result<std::unique_ptr<TlsStream>> TlsStream::make(std::unique_ptr<Stream> below, SslPointer ssl,
                                                   boost::asio::steady_timer timer,
                                                   std::span<const std::byte> received) {
  std::unique_ptr<TlsStream> stream(
      new TlsStream(std::move(below), std::move(ssl), std::move(timer)));
  BIO* const bio = make_bio(stream->sealed_);
  if (bio == nullptr) return fail(tls_error("TLS"));
  SSL_set_bio(stream->ssl_.get(), bio, bio);  // the session's from now on
  stream->kept_.assign(received.begin(), received.end());
  stream->sealed_.from_peer = stream->kept_;
  return stream;
}

TlsStream::~TlsStream() {
  TlsStream::close();
}

Error TlsStream::error(const std::string& what) const {
  const long verified = SSL_get_verify_result(ssl_.get());
  if (verified == X509_V_OK) return tls_error(what);
  ERR_clear_error();
  return Error(what + ": certificate: " + X509_verify_cert_error_string(verified));
}

Awaitable<Status> TlsStream::send_sealed() {
  // One at a time: whoever sends takes along what was sealed meanwhile.
  while (sending_) {
    sent_.expires_at(boost::asio::steady_timer::time_point::max());
    co_await sent_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
  sending_ = true;
  Status sent;
  while (sent && !sealed_.to_peer.empty()) {
    std::vector<std::byte> taken;
    taken.swap(sealed_.to_peer);  // more may be sealed while these are sent
    sent = co_await below_->write(taken);
    if (sealed_.to_peer.empty()) {
      taken.clear();
      sealed_.to_peer.swap(taken);  // its memory is used again
    }
  }
  // An idle session has none.
  if (sealed_.to_peer.capacity() > kKeptCapacity) sealed_.to_peer.shrink_to_fit();
  sending_ = false;
  sent_.cancel();
  co_return sent;
}

Awaitable<Result<bool>> TlsStream::take_sealed() {
  // Nobody else on this thread needs it before the session has read it, or it is kept.
  thread_local std::array<std::byte, kSealedSize> sealed;
  const auto count = co_await below_->read(sealed);
  if (!count) co_return fail(count.error());
  if (*count == 0) {
    ended_ = true;
    co_return false;
  }
  sealed_.from_peer = std::span(sealed).first(*count);
  co_return true;
}

// What the session hasn't read is in a buffer that others use too.
void TlsStream::keep_unread() {
  if (sealed_.from_peer.empty()) {
    if (!kept_.empty()) kept_ = {};
    return;
  }
  std::vector<std::byte> unread(sealed_.from_peer.begin(), sealed_.from_peer.end());
  kept_.swap(unread);
  sealed_.from_peer = kept_;
}

Awaitable<Status> TlsStream::handshake() {
  for (;;) {
    if (auto can = usable(); !can) co_return fail(can.error(), "TLS handshake");
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    const bool broken = done != 1 && why != SSL_ERROR_WANT_READ;
    const Error what = broken ? error("TLS handshake") : Error("");
    keep_unread();
    // Also what tells the peer why it fails.
    const auto sent = co_await send_sealed();
    if (broken) co_return fail(what);
    if (!sent) co_return fail(sent.error(), "TLS handshake");
    if (done == 1) co_return Status();
    const auto more = co_await take_sealed();
    if (!more) co_return fail(more.error(), "TLS handshake");
    if (!*more) co_return fail("TLS handshake: the peer closed the connection");
  }
}

Awaitable<Result<std::size_t>> TlsStream::read(std::span<std::byte> to) {
  for (;;) {
    // Even reading can seal something: an alert, or the answer to a request for new keys.
    if (auto can = usable(); !can) co_return fail(can.error());
    ERR_clear_error();
    // As many records as there are and have room.
    std::size_t taken = 0;
    int why = SSL_ERROR_NONE;
    while (taken < to.size()) {
      std::size_t count = 0;
      const int done = SSL_read_ex(ssl_.get(), to.data() + taken, to.size() - taken, &count);
      if (done != 1) {
        why = SSL_get_error(ssl_.get(), done);
        break;
      }
      taken += count;
    }
    keep_unread();
    // What is wrong now is still wrong at the next read.
    if (taken > 0) co_return taken;
    const bool broken = why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN;
    const Error what = broken ? error("TLS") : Error("");
    if (!sealed_.to_peer.empty() && !sending_) {
      if (auto sent = co_await send_sealed(); !sent) co_return fail(sent.error());
    }
    if (broken) co_return fail(what);
    if (why == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
    // An end that is not the session's own may be anybody's.
    if (ended_) co_return fail("TLS: the connection ended without close_notify");
    const auto more = co_await take_sealed();
    if (!more) co_return fail(more.error());
  }
}

Awaitable<Status> TlsStream::write(std::span<const std::byte> from) {
  // All of it is sealed before anything is waited for.
  std::span<const std::byte> left = from;
  while (!left.empty()) {
    if (auto can = usable(); !can) co_return fail(can.error());
    ERR_clear_error();
    std::size_t count = 0;
    const auto part = left.first(std::min(left.size(), kSealAtOnce));
    if (SSL_write_ex(ssl_.get(), part.data(), part.size(), &count) != 1)
      co_return fail(error("TLS"));
    left = left.subspan(count);
  }
  co_return co_await send_sealed();
}

Awaitable<Status> TlsStream::finish() {
  if (auto can = usable(); !can) co_return fail(can.error());
  ERR_clear_error();
  if (SSL_shutdown(ssl_.get()) < 0) co_return fail(error("TLS"));
  co_return co_await send_sealed();
}

bool TlsStream::quiet() {
  return ssl_ != nullptr && !ended_ && kept_.empty() && SSL_has_pending(ssl_.get()) == 0 &&
         below_->quiet();
}

Status TlsStream::usable() const {
  if (ssl_ == nullptr) return fail("the connection is closed");
  if (stale()) return fail("the TLS session is of a generation before this one");
  return {};
}

// Nothing is sealed any more, whatever the session's end would have said.
void TlsStream::forget() {
  if (ssl_ == nullptr) return;
  SSL_set_quiet_shutdown(ssl_.get(), 1);
  SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ssl_.reset();
}

void TlsStream::close() {
  forget();
  below_->close();
}

void TlsStream::reset() {
  forget();
  below_->reset();
}

std::string_view TlsStream::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  if (ssl_ == nullptr) return {};
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace clonesafe::proxy
