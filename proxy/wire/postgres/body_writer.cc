#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {

BodyWriter::BodyWriter(std::string& out, std::string_view message)
    : out_(out), message_(message), begin_(out.size()), length_at_(out.size()) {
  u32(0);
}

BodyWriter::BodyWriter(std::string& out, std::string_view message, char type)
    : out_(out), message_(message), begin_(out.size()), length_at_(out.size() + 1) {
  out_.push_back(type);
  u32(0);
}

BodyWriter::BodyWriter(std::string& out, ClientMessage type)
    : BodyWriter(out, name_of(type), static_cast<char>(type)) {}

BodyWriter::BodyWriter(std::string& out, ServerMessage type)
    : BodyWriter(out, name_of(type), static_cast<char>(type)) {}

void BodyWriter::u16(std::uint16_t value) {
  u8(static_cast<std::uint8_t>(value >> 8));
  u8(static_cast<std::uint8_t>(value));
}

void BodyWriter::u32(std::uint32_t value) {
  u16(static_cast<std::uint16_t>(value >> 16));
  u16(static_cast<std::uint16_t>(value));
}

void BodyWriter::text(std::string_view value) {
  if (value.find('\0') != std::string_view::npos) refuse("a zero byte in a text");
  out_.append(value);
  out_.push_back('\0');
}

void BodyWriter::refuse(std::string problem) {
  if (problem_.empty()) problem_ = std::move(problem);
}

Status BodyWriter::finish() {
  const std::size_t length = size() + announced_;
  if (length > kMaxLength)
    refuse(std::to_string(length) + " bytes, the limit is " + std::to_string(kMaxLength));
  if (!problem_.empty()) {
    out_.resize(begin_);
    return fail("PostgreSQL " + std::string(message_) + " to be sent: " + problem_);
  }
  for (std::size_t i = 0; i < kLengthSize; ++i)
    out_[length_at_ + i] = static_cast<char>(length >> (8 * (kLengthSize - 1 - i)));
  return {};
}

}  // namespace clonesafe::wire::postgres
