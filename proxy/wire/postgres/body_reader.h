#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_BODY_READER_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_BODY_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::wire::postgres {

// Big-endian numbers at the front of `bytes`, which must hold them.
inline std::uint32_t load_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}
inline std::uint16_t load_u16(std::string_view bytes) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[0]) << 8 |
                                    static_cast<unsigned char>(bytes[1]));
}

// A byte of a peer's as an error may show it: 'Q', or 0x00.
std::string printable_byte(char byte);

// Reads the body of one message. After the first field that isn't there every read gives zero or
// nothing, so a parser reads all fields and asks once, at the end, whether they were there.
class BodyReader {
 public:
  // `message` is named in errors.
  BodyReader(std::string_view message, std::string_view body) : message_(message), body_(body) {}

  std::uint8_t u8();
  std::uint16_t u16();
  std::uint32_t u32();
  std::int32_t i32() { return static_cast<std::int32_t>(u32()); }
  std::string_view bytes(std::size_t size);
  std::string_view text();  // up to a zero byte, which is taken too
  std::string_view rest();

  bool good() const { return problem_.empty(); }
  std::size_t left() const { return body_.size() - position_; }
  std::size_t position() const { return position_; }
  // A field was there, but isn't what it may be. The first problem is the one that is told.
  void refuse(std::string problem);

  // What was wrong first.
  Status status() const;
  // Also: nothing is left.
  Status finish();

 private:
  std::string_view message_;
  std::string_view body_;
  std::size_t position_ = 0;
  std::size_t problem_at_ = 0;
  std::string problem_;
};

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_BODY_READER_H_
