#include "proxy/wire/http1/body_framer.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "proxy/wire/http1/characters.h"

namespace clonesafe::wire::http1 {
namespace {

// What a line in front of a chunk may cost, however small the chunk is.
constexpr std::uint64_t kFreeOverhead = 16;

// A line of `rest`, nothing if its end isn't there.
Parsed<std::optional<std::string_view>> find_line(std::string_view rest, std::size_t limit,
                                                  std::string_view too_long) {
  const std::size_t feed = rest.find('\n');
  if (std::min(feed, rest.size()) > limit) return refuse(too_long);
  if (feed == rest.npos) return std::nullopt;
  return line_content(rest.substr(0, feed + 1));
}

// The value of an extension in quotes (RFC 9110, 5.6.4): its size, 0 if it is none.
std::size_t quoted_size(std::string_view text) {
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  return 0;
}

// RFC 9112, 7.1.1, without the spaces that it calls bad.
bool are_extensions(std::string_view text) {
  if (!is_field_value(text)) return false;
  while (!text.empty()) {
    if (text.front() != ';') return false;
    text.remove_prefix(1);
    const std::size_t name = std::min(text.find_first_of(";="), text.size());
    if (!is_token(text.substr(0, name))) return false;
    text.remove_prefix(name);
    if (!text.starts_with('=')) continue;
    text.remove_prefix(1);
    std::size_t value = std::min(text.find(';'), text.size());
    if (text.starts_with('"')) {
      value = quoted_size(text);
      if (value == 0) return false;
    } else if (!is_token(text.substr(0, value))) {
      return false;
    }
    text.remove_prefix(value);
  }
  return true;
}

}  // namespace

BodyFramer::BodyFramer(const Body& body, BodyLimits limits)
    : limits_(limits), state_(State::kEnded), left_(body.length) {
  switch (body.kind) {
    case Body::Kind::kNone:
      break;
    case Body::Kind::kLength:
      if (left_ != 0) state_ = State::kLength;
      break;
    case Body::Kind::kChunked:
      state_ = State::kChunkLine;
      break;
    case Body::Kind::kUntilClose:
    case Body::Kind::kTunnel:
      state_ = State::kUntilClose;
      left_ = std::numeric_limits<std::uint64_t>::max();
      break;
  }
}

Result<BodyPart> BodyFramer::next(std::string_view input) {
  if (failed_) return fail(*failed_);
  std::size_t consumed = 0;
  while (!ended()) {
    const auto went_on = step(input.substr(consumed), consumed);
    if (!went_on) {
      failed_.emplace("body: " + std::string(went_on.error().why) + " at byte " +
                      std::to_string(offset_ + consumed));
      return fail(*failed_);
    }
    if (!*went_on) break;
  }
  offset_ += consumed;
  return BodyPart{.size = consumed, .last = ended()};
}

Status BodyFramer::finish() {
  if (failed_) return fail(*failed_);
  if (state_ == State::kUntilClose) state_ = State::kEnded;
  if (ended()) return {};
  failed_.emplace("body: the connection ended after " + std::to_string(offset_) +
                  (state_ == State::kLength ? " of " + std::to_string(offset_ + left_) : "") +
                  " bytes");
  return fail(*failed_);
}

Parsed<bool> BodyFramer::step(std::string_view rest, std::size_t& consumed) {
  switch (state_) {
    case State::kLength:
      if (!content(rest, consumed)) return false;
      state_ = State::kEnded;
      return true;
    case State::kUntilClose:
      return content(rest, consumed);
    case State::kChunkLine:
      return chunk_line(rest, consumed);
    case State::kChunkData:
      if (!content(rest, consumed)) return false;
      state_ = State::kChunkEnd;
      return true;
    case State::kChunkEnd:
      if (!kLineEnd.starts_with(rest.substr(0, kLineEnd.size())))
        return refuse("a chunk longer than its size");
      if (rest.size() < kLineEnd.size()) return false;
      consumed += kLineEnd.size();
      state_ = State::kChunkLine;
      return true;
    case State::kTrailers:
      return trailer(rest, consumed);
    case State::kEnded:
      break;
  }
  return false;
}

// True: all of it.
bool BodyFramer::content(std::string_view rest, std::size_t& consumed) {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
  consumed += size;
  content_size_ += size;
  left_ -= size;
  return left_ == 0;
}

Parsed<bool> BodyFramer::chunk_line(std::string_view rest, std::size_t& consumed) {
  const auto line =
      find_line(rest, limits_.chunk_line, "a line in front of a chunk over its limit");
  if (!line) return std::unexpected(line.error());
  const std::optional<std::string_view>& found = *line;
  if (!found) return false;
  const std::string_view text = *found;
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size, 16);
  const auto digits = static_cast<std::size_t>(end - text.data());
  // Without an overflow, but with so many zeroes that another would have one.
  constexpr std::size_t kDigits = 16;
  if (error != std::errc() || digits > kDigits ||
      size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return refuse("the size of a chunk is no hexadecimal number of at most 63 bits");
  if (!are_extensions(text.substr(digits)))
    return refuse("something else than extensions behind the size of a chunk");
  overhead_ += text.size() + kLineEnd.size();
  overhead_ -= std::min(overhead_, kFreeOverhead + 2 * size);
  if (overhead_ > limits_.chunk_overhead) return refuse("more about chunks than in them");
  consumed += text.size() + kLineEnd.size();
  left_ = size;
  state_ = size == 0 ? State::kTrailers : State::kChunkData;
  return true;
}

Parsed<bool> BodyFramer::trailer(std::string_view rest, std::size_t& consumed) {
  constexpr std::string_view kTooLong = "trailers over their limit";
  const auto line = find_line(rest, limits_.trailers - trailers_size_, kTooLong);
  if (!line) return std::unexpected(line.error());
  const std::optional<std::string_view>& found = *line;
  if (!found) return false;
  const std::string_view text = *found;
  if (text.empty()) {
    consumed += kLineEnd.size();
    state_ = State::kEnded;
    return true;
  }
  const auto field = parse_field(text);
  if (!field) return std::unexpected(field.error());
  if (decides_framing(field->name))
    return refuse("a trailer that says where the message ends or for whom it is");
  trailers_size_ += text.size() + kLineEnd.size();
  if (trailers_size_ > limits_.trailers || ++trailers_ > limits_.trailer_fields)
    return refuse(kTooLong);
  consumed += text.size() + kLineEnd.size();
  return true;
}

}  // namespace clonesafe::wire::http1
