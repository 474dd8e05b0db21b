// http1: HTTP/1.1 on the wire (RFC 9112): heads of requests and responses, where their bodies end,
// heads with other fields, and responses of the proxy's own. No I/O and no state of sessions.
#ifndef CLONESAFE_PROXY_WIRE_HTTP1_HEAD_READER_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_HEAD_READER_H_

#include <optional>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/wire/http1/field_section.h"
#include "proxy/wire/http1/message.h"

namespace clonesafe::wire::http1 {

struct HeadLimits {
  std::size_t size = 32u << 10;  // of a head, in bytes, the first line and the empty one included
  std::size_t fields = 128;
};

// Reads the heads of one direction of a connection, stricter than RFC 9112 asks for: what any
// server is known to read in another way is refused, so that whoever gets the same bytes next sees
// the same messages.
//  * Lines end with CRLF. No folded lines, no spaces before a colon, no control characters, no HTTP
//    before 1.0 or after 1.1.
//  * A request of HTTP/1.1 has one Host; a target in absolute form names the same host.
//  * One Content-Length, of digits, without a zero in front; or one Transfer-Encoding, "chunked",
//  in
//    HTTP/1.1; never both, nor either with other spaces than one in front.
// One empty line before a request is skipped (RFC 9112, 2.2).
//
// A head must be in the input whole: until then nothing is consumed, and the same bytes have to be
// given again, with more behind them. An input of `size` + 2 bytes is always enough.
// Not thread-safe; one per direction of a connection. After an error there are only errors.
class HeadReader {
 public:
  explicit HeadReader(HeadLimits limits = {}) : limits_(limits) {}

  // Null: more input is needed. What is returned is good until the next call, and as long as the
  // input is.
  Result<const RequestHead*> read_request(std::string_view input);
  Result<const ResponseHead*> read_response(std::string_view input, const RequestContext& request);

  // After an error of a request: the status to answer with (400, 431, 501, 505).
  std::uint16_t refusal_status() const { return refusal_status_; }

 private:
  // The size of the head that `input` begins with, 0 if it isn't there whole.
  Parsed<std::size_t> find_end(std::string_view input, bool may_begin_empty);
  Parsed<void> parse_request(std::string_view head);
  Parsed<void> parse_request_line(std::string_view line);
  Parsed<void> parse_response(std::string_view head, const RequestContext& request);
  Parsed<void> parse_status_line(std::string_view line);
  Parsed<void> parse_fields(std::string_view lines, Version version);
  void complete(Head& head, std::size_t size);
  std::unexpected<Error> failure(std::string_view kind, const Refusal& refusal);

  const HeadLimits limits_;
  std::optional<Error> failed_;
  std::uint16_t refusal_status_ = 0;
  // Bytes of the input that hold no end of a head, and how many lines they are.
  std::size_t scanned_ = 0;
  std::size_t lines_ = 0;
  std::size_t line_begin_ = 0;
  std::vector<Field> fields_;
  FieldSummary summary_;
  RequestHead request_;
  ResponseHead response_;
};

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_HEAD_READER_H_
