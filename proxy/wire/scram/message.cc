#include "proxy/wire/scram/message.h"

#include <algorithm>
#include <charconv>

#include "proxy/wire/scram/base64.h"
#include "proxy/wire/scram/verifier.h"

namespace clonesafe::wire::scram {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// RFC 5802's saslname: "=2C" is a comma, "=3D" an equals sign. It may be empty, as PostgreSQL's
// clients send it.
bool is_user(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\0') return false;
    if (text[i] != '=') continue;
    const auto code = text.substr(i + 1, 2);
    if (code != "2C" && code != "3D") return false;
  }
  return true;
}

Status check_size(std::string_view message, std::string_view text) {
  if (text.size() <= kMaxMessage) return {};
  return fail("SCRAM " + std::string(message) + ": " + std::to_string(text.size()) +
              " bytes, the limit is " + std::to_string(kMaxMessage));
}

}  // namespace

std::unexpected<Error> Attributes::refuse(const std::string& what) const {
  return fail("SCRAM " + std::string(message_) + ", byte " + std::to_string(position_) + ": " +
              what);
}

Result<std::string_view> Attributes::take(char name) {
  if (next_name() != name || position_ + 1 >= text_.size() || text_[position_ + 1] != '=')
    return refuse(std::string("attribute ") + name + " expected");
  const auto begin = position_ + 2;
  const auto end = std::min(text_.find(',', begin), text_.size());
  const auto value = text_.substr(begin, end - begin);
  comma_ = end < text_.size();
  position_ = comma_ ? end + 1 : end;
  return value;
}

Status Attributes::skip_extensions(char until) {
  while (position_ < text_.size() && next_name() != until) {
    if (!is_letter(next_name())) return refuse("no attribute's name");
    if (auto skipped = take(next_name()); !skipped) return fail(std::move(skipped).error());
  }
  return {};
}

Status Attributes::finish() const {
  if (position_ < text_.size() || comma_) return refuse("more than there can be");
  return {};
}

bool is_nonce(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != ','; });
}

std::optional<std::uint32_t> parse_iterations(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '0' ||
      number > kMaxIterations)
    return std::nullopt;
  return number;
}

std::optional<Key> parse_key(std::string_view text) {
  auto bytes = from_base64(text);
  if (!bytes || bytes->size() != Key::size()) return std::nullopt;
  Key key;
  std::copy(bytes->begin(), bytes->end(), key.data());
  OPENSSL_cleanse(bytes->data(), bytes->size());
  return key;
}

Result<ServerFirst> parse_server_first(std::string_view text) {
  if (auto fits = check_size("server-first-message", text); !fits) return fail(fits.error());
  Attributes attributes("server-first-message", text);
  if (attributes.next_name() == 'm') return attributes.refuse("an extension that isn't known");
  ServerFirst first;
  const auto nonce = attributes.take('r');
  if (!nonce) return fail(nonce.error());
  if (!is_nonce(*nonce)) return attributes.refuse("no nonce in front of it");
  first.nonce = *nonce;
  const auto salt = attributes.take('s');
  if (!salt) return fail(salt.error());
  auto bytes = from_base64(*salt);
  if (!bytes || bytes->empty() || bytes->size() > kMaxSalt)
    return attributes.refuse("in front of it a salt that isn't base64 of 1 to 256 bytes");
  first.salt = std::move(*bytes);
  const auto iterations = attributes.take('i');
  if (!iterations) return fail(iterations.error());
  const auto number = parse_iterations(*iterations);
  if (!number)
    return attributes.refuse("in front of it iterations that are no number of at most " +
                             std::to_string(kMaxIterations));
  first.iterations = *number;
  if (auto skipped = attributes.skip_extensions(); !skipped) return fail(skipped.error());
  if (auto finished = attributes.finish(); !finished) return fail(finished.error());
  return first;
}

Result<ClientFirst> parse_client_first(std::string_view text) {
  if (auto fits = check_size("client-first-message", text); !fits) return fail(fits.error());
  constexpr std::string_view kName = "client-first-message";
  const auto flag_end = text.find(',');
  const auto header_end =
      flag_end == std::string_view::npos ? flag_end : text.find(',', flag_end + 1);
  if (header_end == std::string_view::npos)
    return Attributes(kName, text).refuse("no header of two commas");
  if (header_end != flag_end + 1)
    return Attributes(kName, text).refuse("an authorization identity, which nobody has");
  ClientFirst first;
  first.header = text.substr(0, header_end + 1);
  first.bare = text.substr(header_end + 1);
  Attributes attributes("client-first-message-bare", first.bare);
  if (attributes.next_name() == 'm') return attributes.refuse("an extension that isn't known");
  const auto user = attributes.take('n');
  if (!user) return fail(user.error());
  if (!is_user(*user)) return attributes.refuse("no user's name in front of it");
  const auto nonce = attributes.take('r');
  if (!nonce) return fail(nonce.error());
  if (!is_nonce(*nonce)) return attributes.refuse("no nonce in front of it");
  first.nonce = *nonce;
  if (auto skipped = attributes.skip_extensions(); !skipped) return fail(skipped.error());
  if (auto finished = attributes.finish(); !finished) return fail(finished.error());
  return first;
}

Result<ClientFinal> parse_client_final(std::string_view text) {
  if (auto fits = check_size("client-final-message", text); !fits) return fail(fits.error());
  Attributes attributes("client-final-message", text);
  ClientFinal final;
  const auto binding = attributes.take('c');
  if (!binding) return fail(binding.error());
  final.binding = *binding;
  const auto nonce = attributes.take('r');
  if (!nonce) return fail(nonce.error());
  final.nonce = *nonce;
  if (auto skipped = attributes.skip_extensions('p'); !skipped) return fail(skipped.error());
  const auto proof_at = attributes.position();
  const auto proof = attributes.take('p');
  if (!proof) return fail(proof.error());
  final.without_proof = text.substr(0, proof_at - 1);  // its comma
  if (auto finished = attributes.finish(); !finished) return fail(finished.error());
  const auto key = parse_key(*proof);
  if (!key) return attributes.refuse("a proof that isn't base64 of 32 bytes");
  final.proof = *key;
  return final;
}

}  // namespace clonesafe::wire::scram
