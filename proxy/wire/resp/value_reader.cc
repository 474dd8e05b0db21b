#include "proxy/wire/resp/value_reader.h"

#include "proxy/wire/resp/header_line.h"

namespace clonesafe::wire::resp {

Result<Value> ValueReader::next() {
  const auto line = find_line(rest_, 0, rest_.size());
  if (!line) return fail(std::string(line.error()));
  if (line->size == 0) return fail("a reply that is not whole");
  const auto header = parse_header(line->content);
  if (!header) return fail(std::string(header.error()));
  Value value{.type = header->type, .null = header->null, .number = header->number};
  std::string_view rest = rest_.substr(line->size);
  if (!has_payload(value.type)) {
    value.text = line->content.substr(1);
  } else if (!value.null) {
    const auto size = static_cast<std::uint64_t>(value.number);
    if (rest.size() < size || !rest.substr(size).starts_with(kLineEnd))
      return fail("a string that is not whole");
    value.text = rest.substr(0, size);
    rest.remove_prefix(size + kLineEnd.size());
    if (value.type == Type::kVerbatim) {
      if (value.text[3] != ':') return fail("a verbatim string without a format");
      value.text.remove_prefix(4);
    }
    value.number = 0;
  }
  rest_ = rest;
  return value;
}

}  // namespace clonesafe::wire::resp
