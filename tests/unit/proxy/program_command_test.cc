// Whole proxies whose secrets come from a command.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <signal.h>
#include <sys/stat.h>

#include <boost/json.hpp>

#include "tests/unit/proxy/command_fixture.h"
#include "tests/unit/proxy/postgres_client.h"
#include "tests/unit/proxy/process_memory.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class ProgramCommandTest : public ProcessTest {
 protected:
  ProgramCommandTest() {
    // For a proxy that is nobody.
    EXPECT_EQ(::chmod((folder_ / "").c_str(), 0755), 0);
  }

  static std::string service(const std::string& program) {
    return "protocol = \"postgres\"\npostgres.users_command = [\"" + program + "\"]\n";
  }
  std::string gives_users() { return make_script(folder_, "users", "echo '\"ann\" \"secret\"'"); }
  static std::string user() { return ::geteuid() == 0 ? "user = \"nobody\"\n" : ""; }

  std::string log_in() const {
    return PostgresPeer(connect_to("127.0.0.1", port_)).log_in("ann", "secret");
  }
  // It gets as far as the server, which this test is.
  void expect_login() const {
    std::thread server([this] { PostgresPeer(accept_from(upstream_)).welcome(7); });
    EXPECT_EQ(log_in(), "");
    server.join();
  }
  // Of the proxy: what runs commands is its only child.
  pid_t commands() const {
    const std::vector<pid_t> children = children_of(process_->pid());
    EXPECT_EQ(children.size(), 1u);
    return children.empty() ? 0 : children.front();
  }
  // How `--check` ends, and what it says.
  std::pair<int, std::string> check() {
    const std::string said = folder_ / "said";
    const UniqueFd errors(::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    auto process = support::ChildProcess::start(
        {.command = {CLONESAFE_PROXY, "--config", file(), "--check"}, .errors = errors.get()});
    EXPECT_TRUE(process) << process.error().message();
    const int code = process->wait(kLong).value_or(-1);
    return {code, text(said)};
  }
  static std::string text(const std::string& path) {
    std::ifstream stream(path);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }
};

TEST_F(ProgramCommandTest, CheckLooksForTheProgramAndDoesNotRunIt) {
  const std::string ran = folder_ / "ran";
  const std::string program = make_script(folder_, "users", "echo > " + ran);
  write("", service(program));
  EXPECT_EQ(check(), std::pair(0, std::string()));
  EXPECT_FALSE(std::filesystem::exists(ran));
  std::filesystem::permissions(program, std::filesystem::perms(0644));
  EXPECT_EQ(check(), std::pair(1, "clonesafe-proxy: service 'test': " + program +
                                      ": not a program that can be run\n"));
  write("", service(folder_ / "none"));
  EXPECT_EQ(check(), std::pair(1, "clonesafe-proxy: service 'test': " + (folder_ / "none") +
                                      ": No such file or directory\n"));
  write("", service(folder_ / ""));
  EXPECT_THAT(check().second, HasSubstr("not a program that can be run"));
}

// With its filter of system calls, and as another user.
TEST_F(ProgramCommandTest, ServesAndEndsWithTheProcessThatRunsIt) {
  start_process(user() + "threads = 2\n", service(gives_users()));
  expect_login();
  const pid_t process = commands();
  EXPECT_EQ(status_of(process_->pid(), "Seccomp"), "2");
  EXPECT_EQ(status_of(process, "CapEff"), "0000000000000000");
  EXPECT_EQ(status_of(process, "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(process, "Uid"), status_of(process_->pid(), "Uid"));
  EXPECT_THAT(descriptors_of(process), UnorderedElementsAre("0", "1", "2", "3"));
  clone_this_machine();
  ASSERT_TRUE(ask({{"call", "fence"}}));
  expect_login();
  process_->signal(SIGTERM);
  EXPECT_EQ(process_->wait(kLong).value_or(-1), 0);
  EXPECT_FALSE(is_alive(process));
}

// The number that makes a private key, as OpenSSL has it in memory.
std::string private_number(const std::string& file) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_file(file.c_str(), "r"), BIO_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  BIGNUM* number = nullptr;
  EXPECT_EQ(EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &number), 1);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
  EXPECT_GT(BN_bn2lebinpad(number, reinterpret_cast<unsigned char*>(bytes.data()),
                           static_cast<int>(bytes.size())),
            0);
  BN_clear_free(number);
  return bytes;
}

TEST_F(ProgramCommandTest, ProcessThatRunsItHasNoKey) {
  make_certificate(folder_, "test");
  const std::string key = folder_ / "test.key";
  start_process("", service(gives_users()) + "listen_tls = { certificate = \"" +
                        (folder_ / "test.pem") + "\", key = \"" + key + "\" }\n");
  const std::string number = private_number(key);
  EXPECT_TRUE(memory_of(process_->pid()).contains(number)) << "it was not searched";
  EXPECT_FALSE(memory_of(commands()).contains(number));
}

TEST_F(ProgramCommandTest, ThereIsNoProcessWithoutACommand) {
  start_process("", "");
  EXPECT_THAT(children_of(process_->pid()), testing::IsEmpty());
}

TEST_F(ProgramCommandTest, LoginsAreRefusedWhenTheProcessIsDead) {
  start_process("", service(gives_users()));
  ASSERT_EQ(::kill(commands(), SIGKILL), 0);
  EXPECT_TRUE(support::eventually(kLong, [&] {
    return log().contains("the process that runs commands has ended");
  })) << log();
  EXPECT_EQ(log_in(), "!58000");
  // It goes on all the same.
  EXPECT_TRUE(ask({{"call", "status"}}));
}

TEST_F(ProgramCommandTest, AnotherCommandTakesARestart) {
  const std::string users = gives_users();
  start_process(user(), service(users));
  const auto reload = [this] { return ask({{"call", "reload"}}); };
  write(user(), service(users) + "max_sessions = 7\n");
  EXPECT_TRUE(reload());
  const std::string other = make_script(folder_, "other", "echo '\"ann\" \"other\"'");
  const auto refused = HasSubstr("'postgres.users_command' is another one, which takes a restart");
  write(user(), service(other));
  EXPECT_THAT(reload().error().message(), refused);
  write(user(), service(users) + "postgres.users_command_timeout_ms = 7\n");
  EXPECT_THAT(reload().error().message(), refused);
  expect_login();
}

TEST_F(ProgramCommandTest, OneThatWasNotThereAtTheStartTakesARestart) {
  start_process("", "");
  write("", service(gives_users()));
  EXPECT_THAT(ask({{"call", "reload"}}).error().message(),
              HasSubstr("'postgres.users_command' is another one, which takes a restart"));
}

}  // namespace
}  // namespace clonesafe::proxy
