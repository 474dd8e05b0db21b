// A Redis client's and a server's bytes: whatever pieces they come in, they mean the same, and what
// was understood can be written again.
#include <cstdint>
#include <cstdlib>

#include "proxy/wire/resp/builder.h"
#include "proxy/wire/resp/value_reader.h"
#include "tests/unit/proxy_wire_resp/framing.h"

using namespace clonesafe;
using namespace clonesafe::wire::resp;

namespace {

void require(bool good) {
  if (!good) std::abort();
}

// Each command that comes whole is understood as its arguments say, and is the same command when it
// is written again.
void check_commands(std::string_view bytes) {
  CommandFramer framer;
  static_cast<void>(feed(
      bytes, bytes.size(), [&](std::string_view input) { return framer.next(input); },
      [](const CommandPart& part, std::string_view text) {
        if (!part.whole() || part.command->command == Command::kEmpty) return;
        std::vector<std::string> arguments;
        CommandArguments reader(text);
        while (const auto argument = reader.next()) arguments.emplace_back(*argument);
        require(arguments.size() == part.arguments);
        require(&find_command(arguments[0]) == part.command);
        const std::vector<std::string_view> views(arguments.begin(), arguments.end());
        std::string again;
        append_command(again, views);
        require(text.front() != '*' || again == text);
        CommandFramer other;
        const auto same = other.next(again);
        require(same && same->size == again.size() && same->command == part.command);
      }));
}

// A whole reply holds as many values as it says, and each ends where it should.
void check_replies(std::string_view bytes) {
  ReplyFramer framer;
  static_cast<void>(feed(
      bytes, bytes.size(), [&](std::string_view input) { return framer.next(input); },
      [](const ReplyPart& part, std::string_view text) {
        if (!part.whole()) return;
        ValueReader reader(text);
        std::int64_t left = 1;
        while (left != 0) {
          const auto value = reader.next();
          // What a verbatim string's format is, only its reader looks at.
          if (!value) return require(text.contains('='));
          if (is_aggregate(value->type) && !value->null) left += value->number;
          if (value->type != Type::kAttribute) --left;
        }
        require(reader.at_end());
      }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t setup = data[0];
  const std::size_t piece = data[1] % 16 + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const bool small = (setup & 2) != 0;
  if ((setup & 1) == 0) {
    const auto limits =
        small ? CommandLimits{.bulk = 20, .arguments = 4, .inline_line = 16, .whole = 40}
              : CommandLimits();
    require(commands(bytes, piece, limits) == commands(bytes, bytes.size(), limits));
    check_commands(bytes);
  } else {
    const auto limits =
        small ? ReplyLimits{.bulk = 20, .elements = 4, .line = 16, .whole = 40} : ReplyLimits();
    const auto handling = (setup & 4) != 0 ? Handling::kWhole : Handling::kPassOn;
    const bool subscribed = (setup & 8) != 0;
    require(replies(bytes, piece, handling, subscribed, limits) ==
            replies(bytes, bytes.size(), handling, subscribed, limits));
    check_replies(bytes);
  }
  return 0;
}
