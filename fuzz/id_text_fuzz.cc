// The texts of UUIDs and ULIDs, which come from anybody, and of the operator's document.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>

#include "clonesafe/ids.hpp"
#include "libclonesafe/ids/worker_range.h"

namespace {

// What is read must be written as the same value, and in the one form that there is.
template <typename Identifier>
void check(const std::string& text, std::size_t written) {
  const auto read = Identifier::from_string(text);
  if (!read) return;
  const std::string again = read->to_string();
  if (again.size() != written || Identifier::from_string(again) != read) std::abort();
  std::istringstream in(text);
  Identifier streamed;
  if (!(in >> streamed) || streamed != *read) std::abort();
}

template <typename Identifier>
void stream(const std::string& text) {
  std::istringstream in(text);
  for (Identifier identifier; in >> identifier;) {
    if (Identifier::from_string(identifier.to_string()) != identifier) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check<clonesafe::Uuid>(text, 36);
  check<clonesafe::Ulid>(text, 26);
  stream<clonesafe::Uuid>(text);
  stream<clonesafe::Ulid>(text);
  clonesafe::ids::WorkerRange range;
  using enum clonesafe::ids::RangeCondition;
  if (clonesafe::ids::find_worker_range(text, range) == kFound && range.first > range.last) {
    std::abort();
  }
  // Refused text leaves zeros.
  unsigned char bytes[16];
  const unsigned char zeros[16] = {};
  std::memset(bytes, 0xee, sizeof(bytes));
  if (cs_uuid_parse(text.data(), text.size(), bytes) != 0 && std::memcmp(bytes, zeros, 16) != 0) {
    std::abort();
  }
  std::memset(bytes, 0xee, sizeof(bytes));
  if (cs_ulid_parse(text.data(), text.size(), bytes) != 0 && std::memcmp(bytes, zeros, 16) != 0) {
    std::abort();
  }
  return 0;
}
