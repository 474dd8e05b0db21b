#include "proxy/wire/resp/command_framer.h"

#include <algorithm>
#include <utility>

#include "proxy/wire/resp/header_line.h"
#include "proxy/wire/resp/inline_tokens.h"

namespace clonesafe::wire::resp {
namespace {

// "*" or "$" and a number of 64 bits.
constexpr std::size_t kLongestHeader = 21;
// "$0\r\n\r\n"
constexpr std::uint64_t kShortestArgument = 6;
constexpr CommandInfo kEmptyCommand{.command = Command::kEmpty};

}  // namespace

std::unexpected<Error> CommandFramer::refuse(std::string what, std::size_t at) {
  failed_.emplace("Protocol error: " + std::move(what) + " at byte " +
                  std::to_string(offset_ + at));
  return fail(*failed_);
}

CommandPart CommandFramer::pause() {
  if (command_ == nullptr || whole_ || scanned_ == 0) return {};
  CommandPart part{.size = scanned_,
                   .first = std::exchange(first_, false),
                   .command = command_,
                   .arguments = arguments_};
  offset_ += std::exchange(scanned_, 0);
  return part;
}

CommandPart CommandFramer::finish() {
  CommandPart part{.size = scanned_,
                   .first = std::exchange(first_, true),
                   .last = true,
                   .command = std::exchange(command_, nullptr),
                   .arguments = arguments_};
  offset_ += std::exchange(scanned_, 0);
  state_ = State::kStart;
  whole_ = false;
  return part;
}

Result<CommandPart> CommandFramer::next(std::string_view input) {
  if (failed_) return fail(*failed_);
  if (state_ == State::kStart) return start(input);
  return argument(input);
}

Result<CommandPart> CommandFramer::start(std::string_view input) {
  if (input.empty()) return CommandPart{};
  if (input.front() != '*') return inline_command(input);
  const auto line = find_line(input, 0, kLongestHeader);
  if (!line)
    return refuse(
        line.error() == kTooLong ? "too big mbulk count string" : std::string(line.error()), 0);
  if (line->size == 0) return CommandPart{};
  const auto count = canonical_integer(line->content.substr(1));
  if (!count) return refuse("invalid multibulk length", 0);
  scanned_ = line->size;
  // redis-server takes any negative number for none.
  if (*count <= 0) {
    command_ = &kEmptyCommand;
    arguments_ = 0;
    return finish();
  }
  arguments_ = arguments_left_ = static_cast<std::uint64_t>(*count);
  if (arguments_ > limits_.arguments)
    return refuse("invalid multibulk length, more than " + std::to_string(limits_.arguments), 0);
  state_ = State::kHeader;
  return argument(input);
}

Result<CommandPart> CommandFramer::inline_command(std::string_view input) {
  const std::size_t end = input.find_first_of(std::string_view("\n\0", 2), scanned_);
  if (std::min(end, input.size()) > limits_.inline_line)
    return refuse("too big inline request, more than " + std::to_string(limits_.inline_line), 0);
  if (end == input.npos) {
    scanned_ = input.size();
    return CommandPart{};
  }
  if (input[end] == '\0') return refuse("a NUL in an inline request", end);
  std::string_view line = input.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  arguments_ = 0;
  command_ = &kEmptyCommand;
  for (InlineTokens tokens(line);; ++arguments_) {
    // Others may be passwords, which are not to stay here.
    const auto found = tokens.next(arguments_ == 0 ? &name_ : nullptr);
    if (found == InlineTokens::Found::kEnd) break;
    if (found == InlineTokens::Found::kUnbalancedQuotes)
      return refuse("unbalanced quotes in request", 0);
    if (arguments_ == 0) command_ = &find_command(name_);
  }
  scanned_ = end + 1;
  return finish();
}

Result<CommandPart> CommandFramer::argument(std::string_view input) {
  while (true) {
    const std::string_view rest = input.substr(scanned_);
    switch (state_) {
      case State::kStart:
      case State::kHeader: {
        if (arguments_left_ == 0) return finish();
        const std::size_t before = scanned_;
        auto part = argument_header(input);
        // It needs more, or is an error.
        if (!part || part->size != 0 || scanned_ == before) return part;
        break;
      }
      case State::kName:
        // A name that is too long is in no table, and need not be there whole.
        if (payload_left_ <= kLongestCommandName) {
          if (rest.size() < payload_left_) return pause();
          if (auto known = know(rest.substr(0, payload_left_)); !known)
            return fail(std::move(known).error());
        } else {
          command_ = &find_command({});
        }
        state_ = State::kPayload;
        break;
      case State::kPayload: {
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(payload_left_, rest.size()));
        scanned_ += size;
        payload_left_ -= size;
        if (payload_left_ != 0) return pause();
        state_ = State::kPayloadEnd;
        break;
      }
      case State::kPayloadEnd:
        if (!kLineEnd.starts_with(rest.substr(0, kLineEnd.size())))
          return refuse("an argument longer than its bulk length", scanned_);
        if (rest.size() < kLineEnd.size()) return pause();
        scanned_ += kLineEnd.size();
        --arguments_left_;
        state_ = State::kHeader;
        break;
    }
  }
}

// On success either `scanned_` has moved behind the header, or the result is what there is to
// return.
Result<CommandPart> CommandFramer::argument_header(std::string_view input) {
  const std::string_view rest = input.substr(scanned_);
  if (rest.empty()) return pause();
  if (rest.front() != '$') return refuse("expected '$', got " + shown(rest.front()), scanned_);
  const auto line = find_line(rest, 0, kLongestHeader);
  if (!line)
    return refuse(
        line.error() == kTooLong ? "too big bulk count string" : std::string(line.error()),
        scanned_);
  if (line->size == 0) return pause();
  const auto size = canonical_integer(line->content.substr(1));
  if (!size || *size < 0) return refuse("invalid bulk length", scanned_);
  if (static_cast<std::uint64_t>(*size) > limits_.bulk)
    return refuse("invalid bulk length, more than " + std::to_string(limits_.bulk), scanned_);
  payload_left_ = static_cast<std::uint64_t>(*size);
  scanned_ += line->size;
  if (command_ == nullptr) {
    state_ = State::kName;
  } else {
    state_ = State::kPayload;
    if (auto fits = within_whole(payload_left_ + kLineEnd.size() +
                                 (arguments_left_ - 1) * kShortestArgument);
        !fits)
      return fail(std::move(fits).error());
  }
  return CommandPart{};
}

Status CommandFramer::know(std::string_view name) {
  command_ = &find_command(name);
  whole_ = command_->has(kWhole) || command_->has(kWholeIfShort);
  return within_whole(name.size() + kLineEnd.size() + (arguments_left_ - 1) * kShortestArgument);
}

// `more` bytes at least come behind those that have been read.
Status CommandFramer::within_whole(std::uint64_t more) {
  if (!whole_ || scanned_ + more <= limits_.whole) return {};
  if (command_->has(kWhole))
    return refuse(
        std::string(command_->name) + " of more than " + std::to_string(limits_.whole) + " bytes",
        0);
  whole_ = false;
  return {};
}

}  // namespace clonesafe::wire::resp
