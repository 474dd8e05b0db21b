#include "proxy/protocols/postgres/conversation.h"

namespace clonesafe::proxy::postgres {
namespace {

constexpr std::size_t kBufferSize = 8192;

}  // namespace

std::string error_message(std::string_view severity, std::string_view sqlstate,
                          std::string_view message) {
  std::string text(message);
  std::erase(text, '\0');
  std::string out;
  static_cast<void>(wire::postgres::append_error(
      out, {.severity = severity, .sqlstate = sqlstate, .message = text}));
  return out;
}

Conversation::Conversation(std::shared_ptr<Stream> stream, Framer framer, std::string_view received)
    : stream_(std::move(stream)), framer_(std::move(framer)), buffer_(received) {
  input_ = buffer_;
  framer_.handle_all(wire::postgres::Handling::kWhole);
}

Awaitable<Result<Message>> Conversation::next() {
  for (;;) {
    auto piece = framer_.next(input_);
    if (!piece) co_return fail(piece.error());
    if (*piece) co_return Message{.type = (*piece)->type, .body = (*piece)->body()};
    buffer_.resize(kBufferSize);
    const auto count = co_await stream_->read(std::as_writable_bytes(std::span(buffer_)));
    if (!count) co_return fail(count.error());
    if (*count == 0) co_return fail("the peer closed the connection");
    input_ = std::string_view(buffer_).substr(0, *count);
  }
}

Framer Conversation::take_framer() {
  framer_.handle_by_default();
  return std::move(framer_);
}

}  // namespace clonesafe::proxy::postgres
