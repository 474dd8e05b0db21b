// A PostgreSQL session between an application and a server that both send anything: what follows
// it is never out of step with itself, and what it would say to another server is well formed. Each
// step is a byte (its lowest bit: who sends), a length, and so many bytes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "proxy/protocols/postgres/lost_transaction.h"
#include "proxy/protocols/postgres/pending.h"
#include "proxy/protocols/postgres/shared_statements.h"

namespace {

using clonesafe::Status;
using namespace clonesafe::proxy::postgres;

void require_messages(std::string_view bytes, Framer::From from) {
  Framer framer(from);
  framer.handle_all(clonesafe::wire::postgres::Handling::kPass);
  while (!bytes.empty()) {
    const auto piece = framer.next(bytes);
    require(piece.has_value() && piece->has_value());
  }
}

// What the server gets in a message's place are messages, up to the rest of that one.
Status send_shared(SharedStatements& statements, const clonesafe::wire::postgres::Piece& piece,
                   ServerStatements& server) {
  clonesafe::proxy::Outgoing out(piece.bytes);
  if (auto added = statements.add(piece, server, out); !added) return added;
  std::string bytes(out.bytes());
  bytes.resize(bytes.size() + (piece.last ? 0 : piece.body_size - piece.body().size()));
  require_messages(bytes, Framer::From::kClient);
  require(server.size() <= ServerStatements::kLimit);
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  Shadow shadow;
  Pending pending(shadow);
  LostTransaction lost(shadow);
  // On a connection of its own, or on one that it shares.
  const bool shared = size % 2 == 1;
  SharedStatements statements(pending, shadow);
  ServerStatements server_statements;
  if (shared) {
    shadow.begin(StartupTerms::of({{"TimeZone", "UTC"}, {"application_name", "fuzz"}}).settings);
    pending.share(&server_statements);
  }
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
      } else if (from_client) {
        if (pending.leaves_out(**piece)) continue;
        if (!pending.sent(**piece, {})) return 0;
        if (shared && !send_shared(statements, **piece, server_statements)) return 0;
      } else if (!pending.received(**piece)) {
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
