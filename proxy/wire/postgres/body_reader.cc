#include "proxy/wire/postgres/body_reader.h"

#include <cstdio>

namespace clonesafe::wire::postgres {

std::string printable_byte(char byte) {
  if (byte > ' ' && byte < 0x7f && byte != '\'' && byte != '\\') return {'\'', byte, '\''};
  char text[8];
  std::snprintf(text, sizeof text, "0x%02x", static_cast<unsigned char>(byte));
  return text;
}

std::uint8_t BodyReader::u8() {
  const auto field = bytes(1);
  return field.empty() ? 0 : static_cast<std::uint8_t>(field[0]);
}

std::uint16_t BodyReader::u16() {
  const auto field = bytes(2);
  return field.empty() ? 0 : load_u16(field);
}

std::uint32_t BodyReader::u32() {
  const auto field = bytes(4);
  return field.empty() ? 0 : load_u32(field);
}

std::string_view BodyReader::bytes(std::size_t size) {
  if (!good()) return {};
  if (size > left()) {
    refuse(std::to_string(size) + " bytes expected, " + std::to_string(left()) + " are left");
    return {};
  }
  const auto field = body_.substr(position_, size);
  position_ += size;
  return field;
}

std::string_view BodyReader::text() {
  if (!good()) return {};
  const auto end = body_.find('\0', position_);
  if (end == std::string_view::npos) {
    refuse("text without its terminating zero");
    return {};
  }
  const auto field = body_.substr(position_, end - position_);
  position_ = end + 1;
  return field;
}

std::string_view BodyReader::rest() {
  return bytes(left());
}

void BodyReader::refuse(std::string problem) {
  if (!good()) return;
  problem_ = std::move(problem);
  problem_at_ = position_;
}

Status BodyReader::status() const {
  if (good()) return {};
  return fail("PostgreSQL " + std::string(message_) + ", byte " + std::to_string(problem_at_) +
              " of its body: " + problem_);
}

Status BodyReader::finish() {
  if (good() && left() != 0) refuse(std::to_string(left()) + " bytes too many");
  return status();
}

}  // namespace clonesafe::wire::postgres
