#include "proxy/wire/postgres/authentication.h"

#include <algorithm>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

BodyWriter begin(std::string& out, Authentication::Kind kind) {
  BodyWriter writer(out, ServerMessage::kAuthentication);
  writer.u32(static_cast<std::uint32_t>(kind));
  return writer;
}

Status append_data(std::string& out, Authentication::Kind kind, std::string_view data) {
  auto writer = begin(out, kind);
  writer.bytes(data);
  return writer.finish();
}

}  // namespace

bool Authentication::offers(std::string_view mechanism) const {
  if (kind != Authentication::Kind::kSasl) return false;
  for (auto names = data; !names.empty();) {
    const auto end = std::min(names.find('\0'), names.size());
    if (names.substr(0, end) == mechanism) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

Result<Authentication> parse_authentication(std::string_view body) {
  BodyReader reader("Authentication", body);
  Authentication authentication;
  authentication.kind = static_cast<Authentication::Kind>(reader.u32());
  switch (authentication.kind) {
    case Authentication::Kind::kOk:
    case Authentication::Kind::kCleartextPassword:
      break;
    case Authentication::Kind::kMd5Password:
      if (const auto salt = reader.bytes(authentication.salt.size()); reader.good())
        std::ranges::copy(salt, authentication.salt.begin());
      break;
    case Authentication::Kind::kSasl: {
      const auto begin = reader.position();
      bool empty = true;
      while (reader.good() && !reader.text().empty()) empty = false;
      if (reader.good()) {
        if (empty) reader.refuse("no SASL mechanism is offered");
        authentication.data = body.substr(begin, reader.position() - begin - 1);
      }
      break;
    }
    default:  // also of methods that aren't known
      authentication.data = reader.rest();
  }
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return authentication;
}

std::string authentication_name(Authentication::Kind kind) {
  switch (static_cast<std::uint32_t>(kind)) {
    case 0:
      return "no password";
    case 2:
      return "Kerberos V5";
    case 3:
      return "password";
    case 4:
      return "crypt";
    case 5:
      return "md5";
    case 6:
      return "SCM credentials";
    case 7:
    case 8:
      return "GSSAPI";
    case 9:
      return "SSPI";
    case 10:
    case 11:
    case 12:
      return "SASL";
    default:
      return "method " + std::to_string(static_cast<std::uint32_t>(kind));
  }
}

void append_authentication_ok(std::string& out) {
  static_cast<void>(begin(out, Authentication::Kind::kOk).finish());
}

void append_authentication_cleartext(std::string& out) {
  static_cast<void>(begin(out, Authentication::Kind::kCleartextPassword).finish());
}

void append_authentication_md5(std::string& out, std::span<const char, 4> salt) {
  static_cast<void>(
      append_data(out, Authentication::Kind::kMd5Password, {salt.data(), salt.size()}));
}

Status append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms) {
  auto writer = begin(out, Authentication::Kind::kSasl);
  if (mechanisms.empty()) writer.refuse("no SASL mechanism");
  for (const auto mechanism : mechanisms) {
    if (mechanism.empty()) writer.refuse("a SASL mechanism without name");
    writer.text(mechanism);
  }
  writer.text("");
  return writer.finish();
}

Status append_authentication_sasl_continue(std::string& out, std::string_view data) {
  return append_data(out, Authentication::Kind::kSaslContinue, data);
}

Status append_authentication_sasl_final(std::string& out, std::string_view data) {
  return append_data(out, Authentication::Kind::kSaslFinal, data);
}

}  // namespace clonesafe::wire::postgres
