#ifndef CLONESAFE_PROXY_WIRE_RESP_VALUE_READER_H_
#define CLONESAFE_PROXY_WIRE_RESP_VALUE_READER_H_

#include <cstdint>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/resp/value.h"

namespace clonesafe::wire::resp {

struct Value {
  Type type = Type::kNull;
  bool null = false;  // also $-1 and *-1
  // Of strings and errors what they say, of numbers their digits; of a verbatim string all behind
  // its format.
  std::string_view text;
  // An integer, 1 for true, or how many values follow that belong to this one (a map's keys and
  // values are counted both).
  std::int64_t number = 0;
};

// Reads a whole reply (ReplyPart::whole()) value by value: an aggregate first, then what is in it.
// Strings are views of the reply. Not thread-safe.
class ValueReader {
 public:
  explicit ValueReader(std::string_view reply) : rest_(reply) {}

  bool at_end() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }
  Result<Value> next();

 private:
  std::string_view rest_;
};

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_VALUE_READER_H_
