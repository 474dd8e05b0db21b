#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_ROWS_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::wire::postgres {

// The answers to a proxy's own queries of a server's catalogue: text columns, whole messages. What
// clients ask for passes unread. All views are into the body. Free of state and thread-safe.

struct Column {
  std::string_view name;
  std::uint32_t table = 0;  // OID, or 0
  std::uint16_t attribute = 0;
  std::uint32_t type = 0;  // OID
  std::int16_t size = -1;
  std::int32_t modifier = -1;
  bool binary = false;
};
// At most 65535 columns, as the protocol has no more.
Result<std::vector<Column>> parse_row_description(std::string_view body);
Status append_row_description(std::string& out, std::span<const Column> columns);

using Value = std::optional<std::string_view>;  // nothing: NULL
// Exactly as many values as there is room for in `values`.
Status parse_data_row(std::string_view body, std::span<Value> values);
Status append_data_row(std::string& out, std::span<const Value> values);

// OIDs of a statement's parameters.
Result<std::vector<std::uint32_t>> parse_parameter_description(std::string_view body);

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_ROWS_H_
