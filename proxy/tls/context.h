#ifndef CLONESAFE_PROXY_TLS_CONTEXT_H_
#define CLONESAFE_PROXY_TLS_CONTEXT_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }  // wipes its key
};
using SslPointer = std::unique_ptr<SSL, FreeSsl>;
using SslSessionPointer = std::unique_ptr<SSL_SESSION, FreeSsl>;

class Tickets;

// How the sessions that servers offer to go on with are used.
enum class TicketUse {
  kFresh,   // in the generation in which they were got
  kShared,  // in clones too
  kOff
};

// Towards an upstream.
struct ClientTlsOptions {
  std::string ca_file;      // empty: the system's
  std::string server_name;  // SNI, and the name in the certificate; empty: the upstream's host
  bool verify = true;
  std::string certificate;  // chain, PEM; empty: none
  std::string key;
  std::vector<std::string> alpn;  // in order of preference
  int lowest_version = TLS1_2_VERSION;
  TicketUse tickets = TicketUse::kFresh;
};

// Towards applications.
struct ServerTlsOptions {
  std::string certificate;
  std::string key;
  std::string client_ca_file;  // empty: clients need no certificate
  std::vector<std::string> alpn;
  int lowest_version = TLS1_2_VERSION;
};

// What sessions are made of: certificates and trust are read when it is made, which takes some tens
// of milliseconds, so long before a clone needs it. Thread-safe once made.
class TlsContext {
 public:
  static Result<TlsContext> client(const ClientTlsOptions& options);
  static Result<TlsContext> server(const ServerTlsOptions& options);

  // A session that has not begun. A client's names its server: `host` unless the options name
  // another; and goes on with a session of before, if `tickets` has one.
  Result<SslPointer> session(const std::string& host = {},
                             const std::shared_ptr<Tickets>& tickets = nullptr) const;
  TicketUse ticket_use() const { return ticket_use_; }

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  Status load_certificate(const std::string& certificate, const std::string& key);

  std::unique_ptr<SSL_CTX, FreeSsl> context_;
  bool is_client_ = false;
  bool verify_ = false;
  TicketUse ticket_use_ = TicketUse::kOff;
  std::string server_name_;
  std::vector<std::string> alpn_;
  std::unique_ptr<std::string> alpn_wire_;  // where a server's callback finds it
};

// What OpenSSL last complained of on this thread, in one line; its queue is empty afterwards.
Error tls_error(const std::string& what);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_TLS_CONTEXT_H_
