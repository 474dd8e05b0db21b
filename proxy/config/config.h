// config: the proxy's TOML file (docs/man/clonesafe-proxy.8). A mistake is one line that names
// file, line, column and key.
#ifndef CLONESAFE_PROXY_CONFIG_CONFIG_H_
#define CLONESAFE_PROXY_CONFIG_CONFIG_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/core/address.h"
#include "proxy/core/network.h"
#include "proxy/tls/context.h"

namespace clonesafe::proxy {

using Milliseconds = std::chrono::milliseconds;

enum class Protocol { kTcp, kRedis, kHttp, kPostgres };

// What becomes of an application's connection when the machine was cloned and its upstream's is
// stale.
enum class OnClone {
  kClose,  // reset: the application sees an error
  kReopen  // it stays, and the next bytes of the application go to a new connection
};

// After so many failed connects in a row none is tried for a time.
struct BreakerConfig {
  std::uint32_t failures = 5;
  Milliseconds open{2'000};
};

// How each address is asked whether it is well, by each thread.
struct CheckConfig {
  enum class Kind {
    kTcp,      // it takes a connection
    kTls,      // and a TLS handshake comes about
    kHttp,     // GET `path` is answered with `status`
    kRedis,    // PING is answered
    kPostgres  // a StartupMessage is answered, by other than that it takes no sessions now
  };
  Kind kind = Kind::kTcp;
  Milliseconds interval{5'000};
  Milliseconds timeout{1'000};
  std::uint32_t rise = 2;  // so many good answers in a row, and it is well again
  std::uint32_t fall = 3;  // so many bad ones, and it isn't
  std::string path = "/";
  std::uint32_t status = 0;  // 0: any from 200 to 399
};

// Applications open connections to their upstreams' own addresses, and rules of the kernel's bring
// them to the service.
enum class Transparent {
  kNone,
  kRedirect,  // what is redirected: the kernel knows where it was to go
  kTproxy     // what tproxy brings: the connection's own address is where it was to go
};

struct UpstreamConfig {
  std::vector<Address> addresses;  // tried in turn; empty: where each application meant to go
  std::optional<ClientTlsOptions> tls;
  Milliseconds connect_timeout{5'000};  // TCP and TLS, each attempt
  // Nothing of what was sent is acknowledged, or read, for so long: it is lost; 0: the kernel's
  // limit.
  Milliseconds unacknowledged{0};
  // Connects of each thread in a second, and how many of them at once after a rest; 0: no limit.
  std::uint32_t connect_rate = 0;
  std::uint32_t connect_burst = 0;  // 0: as many as in a second
  // Connections that no application waits for are opened at a random time within it.
  Milliseconds spread{1'000};
  std::optional<BreakerConfig> breaker;
  std::optional<CheckConfig> check;
  std::uint32_t max_connections = 0;  // of each thread; 0: no limit
  Milliseconds lifetime{0};           // of one that waits for its next use; 0: no limit
  int send_proxy_protocol = 0;        // a version; 0: none
  std::uint32_t mark = 0;             // of packets, for the kernel's rules (SO_MARK); 0: none
  // Connections that wait for their next use, of each thread, and how long they do.
  std::uint32_t idle_connections = 32;
  Milliseconds idle{30'000};
  std::uint32_t min_idle = 0;  // so many of them at any time
};

// What an HTTP upstream is told of the application.
enum class Forwarded {
  kNone,
  kXForwarded,  // X-Forwarded-For, X-Forwarded-Proto
  kForwarded    // Forwarded (RFC 7239)
};

struct HttpConfig {
  // Until a request's head is whole, and between two pieces of its body.
  Milliseconds request_timeout{30'000};
  // Until a response begins, and between two pieces of it.
  Milliseconds response_timeout{60'000};
  // An application's connection between two requests; 0: no limit.
  Milliseconds keep_alive{75'000};
  std::uint32_t max_head = 32'768;
  std::uint64_t max_body = 0;  // of a request; 0: no limit
  Forwarded forwarded = Forwarded::kNone;
};

enum class PostgresAuthentication {
  kScram,  // against the users of the service; md5 where nothing else is known of a user
  kTrust   // applications of this machine are who they say
};

// What an application has of a connection to the server.
enum class PostgresPooling {
  kSession,     // one of its own
  kTransaction  // for a transaction, one that others have before and after
};

// A program whose standard output is used; without words there is none.
struct CommandConfig {
  std::vector<std::string> words;  // the first is an absolute path
  Milliseconds timeout{10'000};

  bool operator==(const CommandConfig&) const = default;
};

struct PostgresConfig {
  PostgresAuthentication authentication = PostgresAuthentication::kScram;
  std::string users_file;       // read anew at each login
  CommandConfig users_command;  // or run anew
  PostgresPooling pooling = PostgresPooling::kSession;
  bool retry_read_only = false;  // transactions of which the application has got nothing yet
};

struct ServiceConfig {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  std::vector<Address> listen;
  Transparent transparent = Transparent::kNone;
  std::vector<Network> destinations;  // of a transparent service; others are refused
  std::optional<ServerTlsOptions> listen_tls;
  UpstreamConfig upstream;
  PostgresConfig postgres;
  OnClone on_clone = OnClone::kClose;
  // How long an application waits for an upstream that can't be reached.
  Milliseconds hold{5'000};
  // A session without a byte in either direction is closed after it; 0: never.
  Milliseconds idle{0};
  std::uint32_t max_sessions = 16'384;  // of each thread
  // TLS also where a clone is noticed only some time after its first instruction.
  bool allow_window = false;
  // Connections begin with a PROXY header, and come from one of these.
  bool accept_proxy_protocol = false;
  std::vector<Network> trusted_proxies;
  HttpConfig http;
  bool access_log = false;  // a line for each session that ended
};

// What becomes of upstreams' connections when a snapshot is announced. Nothing is sent to them, and
// none is opened, until it is over.
enum class Park {
  kKeep,  // nothing is closed
  kClose  // they are closed with a goodbye: the image holds no session's keys
};

struct Config {
  std::uint32_t threads = 1;
  std::string log_level = "info";
  std::string control_socket;  // empty: none
  std::string user;            // to become one; empty: stays what it is
  bool seccomp = true;         // a filter of system calls
  Park park = Park::kKeep;
  // How long sessions may take to come to rest before a snapshot is refused.
  Milliseconds park_deadline{3'000};
  std::vector<ServiceConfig> services;
  std::vector<std::string> warnings;  // of what is allowed, and may not be meant: a line each
};

// `name` is the file's, for messages.
Result<Config> parse_config(std::string_view text, const std::string& name);
Result<Config> load_config(const std::string& path);

// A file of at most 1 MiB that a configuration names, or is.
Result<std::string> read_config_file(const std::string& path);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CONFIG_CONFIG_H_
