#include "proxy/protocols/postgres/users.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "proxy/config/config.h"

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

}  // namespace clonesafe::proxy::postgres
