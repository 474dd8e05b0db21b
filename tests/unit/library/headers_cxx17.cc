#include <random>
#include <sstream>
#include <unordered_set>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/secret_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/abi/vmgenid.h"
#include "clonesafe/boost_uuid.hpp"
#include "clonesafe/clonesafe.hpp"
#include "clonesafe/hooks.hpp"
#include "clonesafe/ids.hpp"
#include "clonesafe/values.hpp"
#include "clonesafe/version.h"

std::string draw_from_cxx17();
std::string draw_from_cxx17() {
  const clonesafe::GenerationStamp stamp;
  std::unordered_set<clonesafe::Uuid> uuids;
  for (int i = 0; i < 100; ++i) uuids.insert(clonesafe::Uuid::random());
  uuids.insert(clonesafe::from_boost(clonesafe::BoostUuidV7()()));
  const std::unordered_set<clonesafe::Ulid> ulids = {clonesafe::Ulid::make()};
  std::uniform_int_distribution<int> die(1, 6);
  clonesafe::RandomBits bits;
  clonesafe::SecretMemory secret(32, CS_SECRET_ALLOW_UNCOVERED);
  secret.data()[31] = 1;
  clonesafe::PerGeneration<std::mt19937> engine([] { return std::mt19937(1); });
  const auto token =
      clonesafe::Unique<clonesafe::Uuid>::make([] { return clonesafe::Uuid::random(); });
  const auto hook = clonesafe::Hook::after_restore({}, [&](const cs_event&) { engine.reset(); });
  uuids.erase(token.use());
  if ((*engine.get().share())() == 0 || clonesafe::poll() != 0) uuids.clear();
  std::ostringstream out;
  out << uuids.size() << ' ' << ulids.size() << ' ' << *uuids.begin() << ' ' << die(bits) << ' '
      << stamp.changes() << ' ' << cs_tier_name(clonesafe::status().tier);
  return out.str();
}
