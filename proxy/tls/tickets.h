#ifndef CLONESAFE_PROXY_TLS_TICKETS_H_
#define CLONESAFE_PROXY_TLS_TICKETS_H_

#include <openssl/ssl.h>

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "proxy/core/fence.h"
#include "proxy/tls/context.h"

namespace clonesafe::proxy {

// What servers gave to go on with their TLS sessions in the next connection: one each, used once in
// TLS 1.3. Two clones that used the same one would be known as copies of one machine, and whoever
// reads one in a snapshot can be that machine to its server until it expires: so a clone has none
// of its parent's, unless they are shared. No early data is ever sent. Not thread-safe.
class Tickets {
 public:
  // `fence` outlives it.
  Tickets(Fence& fence, TicketUse use) : fence_(fence), use_(use), epoch_(fence.now()) {}
  Tickets(const Tickets&) = delete;
  Tickets& operator=(const Tickets&) = delete;

  bool any_use() const { return use_ != TicketUse::kOff; }
  // The newest for connections to that host; null: none.
  SslSessionPointer take(const std::string& host);
  void keep(const std::string& host, SslSessionPointer ticket);
  // A snapshot was announced whose image shall hold none. Those that are shared stay.
  void forget();

  std::size_t size() const;

 private:
  void turn_generation();

  Fence& fence_;
  const TicketUse use_;
  Fence::Epoch epoch_;
  std::map<std::string, std::deque<SslSessionPointer>> tickets_;  // the newest is at the end
};

// Has a session go on with one of these, if there is one, and give those that it gets to them. They
// outlive it together with it.
void use_tickets(SSL* session, const std::string& host, const std::shared_ptr<Tickets>& tickets);
// For the sessions of a context.
void set_up_tickets(SSL_CTX* context, TicketUse use);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_TLS_TICKETS_H_
