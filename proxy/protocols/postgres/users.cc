#include "proxy/protocols/postgres/users.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "proxy/secrets/commands.h"
#include "proxy/session/session.h"

namespace clonesafe::proxy::postgres {
namespace {

void skip_space(std::string_view& line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t' || line.front() == '\r'))
    line.remove_prefix(1);
}

// "text", with each quote in it doubled. Whatever becomes of it, nothing of it is left behind.
std::optional<wire::scram::SecretText> take_quoted(std::string_view& line) {
  if (line.empty() || line.front() != '"') return std::nullopt;
  std::vector<char> text;
  text.reserve(line.size());
  std::optional<wire::scram::SecretText> secret;
  for (std::size_t i = 1; i < line.size() && !secret; ++i) {
    if (line[i] != '"') {
      text.push_back(line[i]);
    } else if (i + 1 < line.size() && line[i + 1] == '"') {
      text.push_back(line[i++]);
    } else {
      line.remove_prefix(i + 1);
      secret.emplace(std::string_view(text.data(), text.size()));
    }
  }
  OPENSSL_cleanse(text.data(), text.size());
  return secret;
}

class Counted {
 public:
  explicit Counted(std::uint64_t& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::uint64_t& count_;
};

Awaitable<Result<Users>> read_or_run(SessionHost& host) {
  const PostgresConfig& config = host.config.postgres;
  const CommandConfig& command = config.users_command;
  if (command.words.empty()) co_return Users::read(config.users_file);
  const std::string& program = command.words.front();
  if (host.commands == nullptr) co_return fail(program + ": no process runs commands");
  const Counted counted(host.commands_running);
  const auto text = co_await host.commands->run(host.loop, command);
  if (!text) co_return fail(text.error(), program);
  co_return Users::parse(text->view(), program);
}

}  // namespace

bool is_md5(std::string_view secret) {
  return secret.size() == 35 && secret.starts_with("md5") &&
         std::ranges::all_of(secret.substr(3),
                             [](unsigned char c) { return std::isxdigit(c) != 0; });
}
bool is_verifier(std::string_view secret) {
  return secret.starts_with("SCRAM-SHA-256$");
}

Result<Users> Users::parse(std::string_view text, const std::string& name) {
  Users users;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    skip_space(line);
    if (line.empty() || line.front() == ';' || line.front() == '#') continue;
    const auto refused = [&](const char* what) {
      return fail(name + ", line " + std::to_string(number) + ": " + what);
    };
    const auto user = take_quoted(line);
    if (!user || user->view().empty()) return refused("no user's name in quotes");
    skip_space(line);
    auto secret = take_quoted(line);
    if (!secret) return refused("no password in quotes behind the user's name");
    // What comes behind means nothing, as with PgBouncer.
    const bool added =
        users.secrets_.try_emplace(std::string(user->view()), std::move(*secret)).second;
    if (!added) return refused("the user is there twice");
  }
  return users;
}

Result<Users> Users::read(const std::string& path) {
  auto text = read_config_file(path);
  if (!text) return fail(text.error());
  auto users = parse(*text, path);
  OPENSSL_cleanse(text->data(), text->size());
  return users;
}

const wire::scram::SecretText* Users::find(std::string_view user) const {
  const auto found = secrets_.find(user);
  return found == secrets_.end() ? nullptr : &found->second;
}

Awaitable<Answer<Users>> fetch_users(SessionHost& host, Endpoint application) {
  auto users = co_await read_or_run(host);
  if (users) co_return std::move(*users);
  spdlog::warn("{}: {}; {} is refused", host.config.name, users.error().message(),
               to_text(application));
  Refusal refusal{.sqlstate = std::string(sqlstate::kSystemError),
                  .message = host.config.postgres.users_command.words.empty()
                                 ? "the proxy's file of users can't be read"
                                 : "the proxy's command for users failed",
                  .logged = true};
  co_return std::unexpected(std::move(refusal));
}

Status check_users(const PostgresConfig& config) {
  if (!config.users_file.empty()) {
    const auto users = Users::read(config.users_file);
    return users ? Status() : fail(users.error());
  }
  if (config.users_command.words.empty()) return {};
  const std::string& program = config.users_command.words.front();
  struct stat found{};
  if (::stat(program.c_str(), &found) != 0) return fail_errno(program);
  if (!S_ISREG(found.st_mode) || ::access(program.c_str(), X_OK) != 0)
    return fail(program + ": not a program that can be run");
  return {};
}

}  // namespace clonesafe::proxy::postgres
