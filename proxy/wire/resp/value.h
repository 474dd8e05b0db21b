#ifndef CLONESAFE_PROXY_WIRE_RESP_VALUE_H_
#define CLONESAFE_PROXY_WIRE_RESP_VALUE_H_

namespace clonesafe::wire::resp {

// The types of RESP2 and RESP3, by their first byte.
enum class Type : char {
  kSimpleString = '+',
  kError = '-',
  kInteger = ':',
  kBulkString = '$',
  kArray = '*',
  kNull = '_',
  kBoolean = '#',
  kDouble = ',',
  kBigNumber = '(',
  kBulkError = '!',
  kVerbatim = '=',
  kMap = '%',
  kSet = '~',
  kAttribute = '|',
  kPush = '>',
};

// A number of bytes and a CRLF follow the line.
constexpr bool has_payload(Type type) {
  return type == Type::kBulkString || type == Type::kBulkError || type == Type::kVerbatim;
}
// Other values follow the line.
constexpr bool is_aggregate(Type type) {
  return type == Type::kArray || type == Type::kMap || type == Type::kSet ||
         type == Type::kAttribute || type == Type::kPush;
}
constexpr bool is_error(Type type) {
  return type == Type::kError || type == Type::kBulkError;
}

enum class Protocol { kResp2 = 2, kResp3 = 3 };

}  // namespace clonesafe::wire::resp

#endif  // CLONESAFE_PROXY_WIRE_RESP_VALUE_H_
