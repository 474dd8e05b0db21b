#ifndef CLONESAFE_PROXY_WIRE_RESP_INLINE_TOKENS_H_
#define CLONESAFE_PROXY_WIRE_RESP_INLINE_TOKENS_H_

#include <string>
#include <string_view>

namespace clonesafe::wire::resp {

// The arguments of a command that was typed: a line without its end, taken apart as redis-server's
// sdssplitargs() does it.
class InlineTokens {
 public:
  enum class Found { kToken, kEnd, kUnbalancedQuotes };

  explicit InlineTokens(std::string_view line) : rest_(line) {}

  // Nothing is kept of an argument for which there is no `token`; one that is given keeps its
  // memory.
  Found next(std::string* token);
  std::string_view rest() const { return rest_; }

 private:
  char take();

  std::string_view rest_;
};

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_INLINE_TOKENS_H_
