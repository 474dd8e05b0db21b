// A PostgreSQL session between an application and a server that both send anything: what follows
// it is never out of step with itself, and what it would say to another server is well formed. Each
// step is a byte (its lowest bit: who sends), a length, and so many bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuzz/require.h"
#include "proxy/protocols/postgres/lost_transaction.h"
#include "proxy/protocols/postgres/pending.h"

namespace {

using namespace clonesafe::proxy::postgres;

void require_messages(std::string_view bytes, Framer::From from) {
  Framer framer(from);
  framer.handle_all(clonesafe::wire::postgres::Handling::kPass);
  while (!bytes.empty()) {
    const auto piece = framer.next(bytes);
    require(piece.has_value() && piece->has_value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  Shadow shadow;
  Pending pending(shadow);
  LostTransaction lost(shadow);
  Framer client(Framer::From::kClient), server(Framer::From::kServer);
  while (input.size() > 2) {
    const bool from_client = (input[0] & 1) != 0;
    const bool loses = (input[0] & 2) != 0;
    const std::size_t length = static_cast<unsigned char>(input[1]);
    std::string_view step = input.substr(2, length);
    input.remove_prefix(2 + step.size());
    Framer& framer = from_client ? client : server;
    for (;;) {
      const auto piece = framer.next(step);
      if (!piece) return 0;
      if (!*piece) break;
      if (!(*piece)->first) continue;
      if (from_client && lost.takes_messages()) {
        require_messages(lost.take(**piece, {}), Framer::From::kServer);
      } else if (auto taken = from_client ? pending.sent(**piece, {}) : pending.received(**piece);
                 !taken) {
        return 0;
      }
    }
    if (!loses) continue;
    const bool in_transaction = pending.status() != TransactionStatus::kIdle;
    pending.clear(TransactionStatus::kIdle);
    shadow.transaction_lost();
    if (in_transaction) lost.begin(false);
    const auto replay = shadow.replay();
    require(replay.has_value());
    require_messages(replay->messages, Framer::From::kClient);
  }
  return 0;
}
