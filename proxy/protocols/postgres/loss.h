#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOSS_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOSS_H_

#include <string>

#include "proxy/protocols/postgres/lost_transaction.h"
#include "proxy/protocols/postgres/pending.h"

namespace clonesafe::proxy::postgres {

// The server's connection is gone: why no other can go on with the session; empty if one can.
Refusal why_it_ends(const Pending& pending, const Shadow& shadow);

// If one can: what the application gets for messages whose answers didn't come. In a transaction
// nothing of them was kept; outside nobody knows. Nothing is pending afterwards.
std::string answer_all(Pending& pending, Shadow& shadow, LostTransaction& lost);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_LOSS_H_
