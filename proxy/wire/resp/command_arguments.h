#ifndef CLONESAFE_PROXY_WIRE_RESP_COMMAND_ARGUMENTS_H_
#define CLONESAFE_PROXY_WIRE_RESP_COMMAND_ARGUMENTS_H_

#include <optional>
#include <string>
#include <string_view>

namespace clonesafe::wire::resp {

// The arguments of one whole command (CommandPart::whole()), the name first, one after the other
// and without a copy of those that came as bulk strings. Not thread-safe.
class CommandArguments {
 public:
  explicit CommandArguments(std::string_view command);

  // Nothing after the last one. What is returned is good until the next call.
  std::optional<std::string_view> next();

 private:
  std::string_view rest_;
  const bool is_line_;
  std::string token_;
};

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_COMMAND_ARGUMENTS_H_
