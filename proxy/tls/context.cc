#include "proxy/tls/context.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>

#include "proxy/tls/tickets.h"

namespace clonesafe::proxy {
namespace {

// Protocol names as ALPN has them on the wire.
std::string wire_of(const std::vector<std::string>& names) {
  std::string wire;
  for (const std::string& name : names) {
    wire.push_back(static_cast<char>(name.size()));
    wire += name;
  }
  return wire;
}

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

int choose_alpn(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* asked,
                unsigned int asked_size, void* ours) {
  const auto& wire = *static_cast<const std::string*>(ours);
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, bytes_of(wire), static_cast<unsigned>(wire.size()), asked,
                            asked_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

bool is_ip_address(const std::string& host) {
  std::array<unsigned char, 16> address{};
  return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

Result<SSL_CTX*> make(const SSL_METHOD* method, int lowest_version) {
  SSL_CTX* const context = SSL_CTX_new(method);
  if (context == nullptr) return fail(tls_error("TLS"));
  SSL_CTX_set_min_proto_version(context, lowest_version);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // OpenSSL keeps no session: one of another generation must not be used again.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  return context;
}

}  // namespace

Error tls_error(const std::string& what) {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return Error(what);
  const char* const reason = ERR_reason_error_string(code);
  return Error(what + ": " + (reason != nullptr ? reason : "error " + std::to_string(code)));
}

Status TlsContext::load_certificate(const std::string& certificate, const std::string& key) {
  if (SSL_CTX_use_certificate_chain_file(context_.get(), certificate.c_str()) != 1)
    return fail(tls_error("certificate " + certificate));
  if (SSL_CTX_use_PrivateKey_file(context_.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail(tls_error("key " + key));
  if (SSL_CTX_check_private_key(context_.get()) != 1)
    return fail(tls_error("key " + key + ": is not the certificate's"));
  return {};
}

Result<TlsContext> TlsContext::client(const ClientTlsOptions& options) {
  auto made = make(TLS_client_method(), options.lowest_version);
  if (!made) return fail(made.error());
  TlsContext context(*made);
  context.is_client_ = true;
  context.verify_ = options.verify;
  context.server_name_ = options.server_name;
  context.alpn_ = options.alpn;
  context.ticket_use_ = options.tickets;
  set_up_tickets(*made, options.tickets);
  if (options.verify) {
    SSL_CTX_set_verify(*made, SSL_VERIFY_PEER, nullptr);
    const bool trusted =
        options.ca_file.empty()
            ? SSL_CTX_set_default_verify_paths(*made) == 1
            : SSL_CTX_load_verify_locations(*made, options.ca_file.c_str(), nullptr) == 1;
    if (!trusted)
      return fail(
          tls_error("ca_file " + (options.ca_file.empty() ? "of the system" : options.ca_file)));
  }
  if (!options.certificate.empty()) {
    if (auto loaded = context.load_certificate(options.certificate, options.key); !loaded)
      return fail(loaded.error());
  }
  return context;
}

Result<TlsContext> TlsContext::server(const ServerTlsOptions& options) {
  auto made = make(TLS_server_method(), options.lowest_version);
  if (!made) return fail(made.error());
  TlsContext context(*made);
  // Without tickets there is no key of theirs that clones could share.
  SSL_CTX_set_options(*made, SSL_OP_NO_TICKET);
  // A client whose first choice is ChaCha20 has no AES in hardware.
  SSL_CTX_set_options(*made, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_num_tickets(*made, 0);
  if (auto loaded = context.load_certificate(options.certificate, options.key); !loaded)
    return fail(loaded.error());
  if (!options.client_ca_file.empty()) {
    if (SSL_CTX_load_verify_locations(*made, options.client_ca_file.c_str(), nullptr) != 1)
      return fail(tls_error("client_ca_file " + options.client_ca_file));
    SSL_CTX_set_client_CA_list(*made, SSL_load_client_CA_file(options.client_ca_file.c_str()));
    SSL_CTX_set_verify(*made, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  if (!options.alpn.empty()) {
    context.alpn_wire_ = std::make_unique<std::string>(wire_of(options.alpn));
    SSL_CTX_set_alpn_select_cb(*made, choose_alpn, context.alpn_wire_.get());
  }
  return context;
}

Result<SslPointer> TlsContext::session(const std::string& host,
                                       const std::shared_ptr<Tickets>& tickets) const {
  SslPointer ssl(SSL_new(context_.get()));
  if (!ssl) return fail(tls_error("TLS session"));
  if (!is_client_) {
    SSL_set_accept_state(ssl.get());
    return ssl;
  }
  SSL_set_connect_state(ssl.get());
  const std::string& name = server_name_.empty() ? host : server_name_;
  bool named = true;
  if (!name.empty() && is_ip_address(name)) {
    if (verify_)
      named = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), name.c_str()) == 1;
  } else if (!name.empty()) {
    named = SSL_set_tlsext_host_name(ssl.get(), name.c_str()) == 1;
    if (named && verify_) {
      SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      named = SSL_set1_host(ssl.get(), name.c_str()) == 1;
    }
  } else if (verify_) {
    return fail("TLS: the upstream has no name that its certificate could bear (server_name)");
  }
  if (!named) return fail(tls_error("TLS server name " + name));
  if (!alpn_.empty()) {
    const std::string wire = wire_of(alpn_);
    if (SSL_set_alpn_protos(ssl.get(), bytes_of(wire), static_cast<unsigned>(wire.size())) != 0)
      return fail(tls_error("ALPN"));
  }
  use_tickets(ssl.get(), host, tickets);
  return ssl;
}

}  // namespace clonesafe::proxy
