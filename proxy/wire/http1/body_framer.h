#ifndef CLONESAFE_PROXY_WIRE_HTTP1_BODY_FRAMER_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_BODY_FRAMER_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/http1/field_section.h"
#include "proxy/wire/http1/message.h"

namespace clonesafe::wire::http1 {

// In bytes.
struct BodyLimits {
  std::size_t chunk_line = 4u << 10;  // the line in front of a chunk
  // Of the lines in front of chunks, what goes beyond 16 bytes and twice the chunk's own size.
  std::size_t chunk_overhead = 16u << 10;
  std::size_t trailers = 16u << 10;  // all lines behind the last chunk
  std::size_t trailer_fields = 64;
};

struct BodyPart {
  // So many bytes at the beginning of the input. 0: more input is needed, or the body has ended.
  std::size_t size = 0;
  // The message ends with this part.
  bool last = false;
};

// Finds the end of a body, so that it can be passed on as it is, chunks included. Chunks are read
// as strictly as heads (HeadReader): CRLF everywhere, no spaces, no control characters in
// extensions, and no trailer that says where a message ends.
//
// It keeps no bytes. What is not consumed has to be given again, with more behind it; an input of
// max(chunk_line, trailers) + 2 bytes is always enough for a part or an error.
// Not thread-safe; one per message. After an error there are only errors.
class BodyFramer {
 public:
  explicit BodyFramer(const Body& body, BodyLimits limits = {});

  Result<BodyPart> next(std::string_view input);
  // The peer ended the connection. An error if the message needed more.
  Status finish();

  bool ended() const { return state_ == State::kEnded; }
  // Bytes of content so far, without what is around chunks.
  std::uint64_t content_size() const { return content_size_; }

 private:
  enum class State { kLength, kUntilClose, kChunkLine, kChunkData, kChunkEnd, kTrailers, kEnded };

  // Each reads as much as there is and moves `consumed`. False: more input is needed.
  Parsed<bool> step(std::string_view rest, std::size_t& consumed);
  bool content(std::string_view rest, std::size_t& consumed);
  Parsed<bool> chunk_line(std::string_view rest, std::size_t& consumed);
  Parsed<bool> trailer(std::string_view rest, std::size_t& consumed);

  const BodyLimits limits_;
  std::optional<Error> failed_;
  State state_;
  // Of the content or the chunk.
  std::uint64_t left_ = 0;
  std::uint64_t overhead_ = 0;
  std::size_t trailers_size_ = 0;
  std::size_t trailers_ = 0;
  std::uint64_t content_size_ = 0;
  std::uint64_t offset_ = 0;
};

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_BODY_FRAMER_H_
