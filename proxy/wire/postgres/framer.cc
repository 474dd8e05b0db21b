#include "proxy/wire/postgres/framer.h"

#include <algorithm>

#include "proxy/wire/postgres/body_reader.h"

namespace clonesafe::wire::postgres {
namespace {

// A buffer that a long message has grown is given back; one of usual size is used again.
constexpr std::size_t kKeptCapacity = 4096;

constexpr unsigned char index(ClientMessage type) {
  return static_cast<unsigned char>(type);
}
constexpr unsigned char index(ServerMessage type) {
  return static_cast<unsigned char>(type);
}

constexpr Handlings kClientHandlings = [] {
  using enum ClientMessage;
  Handlings table{};
  for (const auto type :
       {kClose, kCopyDone, kDescribe, kExecute, kFlush, kPassword, kSync, kTerminate})
    table[index(type)] = Handling::kWhole;
  for (const auto type : {kBind, kCopyFail, kFunctionCall, kParse, kQuery})
    table[index(type)] = Handling::kHead;
  table[index(kCopyData)] = Handling::kPass;
  return table;
}();

constexpr Handlings kServerHandlings = [] {
  using enum ServerMessage;
  Handlings table{};
  for (const auto type :
       {kAuthentication, kBackendKeyData, kBindComplete, kCloseComplete, kCommandComplete,
        kCopyBothResponse, kCopyDone, kCopyInResponse, kCopyOutResponse, kEmptyQueryResponse,
        kNegotiateProtocolVersion, kNoData, kNotificationResponse, kParameterStatus, kParseComplete,
        kPortalSuspended, kReadyForQuery})
    table[index(type)] = Handling::kWhole;
  for (const auto type : {kErrorResponse, kNoticeResponse}) table[index(type)] = Handling::kHead;
  for (const auto type :
       {kCopyData, kDataRow, kFunctionCallResponse, kParameterDescription, kRowDescription})
    table[index(type)] = Handling::kPass;
  return table;
}();

// Bodies whose size the protocol fixes: a stream out of step is found at the first of them.
constexpr std::int8_t kAnySize = -1;
using FixedSizes = std::array<std::int8_t, 256>;

constexpr FixedSizes kClientSizes = [] {
  using enum ClientMessage;
  FixedSizes table{};
  table.fill(kAnySize);
  for (const auto type : {kCopyDone, kFlush, kSync, kTerminate}) table[index(type)] = 0;
  return table;
}();

constexpr FixedSizes kServerSizes = [] {
  using enum ServerMessage;
  FixedSizes table{};
  table.fill(kAnySize);
  for (const auto type : {kBindComplete, kCloseComplete, kCopyDone, kEmptyQueryResponse, kNoData,
                          kParseComplete, kPortalSuspended})
    table[index(type)] = 0;
  table[index(kReadyForQuery)] = 1;
  return table;
}();

const Handlings& defaults(Framer::From from) {
  return from == Framer::From::kClient ? kClientHandlings : kServerHandlings;
}

}  // namespace

const Handlings& client_handlings() {
  return kClientHandlings;
}
const Handlings& server_handlings() {
  return kServerHandlings;
}

Framer::Framer(From from, FramerOptions options)
    : from_(from), options_(options), handlings_(defaults(from)) {
  options_.max_body = std::min<std::uint32_t>(options_.max_body, kMaxLength - kLengthSize);
}

void Framer::handle_all(Handling handling) {
  for (std::size_t i = 0; i < handlings_.size(); ++i) {
    if (defaults(from_)[i] != Handling::kRefuse) handlings_[i] = handling;
  }
}

void Framer::handle_by_default() {
  handlings_ = defaults(from_);
}

Result<std::optional<Piece>> Framer::next(std::string_view& input) {
  if (kept_is_out_) {
    kept_.clear();
    if (kept_.capacity() > kKeptCapacity) kept_.shrink_to_fit();
    kept_is_out_ = false;
  }
  if (state_ == State::kFailed) return fail(error_);
  if (state_ == State::kHeader) {
    if (kept_.empty() && input.size() >= kHeaderSize) {
      // The usual case: all that is wanted lies in the input.
      if (auto begun = begin(input); !begun) return fail(std::move(begun).error());
      if (input.size() >= wanted_) {
        const bool passes = handlings_[static_cast<unsigned char>(type_)] == Handling::kPass;
        return hand_out(take(input, passes ? std::min<std::size_t>(left_, input.size()) : wanted_));
      }
    } else {
      kept_.append(take(input, std::min(kHeaderSize - kept_.size(), input.size())));
      if (kept_.size() < kHeaderSize) {
        // A type that is no message needs no length to be refused.
        if (!kept_.empty() && handlings_[static_cast<unsigned char>(kept_[0])] == Handling::kRefuse)
          if (auto begun = begin(kept_); !begun) return fail(std::move(begun).error());
        return std::nullopt;
      }
      if (auto begun = begin(kept_); !begun) return fail(std::move(begun).error());
    }
    state_ = State::kCollect;
  }
  if (state_ == State::kCollect) {
    kept_.append(take(input, std::min<std::size_t>(wanted_ - kept_.size(), input.size())));
    if (kept_.size() < wanted_) return std::nullopt;
    kept_is_out_ = true;
    return hand_out(kept_);
  }
  if (input.empty()) return std::nullopt;
  return hand_out(take(input, std::min<std::size_t>(left_, input.size())));
}

// With the header at the front of `header`; a shorter one only if its type is to be refused.
Status Framer::begin(std::string_view header) {
  message_at_ = position_ - kept_.size();
  type_ = header[0];
  const auto index = static_cast<unsigned char>(type_);
  const Handling handling = handlings_[index];
  if (handling == Handling::kRefuse)
    return refuse("message type " + printable_byte(type_) + " isn't one of the protocol's");
  const std::uint32_t length = load_u32(header.substr(1));
  if (length < kLengthSize)
    return refuse(std::string(name()) + " of length " + std::to_string(length));
  body_size_ = length - kLengthSize;
  if (body_size_ > options_.max_body)
    return refuse(std::string(name()) + " of " + std::to_string(body_size_) +
                  " bytes, the limit is " + std::to_string(options_.max_body));
  const auto fixed = (from_ == From::kClient ? kClientSizes : kServerSizes)[index];
  if (fixed != kAnySize && body_size_ != static_cast<std::uint32_t>(fixed))
    return refuse(std::string(name()) + " of " + std::to_string(body_size_) + " bytes, not " +
                  std::to_string(fixed));
  if (handling == Handling::kWhole && body_size_ > options_.max_whole)
    return refuse(std::string(name()) + " of " + std::to_string(body_size_) +
                  " bytes, the limit for messages that are read is " +
                  std::to_string(options_.max_whole));
  left_ = body_size_ + kHeaderSize;
  first_ = true;
  wanted_ = kHeaderSize;
  if (handling == Handling::kWhole) wanted_ += body_size_;
  if (handling == Handling::kHead) wanted_ += std::min(body_size_, options_.max_head);
  return {};
}

Piece Framer::hand_out(std::string_view bytes) {
  left_ -= static_cast<std::uint32_t>(bytes.size());
  const Piece piece{
      .type = type_, .body_size = body_size_, .first = first_, .last = left_ == 0, .bytes = bytes};
  first_ = false;
  state_ = left_ == 0 ? State::kHeader : State::kPass;
  return piece;
}

std::string_view Framer::take(std::string_view& input, std::size_t size) {
  const auto taken = input.substr(0, size);
  input.remove_prefix(size);
  position_ += size;
  return taken;
}

std::unexpected<Error> Framer::refuse(std::string what) {
  state_ = State::kFailed;
  error_ = std::string("PostgreSQL ") + (from_ == From::kClient ? "client" : "server") + ", byte " +
           std::to_string(message_at_) + ": " + std::move(what);
  return fail(error_);
}

std::string_view Framer::name() const {
  return from_ == From::kClient ? name_of(static_cast<ClientMessage>(type_))
                                : name_of(static_cast<ServerMessage>(type_));
}

}  // namespace clonesafe::wire::postgres
