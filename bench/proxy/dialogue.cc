#include "bench/proxy/dialogue.h"

#include <cstdint>
#include <cstdlib>

namespace clonesafe::bench {
namespace {

void append_number(std::string& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>(value >> shift);
}
std::uint32_t number_at(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

}  // namespace

std::optional<Language> language_named(std::string_view name) {
  if (name == "redis") return Language::kRedis;
  if (name == "postgres") return Language::kPostgres;
  return std::nullopt;
}

std::string greeting(Language language) {
  if (language == Language::kRedis) return {};
  using std::string_view_literals::operator""sv;
  constexpr std::string_view kParameters = "user\0postgres\0database\0postgres\0\0"sv;
  std::string startup;
  append_number(startup, static_cast<std::uint32_t>(8 + kParameters.size()));
  append_number(startup, 3U << 16);  // version 3.0
  startup += kParameters;
  return startup;
}

std::string question(Language language) {
  if (language == Language::kRedis) return "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
  constexpr std::string_view kText = "SELECT 1";
  std::string query = "Q";
  append_number(query, static_cast<std::uint32_t>(4 + kText.size() + 1));
  query += kText;
  query += '\0';
  return query;
}

bool ReplyReader::take(std::string_view bytes) {
  pending_ += bytes;
  const bool whole = language_ == Language::kRedis ? take_redis() : take_postgres();
  if (whole) pending_.clear();
  return whole;
}

// One bulk string, or a line.
bool ReplyReader::take_redis() {
  const std::size_t line = pending_.find("\r\n");
  if (line == std::string::npos) return false;
  if (pending_[0] != '$') return true;
  const auto size = std::strtoul(pending_.c_str() + 1, nullptr, 10);
  return pending_.size() >= line + 2 + size + 2;
}

// Messages until ReadyForQuery.
bool ReplyReader::take_postgres() {
  std::size_t begin = 0;
  bool ready = false;
  while (!ready && pending_.size() - begin >= 5) {
    const std::size_t size = 1 + number_at(std::string_view(pending_).substr(begin + 1));
    if (pending_.size() - begin < size) break;
    ready = pending_[begin] == 'Z';
    begin += size;
  }
  pending_.erase(0, begin);
  return ready;
}

}  // namespace clonesafe::bench
