// What a framer makes of bytes that come in pieces, in a form that can be compared.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_RESP_FRAMING_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_RESP_FRAMING_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/resp/command_arguments.h"
#include "proxy/wire/resp/command_framer.h"
#include "proxy/wire/resp/reply_framer.h"

namespace clonesafe::wire::resp {

// Gives `bytes` to `next`, at most `piece` more at a time, as a connection's reader would: what is
// not consumed is given again. `take(part, bytes of the part)` gets each part. Returns the error.
template <typename Next, typename Take>
std::string feed(std::string_view bytes, std::size_t piece, const Next& next, const Take& take) {
  std::size_t begin = 0;
  std::size_t end = 0;
  while (true) {
    const auto part = next(bytes.substr(begin, end - begin));
    if (!part) return part.error().message();
    if (part->size > end - begin) return "more consumed than given";
    if (part->size == 0) {
      if (end == bytes.size()) return {};
      end = std::min(bytes.size(), end + piece);
      continue;
    }
    take(*part, bytes.substr(begin, part->size));
    begin += part->size;
  }
}

// One line for each command: its name in the table, how many arguments, its bytes, and its
// arguments if it came whole.
inline std::vector<std::string> commands(std::string_view bytes, std::size_t piece,
                                         CommandLimits limits = {}) {
  CommandFramer framer(limits);
  std::vector<std::string> lines;
  std::string text;
  const auto error = feed(
      bytes, piece, [&](std::string_view input) { return framer.next(input); },
      [&](const CommandPart& part, std::string_view of_part) {
        if (part.first != text.empty()) lines.emplace_back("first part out of place");
        text += of_part;
        if (!part.last) return;
        std::string line(part.command->name);
        line += part.command->command == Command::kEmpty ? "empty" : "";
        line += " " + std::to_string(part.arguments) + ":";
        CommandArguments arguments(text);
        while (const auto argument = arguments.next()) line.append(" ").append(*argument);
        lines.push_back(line);
        text.clear();
      });
  if (!error.empty()) lines.push_back(error);
  return lines;
}

// One line for each reply: its type, its push kind if it is a push, its bytes.
inline std::vector<std::string> replies(std::string_view bytes, std::size_t piece,
                                        Handling handling = Handling::kPassOn,
                                        bool subscribed = false, ReplyLimits limits = {}) {
  ReplyFramer framer(limits);
  framer.set_subscribed(subscribed);
  std::vector<std::string> lines;
  std::string text;
  const auto error = feed(
      bytes, piece, [&](std::string_view input) { return framer.next(input, handling); },
      [&](const ReplyPart& part, std::string_view of_part) {
        if (part.first != text.empty()) lines.emplace_back("first part out of place");
        if (handling == Handling::kWhole && !part.whole()) lines.emplace_back("not whole");
        text += of_part;
        if (!part.last) return;
        std::string line(1, static_cast<char>(part.type));
        if (part.push != PushKind::kNone)
          line += "push" + std::to_string(static_cast<int>(part.push));
        lines.push_back(line + " " + text);
        text.clear();
      });
  if (!error.empty()) lines.push_back(error);
  return lines;
}

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_RESP_FRAMING_H_
