#include "proxy/wire/resp/reply_framer.h"

#include <algorithm>
#include <utility>

#include "proxy/wire/resp/header_line.h"

namespace clonesafe::wire::resp {
namespace {

struct PushName {
  std::string_view name;
  PushKind kind;
};
constexpr PushName kPushNames[] = {
    {"message", PushKind::kMessage},
    {"pmessage", PushKind::kPatternMessage},
    {"smessage", PushKind::kShardMessage},
    {"invalidate", PushKind::kInvalidate},
    {"subscribe", PushKind::kSubscribe},
    {"psubscribe", PushKind::kPatternSubscribe},
    {"ssubscribe", PushKind::kShardSubscribe},
    {"unsubscribe", PushKind::kUnsubscribe},
    {"punsubscribe", PushKind::kPatternUnsubscribe},
    {"sunsubscribe", PushKind::kShardUnsubscribe},
};
constexpr std::size_t kLongestPushName = 12;

PushKind find_push(std::string_view name) {
  for (const PushName& push : kPushNames) {
    if (push.name == name) return push.kind;
  }
  return PushKind::kOther;
}

}  // namespace

std::unexpected<Error> ReplyFramer::refuse(std::string what, std::size_t at) {
  failed_.emplace("reply: " + std::move(what) + " at byte " + std::to_string(offset_ + at));
  return fail(*failed_);
}

std::unexpected<Error> ReplyFramer::refuse_length() {
  return refuse("more than " + std::to_string(limits_.whole) + " bytes to hand out whole", 0);
}

void ReplyFramer::know(PushKind push, Handling handling) {
  known_ = true;
  // An array that isn't of a subscription after all is a reply.
  push_ = type_ == Type::kArray && push == PushKind::kOther ? PushKind::kNone : push;
  whole_ = handling == Handling::kWhole || confirms_subscription(push_);
}

// What there is to return when the input has been read to its end.
Result<ReplyPart> ReplyFramer::part() {
  if (too_long()) return refuse_length();
  if (!known_ || whole_ || scanned_ == 0) return ReplyPart{};
  ReplyPart part{
      .size = scanned_, .first = std::exchange(first_, false), .type = type_, .push = push_};
  offset_ += std::exchange(scanned_, 0);
  return part;
}

Result<ReplyPart> ReplyFramer::finish() {
  if (too_long()) return refuse_length();
  const ReplyPart part{.size = scanned_,
                       .first = std::exchange(first_, true),
                       .last = true,
                       .type = type_,
                       .push = push_};
  offset_ += std::exchange(scanned_, 0);
  typed_ = known_ = whole_ = false;
  push_ = PushKind::kNone;
  return part;
}

bool ReplyFramer::end_value() {
  while (!levels_.empty()) {
    if (--levels_.back().left != 0) return false;
    const bool attribute = levels_.back().attribute;
    levels_.pop_back();
    // What an attribute is of comes now.
    if (attribute) return false;
  }
  return true;
}

Status ReplyFramer::begin_aggregate(Type type, std::uint64_t elements) {
  if (elements > limits_.elements)
    return refuse("an aggregate of more than " + std::to_string(limits_.elements) + " elements",
                  scanned_);
  if (levels_.size() == kMaxDepth)
    return refuse("aggregates more than " + std::to_string(kMaxDepth) + " deep", scanned_);
  levels_.push_back({.left = elements, .attribute = type == Type::kAttribute});
  return {};
}

Result<ReplyPart> ReplyFramer::next(std::string_view input, Handling handling) {
  if (failed_) return fail(*failed_);
  handling_ = handling;
  while (true) {
    // Here too, so that it doesn't matter in which pieces the input comes.
    if (too_long()) return refuse_length();
    const std::string_view rest = input.substr(scanned_);
    switch (state_) {
      case State::kHeader: {
        const std::size_t before = scanned_;
        auto value = begin_value(input);
        if (!value || value->size != 0 || scanned_ == before) return value;
        break;
      }
      case State::kPayload: {
        // Which push this is.
        if (awaits_kind()) {
          if (rest.size() < payload_left_) return part();
          know(find_push(rest.substr(0, payload_left_)), handling);
        }
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(payload_left_, rest.size()));
        scanned_ += size;
        payload_left_ -= size;
        if (payload_left_ != 0) return part();
        state_ = State::kPayloadEnd;
        break;
      }
      case State::kPayloadEnd:
        if (!kLineEnd.starts_with(rest.substr(0, kLineEnd.size())))
          return refuse("a string longer than its length", scanned_);
        if (rest.size() < kLineEnd.size()) return part();
        scanned_ += kLineEnd.size();
        state_ = State::kHeader;
        if (end_value()) return finish();
        break;
    }
  }
}

// Reads the line that a value begins with. On success either `scanned_` has moved behind it, or the
// result is what there is to return.
Result<ReplyPart> ReplyFramer::begin_value(std::string_view input) {
  const std::string_view rest = input.substr(scanned_);
  const auto line = find_line(rest, line_scanned_, limits_.line);
  if (!line) return refuse(std::string(line.error()), scanned_);
  if (line->size == 0) {
    // A carriage return at the end may be half of one.
    auto given = part();
    line_scanned_ = rest.empty() ? 0 : rest.size() - 1;
    return given;
  }
  line_scanned_ = 0;
  const auto header = parse_header(line->content);
  if (!header) return refuse(std::string(header.error()), scanned_);
  const bool top = levels_.empty();
  const bool aggregate = is_aggregate(header->type) && !header->null;
  const bool payload = has_payload(header->type) && !header->null;
  if (header->type == Type::kPush && !top) return refuse("a push within a reply", scanned_);
  if (payload && static_cast<std::uint64_t>(header->number) > limits_.bulk)
    return refuse("a string of more than " + std::to_string(limits_.bulk) + " bytes", scanned_);

  if (top && header->type != Type::kAttribute) {
    type_ = header->type;
    typed_ = true;
    const bool may_be_push =
        type_ == Type::kPush || (subscribed_ && type_ == Type::kArray && !header->null);
    if (!may_be_push || header->number == 0)
      know(type_ == Type::kPush ? PushKind::kOther : PushKind::kNone, handling_);
  } else if (awaits_kind() && header->type != Type::kAttribute &&
             !(payload && header->number <= static_cast<std::int64_t>(kLongestPushName))) {
    know(
        header->type == Type::kSimpleString ? find_push(line->content.substr(1)) : PushKind::kOther,
        handling_);
  }

  if (aggregate && header->number != 0) {
    if (auto begun = begin_aggregate(header->type, static_cast<std::uint64_t>(header->number));
        !begun)
      return fail(std::move(begun).error());
  }
  scanned_ += line->size;
  if (payload) {
    payload_left_ = static_cast<std::uint64_t>(header->number);
    state_ = State::kPayload;
  } else if ((!aggregate || header->number == 0) && header->type != Type::kAttribute) {
    if (end_value()) return finish();
  }
  return ReplyPart{};
}

}  // namespace clonesafe::wire::resp
