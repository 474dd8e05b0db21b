// Both ends of HTTP connections: whatever pieces the bytes come in, they are the same messages; and
// a head that was understood is the same when it is written again.
#include <cstdint>
#include <cstdlib>

#include "proxy/wire/http1/head_writer.h"
#include "tests/unit/proxy_wire_http1/messages.h"

using namespace clonesafe;
using namespace clonesafe::wire::http1;

namespace {

void require(bool good) {
  if (!good) std::abort();
}

bool same(const Head& one, const Head& other) {
  return one.version == other.version && one.body == other.body &&
         std::ranges::equal(one.fields, other.fields);
}

void check_request(std::string_view bytes) {
  HeadReader reader;
  const auto head = reader.read_request(bytes);
  if (!head || *head == nullptr) return;
  require((*head)->size <= bytes.size());
  std::string again;
  require(append_request_head(again, **head, {.drop_hop_by_hop = false}).has_value());
  HeadReader other({.size = 1u << 20});
  const auto twin = other.read_request(again);
  require(twin && *twin != nullptr && (*twin)->size == again.size());
  require(same(**head, **twin) && (*head)->target == (*twin)->target &&
          (*head)->persistent == (*twin)->persistent && (*head)->upgrade == (*twin)->upgrade);
  // What it is without the fields of this connection, it stays.
  std::string once;
  require(append_request_head(once, **head, {}).has_value());
  HeadReader stripped({.size = 1u << 20});
  const auto rest = stripped.read_request(once);
  require(rest && *rest != nullptr && (*rest)->body == (*head)->body &&
          (*rest)->host == (*head)->host);
  std::string twice;
  require(append_request_head(twice, **rest, {}).has_value());
  require(once == twice);
}

void check_response(std::string_view bytes, const RequestContext& context) {
  HeadReader reader;
  const auto head = reader.read_response(bytes, context);
  if (!head || *head == nullptr) return;
  std::string again;
  require(append_response_head(again, **head, {.drop_hop_by_hop = false}).has_value());
  HeadReader other({.size = 1u << 20});
  const auto twin = other.read_response(again, context);
  require(twin && *twin != nullptr && (*twin)->size == again.size());
  require(same(**head, **twin) && (*head)->status == (*twin)->status);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t setup = data[0];
  const std::size_t piece = data[1] % 32 + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const bool small = (setup & 2) != 0;
  const auto head_limits = small ? HeadLimits{.size = 64, .fields = 3} : HeadLimits();
  const auto limits =
      small ? BodyLimits{.chunk_line = 8, .chunk_overhead = 8, .trailers = 16, .trailer_fields = 2}
            : BodyLimits();
  if ((setup & 1) == 0) {
    require(requests(bytes, piece, head_limits, limits) ==
            requests(bytes, bytes.size(), head_limits, limits));
    check_request(bytes);
  } else {
    const RequestContext context{.method = static_cast<Method>(setup / 8 % 10),
                                 .offered_upgrade = (setup & 4) != 0};
    require(responses(bytes, piece, context, head_limits, limits) ==
            responses(bytes, bytes.size(), context, head_limits, limits));
    check_response(bytes, context);
  }
  return 0;
}
