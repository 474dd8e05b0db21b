#ifndef CLONESAFE_PROXY_WIRE_POSTGRES_BODY_WRITER_H_
#define CLONESAFE_PROXY_WIRE_POSTGRES_BODY_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::wire::postgres {

// Appends one message, whose length it writes at the end. What can't be a message takes everything
// back that was appended: half of one would put the stream out of step.
class BodyWriter {
 public:
  // `message` is named in errors. A packet without type:
  BodyWriter(std::string& out, std::string_view message);
  BodyWriter(std::string& out, ClientMessage type);
  BodyWriter(std::string& out, ServerMessage type);

  void u8(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void u16(std::uint16_t value);
  void u32(std::uint32_t value);
  void i32(std::int32_t value) { u32(static_cast<std::uint32_t>(value)); }
  void bytes(std::string_view value) { out_.append(value); }
  // With a zero byte behind it; one inside can't be sent.
  void text(std::string_view value);
  // Bytes of this message that somebody else writes, behind what is written here.
  void announce(std::size_t size) { announced_ = size; }

  void refuse(std::string problem);
  // Of the packet up to here, without type.
  std::size_t size() const { return out_.size() - length_at_; }
  Status finish();

 private:
  BodyWriter(std::string& out, std::string_view message, char type);

  std::string& out_;
  std::string_view message_;
  std::size_t begin_;
  std::size_t length_at_;
  std::size_t announced_ = 0;
  std::string problem_;
};

}  // namespace clonesafe::wire::postgres

#endif  // CLONESAFE_PROXY_WIRE_POSTGRES_BODY_WRITER_H_
