#include "proxy/tls/tickets.h"

#include <openssl/crypto.h>

namespace clonesafe::proxy {
namespace {

// Of each host. A server gives one or two in each connection.
constexpr std::size_t kMostOfAHost = 8;

// Whose tickets a session's are, as OpenSSL keeps it beside the session.
struct Origin {
  std::shared_ptr<Tickets> tickets;
  std::string host;
};

void free_origin(void*, void* origin, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<Origin*>(origin);
}

int origin_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_origin);
  return index;
}

// A copy: what becomes of the connection must not spoil the ticket.
int take_new(SSL* ssl, SSL_SESSION* session) {
  const auto* const origin = static_cast<Origin*>(SSL_get_ex_data(ssl, origin_index()));
  if (origin != nullptr)
    origin->tickets->keep(origin->host, SslSessionPointer(SSL_SESSION_dup(session)));
  return 0;
}

}  // namespace

void Tickets::turn_generation() {
  const Fence::Epoch epoch = fence_.now();
  if (epoch == epoch_) return;
  epoch_ = epoch;
  forget();
}

void Tickets::forget() {
  if (use_ != TicketUse::kShared) tickets_.clear();
}

SslSessionPointer Tickets::take(const std::string& host) {
  turn_generation();
  auto& all = tickets_[host];
  while (!all.empty()) {
    if (SSL_SESSION_get_protocol_version(all.back().get()) < TLS1_3_VERSION) {
      // It may be used again, and the server gives no other.
      SSL_SESSION_up_ref(all.back().get());
      return SslSessionPointer(all.back().get());
    }
    SslSessionPointer ticket = std::move(all.back());
    all.pop_back();
    if (SSL_SESSION_is_resumable(ticket.get()) == 1) return ticket;
  }
  return nullptr;
}

void Tickets::keep(const std::string& host, SslSessionPointer ticket) {
  turn_generation();
  if (!ticket || !any_use() || SSL_SESSION_is_resumable(ticket.get()) != 1) return;
  auto& all = tickets_[host];
  if (all.size() >= kMostOfAHost) all.pop_front();
  all.push_back(std::move(ticket));
}

std::size_t Tickets::size() const {
  std::size_t count = 0;
  for (const auto& [host, all] : tickets_) count += all.size();
  return count;
}

void use_tickets(SSL* session, const std::string& host, const std::shared_ptr<Tickets>& tickets) {
  if (!tickets || !tickets->any_use()) return;
  auto origin = std::make_unique<Origin>(Origin{.tickets = tickets, .host = host});
  if (SSL_set_ex_data(session, origin_index(), origin.get()) != 1) return;
  [[maybe_unused]] const Origin* const owned_by_session = origin.release();
  // One that the session does not take is as good as none.
  if (const SslSessionPointer ticket = tickets->take(host); ticket)
    SSL_set_session(session, ticket.get());
}

void set_up_tickets(SSL_CTX* context, TicketUse use) {
  if (use == TicketUse::kOff) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    return;
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, take_new);
}

}  // namespace clonesafe::proxy
