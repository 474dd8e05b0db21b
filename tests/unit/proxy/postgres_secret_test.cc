// Secrets in a proxy's memory, where users and what they have are in a file.
#include "tests/unit/proxy/postgres_secret_fixture.h"

namespace clonesafe::proxy {
namespace {

namespace scram = wire::scram;

TEST(PostgresSecretTest, ParkedProxyHoldsNeitherPasswordsNorKeys) {
  PostgresServer server;
  const Folder folder;
  const std::string users_file = folder / "users";
  std::ofstream(users_file) << "\n";
  const ProxyProcess proxy(server.port(), {.users_file = users_file}, nullptr);
  const std::string password = random_text(), other_password = random_text();
  const PostgresPeer direct = server.direct();
  EXPECT_EQ(direct.query("SET password_encryption = 'scram-sha-256'; ALTER ROLE scram PASSWORD '" +
                         password + "'"),
            "SET ALTER ROLE I");
  EXPECT_EQ(direct.query("SET password_encryption = 'md5'; ALTER ROLE md5 PASSWORD '" +
                         other_password + "'"),
            "SET ALTER ROLE I");
  const std::string md5 = std::string(scram::md5_verifier(other_password, "md5").value().view());
  std::ofstream(users_file) << "\"scram\" \"" << password << "\"\n\"md5\" \"" << md5 << "\"\n";

  const PostgresPeer application = proxy.connect();
  ScramLogin login(application, password);
  const scram::ServerFirst asked = login.begin();
  login.finish();
  PostgresPeer other = proxy.connect();
  EXPECT_EQ(other.log_in("md5", other_password), "");
  EXPECT_EQ(application.query("SELECT 1"), "1 SELECT 1 I");
  EXPECT_EQ(other.query("SELECT 2"), "2 SELECT 1 I");
  EXPECT_EQ(proxy.memory().find(password), std::string::npos) << "behind the login";
  EXPECT_EQ(proxy.memory().find(md5), std::string::npos) << "behind the login";
  ASSERT_TRUE(proxy.park());

  std::vector<Secret> secrets = {{.name = "password", .bytes = password},
                                 {.name = "md5 verifier", .bytes = md5}};
  add_keys(secrets, "that the proxy asked for", password, asked.salt, asked.iterations);
  const auto verifier = scram::parse_verifier(server.verifier("scram")).value();
  add_keys(secrets, "that the server asked for", password, verifier.salt, verifier.iterations);
  const std::string memory = proxy.memory();
  EXPECT_NE(memory.find(users_file), std::string::npos) << "it was not searched";
  for (const auto& [name, bytes] : secrets)
    EXPECT_EQ(memory.find(bytes), std::string::npos) << name;
}

TEST(PostgresSecretTest, LoginUnderWayIsGoneOnWithAndHoldsNoSecretMeanwhile) {
  const Folder folder;
  const std::string file = folder / "users";
  expect_no_secret_of_a_login_under_way({.users_file = file}, file, nullptr);
}

}  // namespace
}  // namespace clonesafe::proxy
