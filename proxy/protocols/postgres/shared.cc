#include "proxy/protocols/postgres/shared.h"

#include <openssl/crypto.h>

#include "proxy/wire/postgres/protocol.h"

namespace clonesafe::proxy::postgres {
namespace {

// As a server's numbers of processes are: above 0 in 32 bits with a sign.
constexpr std::uint32_t kProcessMask = 0x7fffffff;

std::unexpected<Error> no_random(int code) {
  return fail("no random number: libclonesafe: error " + std::to_string(code));
}

}  // namespace

Result<std::shared_ptr<Shared>> Shared::make() {
  std::shared_ptr<Shared> shared(new Shared);
  wire::scram::Key& secret = shared->decoy_secret_;
  if (const int code = cs_random_private(secret.data(), secret.size()); code != 0)
    return no_random(code);
  return shared;
}

Result<Shared::Key> Shared::add() {
  Key key{.key = std::string(wire::postgres::kKeySize30, '\0')};
  if (const int code = cs_random_private(key.key.data(), key.key.size()); code != 0)
    return no_random(code);
  const std::lock_guard lock(mutex_);
  for (;;) {
    if (const int code = cs_random(&key.process, sizeof key.process); code != 0)
      return no_random(code);
    key.process &= kProcessMask;
    if (key.process != 0 &&
        entries_.try_emplace(key.process, Entry{.key = key.key, .target = {}}).second)
      return key;
  }
}

void Shared::remove(std::uint32_t process) {
  const std::lock_guard lock(mutex_);
  entries_.erase(process);
}

void Shared::set_target(std::uint32_t process, std::shared_ptr<const CancelTarget> target) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(process);
  if (entry != entries_.end()) entry->second.target = std::move(target);
}

std::shared_ptr<const CancelTarget> Shared::find(std::uint32_t process,
                                                 std::string_view key) const {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(process);
  if (entry == entries_.end() || entry->second.key.size() != key.size() ||
      CRYPTO_memcmp(entry->second.key.data(), key.data(), key.size()) != 0)
    return nullptr;
  return entry->second.target;
}

}  // namespace clonesafe::proxy::postgres
