#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "clonesafe/clonesafe.h"
#include "proxy/upstream/upstream.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::proxy::postgres {

// Where a session's queries are cancelled, for now.
struct CancelTarget {
  Upstream::Peer peer;
  std::uint32_t process = 0;
  std::string key;
  // Of a connection that a clone leaves: when it was opened.
  std::optional<cs_stamp> opened;

  bool stale() const { return opened && cs_changed_inline(&*opened) != 0; }
};

// What the threads of one service share: a request to cancel comes on a connection of its own, to
// whichever thread takes it. Thread-safe; locked at logins and cancels only.
class Shared {
 public:
  static Result<std::shared_ptr<Shared>> make();

  struct Key {
    std::uint32_t process = 0;
    std::string key;
  };
  // The proxy's own, for an application: what its servers give changes.
  Result<Key> add();
  void remove(std::uint32_t process);
  // Null: no server has the session now.
  void set_target(std::uint32_t process, std::shared_ptr<const CancelTarget> target);
  // Null if there is no such key, or no server has the session now. Whoever holds it is about to
  // cancel what that server does.
  std::shared_ptr<const CancelTarget> find(std::uint32_t process, std::string_view key) const;

  // From which the salts of users that aren't there are made.
  const wire::scram::Key& decoy_secret() const { return decoy_secret_; }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const CancelTarget> target;
  };
  Shared() = default;

  mutable std::mutex mutex_;
  std::map<std::uint32_t, Entry> entries_;
  wire::scram::Key decoy_secret_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_SHARED_H_
