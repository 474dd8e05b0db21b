// What is read of a connection's bytes that come in pieces, in a form that can be compared.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_HTTP1_MESSAGES_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_HTTP1_MESSAGES_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/wire/http1/body_framer.h"
#include "proxy/wire/http1/head_reader.h"

namespace clonesafe::wire::http1 {

// Gives `bytes` to the readers, at most `piece` more at a time: what is not consumed is given
// again.
class Pieces {
 public:
  Pieces(std::string_view bytes, std::size_t piece) : bytes_(bytes), piece_(piece) {}

  std::string_view input() const { return bytes_.substr(begin_, end_ - begin_); }
  bool more() {
    if (end_ == bytes_.size()) return false;
    end_ = std::min(bytes_.size(), end_ + piece_);
    return true;
  }
  void consume(std::size_t size) { begin_ += size; }
  std::size_t begin() const { return begin_; }

 private:
  const std::string_view bytes_;
  const std::size_t piece_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// Appends what became of the body. False: there is nothing more to read.
inline bool read_body(Pieces& pieces, const Body& body, BodyLimits limits, std::string& line) {
  BodyFramer framer(body, limits);
  std::size_t size = 0;
  while (true) {
    const auto part = framer.next(pieces.input());
    if (!part) {
      line += " | " + part.error().message();
      return false;
    }
    if (part->size > pieces.input().size()) {
      line += " | more consumed than given";
      return false;
    }
    size += part->size;
    pieces.consume(part->size);
    if (part->last) break;
    if (part->size == 0 && !pieces.more()) {
      const auto finished = framer.finish();
      if (!finished) line += " | " + finished.error().message();
      line += " | " + std::to_string(size) + " bytes to the end";
      return false;
    }
  }
  line += " | " + std::to_string(size) + " bytes";
  return true;
}

template <typename Read, typename Describe>
std::vector<std::string> messages(std::string_view bytes, std::size_t piece, BodyLimits limits,
                                  const Read& read, const Describe& describe) {
  Pieces pieces(bytes, piece);
  std::vector<std::string> lines;
  while (true) {
    const auto head = read(pieces.input());
    if (!head) {
      lines.push_back(head.error().message());
      return lines;
    }
    if (*head == nullptr) {
      if (pieces.more()) continue;
      if (!pieces.input().empty()) lines.emplace_back("not whole");
      return lines;
    }
    std::string line = describe(**head);
    for (const Field& field : (*head)->fields)
      line.append(" [").append(field.name).append("=").append(field.value).append("]");
    const Body body = (*head)->body;
    pieces.consume((*head)->size);
    const bool more = read_body(pieces, body, limits, line);
    lines.push_back(line);
    if (!more) return lines;
  }
}

inline std::vector<std::string> requests(std::string_view bytes, std::size_t piece,
                                         HeadLimits head_limits = {}, BodyLimits limits = {}) {
  HeadReader reader(head_limits);
  return messages(
      bytes, piece, limits, [&](std::string_view input) { return reader.read_request(input); },
      [](const RequestHead& head) {
        return std::string(head.method_name) + " " + std::string(head.target) + " to " +
               std::string(head.host) + (head.persistent ? "" : ", last");
      });
}

inline std::vector<std::string> responses(std::string_view bytes, std::size_t piece,
                                          RequestContext context = {}, HeadLimits head_limits = {},
                                          BodyLimits limits = {}) {
  HeadReader reader(head_limits);
  return messages(
      bytes, piece, limits,
      [&](std::string_view input) { return reader.read_response(input, context); },
      [](const ResponseHead& head) {
        return std::to_string(head.status) + " " + std::string(head.reason) +
               (head.persistent ? "" : ", last");
      });
}

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_HTTP1_MESSAGES_H_
