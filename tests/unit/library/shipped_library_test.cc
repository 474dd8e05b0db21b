#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "clonesafe/clonesafe.h"

extern "C" int draw_from_c(unsigned char uuid[16]);
extern "C" int hook_from_c();
std::string draw_from_cxx17();

namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> lines_of(const std::string& command) {
  std::vector<std::string> lines;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr) << command;
  std::array<char, 4096> line;
  while (std::fgets(line.data(), line.size(), pipe) != nullptr) {
    std::string text(line.data());
    if (!text.empty() && text.back() == '\n') text.pop_back();
    lines.push_back(text);
  }
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return lines;
}

TEST(ShippedLibraryTest, ExportsOnlyItsVersionedFunctions) {
  const auto symbols =
      lines_of("nm -D --defined-only " SHARED_LIBRARY " | awk '$2 == \"T\" {print $3}'");
  EXPECT_THAT(symbols, Each(::testing::MatchesRegex("cs_.*@@CLONESAFE_0.1")));
  EXPECT_GE(symbols.size(), 37u);
  const auto others = lines_of("nm -D --defined-only " SHARED_LIBRARY
                               " | awk '$2 != \"T\" && $2 != \"A\" {print $3}'");
#ifndef SANITIZED
  EXPECT_THAT(others, ElementsAre());
#endif
}

TEST(ShippedLibraryTest, LinksLibcryptoAndLibcOnly) {
#ifdef SANITIZED
  GTEST_SKIP() << "a sanitizer brings its own libraries";
#endif
  const auto needed =
      lines_of("readelf -d " SHARED_LIBRARY " | sed -n 's/.*NEEDED.*\\[\\(.*\\)\\]/\\1/p'");
  EXPECT_THAT(needed, IsSubsetOf({"libcrypto.so.3", "libc.so.6"}));
}

TEST(ShippedLibraryTest, HoldsNoTestSeams) {
  const auto seams =
      lines_of("nm -a " SHARED_LIBRARY " | grep -ci -e fortesting -e for_testing; true");
  EXPECT_THAT(seams, ElementsAre("0"));
}

TEST(ShippedLibraryTest, ServesCAndCxx17Programs) {
  unsigned char uuid[16] = {};
  EXPECT_EQ(draw_from_c(uuid), 0);
  EXPECT_EQ(uuid[6] >> 4, 4);
  EXPECT_EQ(hook_from_c(), 0);
  EXPECT_THAT(draw_from_cxx17(), StartsWith("101 1 "));
}

// Each moment with nothing that was wrong.
const auto kAllMoments =
    ElementsAre("before-constructors:", "before-main:", "main:", "thread:", "thread-end:",
                "key-destructor:", "exit-handler:", "after-exit:", "after-destructors:");

TEST(ShippedLibraryTest, ServesBeforeMainInThreadEndsAndAfterExit) {
  EXPECT_THAT(lines_of(LIFETIME_PROGRAM), kAllMoments);
}

TEST(ShippedLibraryTest, ServesAStaticProgramInTheSameMoments) {
#ifndef STATIC_LIFETIME_PROGRAM
  GTEST_SKIP() << "a sanitizer can't be linked statically";
#else
  EXPECT_THAT(lines_of(STATIC_LIFETIME_PROGRAM), kAllMoments);
#endif
}

TEST(ShippedLibraryTest, TakesItsPageFromTheEnvironment) {
  EXPECT_THAT(lines_of("CLONESAFE_GENERATION_PAGE=/nonexistent/page " LIFETIME_PROGRAM),
              kAllMoments);
}

}  // namespace
