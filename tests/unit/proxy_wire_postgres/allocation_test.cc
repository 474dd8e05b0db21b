// What a proxy does for each message costs no allocation. Counts those of the whole program.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "proxy/wire/postgres/framer.h"
#include "proxy/wire/postgres/sql_script.h"
#include "tests/unit/proxy_wire_postgres/captured.h"

namespace {
std::atomic<long> allocations = 0;
}  // namespace

// GCC takes them apart when it inlines them.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace clonesafe::wire::postgres {
namespace {

TEST(Allocations, AreNoneForMessagesThatLieInTheInput) {
  Framer framer(Framer::From::kServer);
  const long before = allocations;
  int pieces = 0;
  for (int i = 0; i < 10; ++i) {
    auto input = captured::kPsqlServer;
    while (const auto piece = framer.next(input)) {
      if (!*piece) break;
      ++pieces;
    }
  }
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(pieces, 310);
}

TEST(Allocations, AreNoneForSplitMessagesOnceThereIsABuffer) {
  Framer framer(Framer::From::kServer);
  long before = 0;
  int pieces = 0;
  for (int i = 0; i < 10; ++i) {
    if (i == 1) before = allocations;
    for (std::size_t at = 0; at < captured::kPsqlServer.size(); ++at) {
      auto input = captured::kPsqlServer.substr(at, 1);
      while (const auto piece = framer.next(input)) {
        if (!*piece) break;
        ++pieces;
      }
    }
  }
  EXPECT_EQ(allocations, before);
  EXPECT_GT(pieces, 310);
}

TEST(Allocations, AreNoneForPlainQueries) {
  const long before = allocations;
  SqlScript script("SELECT abalance FROM pgbench_accounts WHERE aid = 1; COMMIT", {});
  int statements = 0;
  while (script.next()) ++statements;
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(statements, 2);
}

}  // namespace
}  // namespace clonesafe::wire::postgres
