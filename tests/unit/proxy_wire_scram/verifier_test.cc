#include "proxy/wire/scram/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/scram/password.h"
#include "tests/unit/proxy_wire_scram/examples.h"

namespace clonesafe::wire::scram {
namespace {

using testing::HasSubstr;

TEST(Verifier, IsThatOfPostgresql) {
  const auto read = parse_verifier(postgresql15::kVerifier);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->iterations, 4096U);
  EXPECT_EQ(format_verifier(*read), postgresql15::kVerifier);
  const auto made =
      verifier_of(*derive_credential(*prepare_password("secret"), read->salt, read->iterations));
  ASSERT_TRUE(made);
  EXPECT_EQ(format_verifier(*made), postgresql15::kVerifier);
}

TEST(Verifier, IsRefusedIfAnythingIsWrongAndNeverShown) {
  const std::string right(postgresql15::kVerifier);
  std::vector<std::string> wrong;
  for (std::size_t size = 0; size < right.size(); ++size) wrong.push_back(right.substr(0, size));
  wrong.push_back(right + "x");
  wrong.push_back("md5" + std::string(32, '0'));
  for (const auto& [part, other] :
       std::vector<std::pair<std::string, std::string>>{{"4096", "0"},
                                                        {"4096", "x"},
                                                        {"4096", "1000001"},
                                                        {"yxTV", "yxT"},
                                                        {"yxTV", " xTV"},
                                                        {"L9qN", ""},
                                                        {"LNs5", "LNs5AAAA"},
                                                        {"256", "512"}}) {
    auto text = right;
    wrong.push_back(text.replace(text.find(part), part.size(), other));
  }
  for (const auto& text : wrong) {
    const auto read = parse_verifier(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message(), HasSubstr("SCRAM verifier: "));
    EXPECT_EQ(read.error().message().find("UrC8AU"), std::string::npos);
  }
}

TEST(Verifier, HasLimits) {
  const auto password = prepare_password("secret");
  EXPECT_FALSE(derive_credential(*password, "", 4096));
  EXPECT_FALSE(derive_credential(*password, std::string(kMaxSalt + 1, 's'), 4096));
  EXPECT_FALSE(derive_credential(*password, "salt", 0));
  EXPECT_FALSE(derive_credential(*password, "salt", kMaxIterations + 1));
}

TEST(Secret, IsWipedWhenItGoes) {
  alignas(Key) unsigned char place[sizeof(Key)];
  auto* key = new (place) Key;
  key->data()[0] = 0x5a;
  key->data()[kKeySize - 1] = 0x5a;
  key->~Key();
  EXPECT_EQ(std::count(std::begin(place), std::end(place), 0x5a), 0);
}

TEST(Secret, MovesWithoutLeavingACopy) {
  SecretText first("short");
  const auto* bytes = first.view().data();
  const SecretText second = std::move(first);
  EXPECT_EQ(second.view().data(), bytes);
  EXPECT_EQ(second.view(), "short");
}

}  // namespace
}  // namespace clonesafe::wire::scram
