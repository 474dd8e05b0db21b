#include "proxy/protocols/http/rewrite.h"

#include <boost/asio/ip/address.hpp>
#include <vector>

#include "proxy/core/network.h"
#include "proxy/wire/http1/head_writer.h"

namespace clonesafe::proxy::http {
namespace {

using wire::http1::Field;
using wire::http1::HeadEdit;
using wire::http1::Method;
using wire::http1::RequestHead;
using wire::http1::TargetForm;
using wire::http1::Version;

constexpr std::uint16_t kSwitchingProtocols = 101, kUpgradeRequired = 426;

// Without a port; empty for a Unix socket.
std::string address_text(const Endpoint& from) {
  const std::string text = to_text(from);
  if (ip_of(from).empty()) return {};
  std::string address = text.substr(0, text.rfind(':'));
  if (address.starts_with('[')) address = address.substr(1, address.size() - 2);
  constexpr std::string_view kMapped = "::ffff:";
  if (address.starts_with(kMapped) && address.contains('.')) address.erase(0, kMapped.size());
  return address;
}

// RFC 7239, 6: an IPv6 address is in brackets, and in quotes for that.
std::string forwarded_text(const std::string& address, std::string_view scheme) {
  std::string text = "for=";
  if (address.empty()) {
    text += "unknown";
  } else if (address.contains(':')) {
    text += "\"[" + address + "]\"";
  } else {
    text += address;
  }
  return text.append(";proto=").append(scheme);
}

// A target in absolute form as a server gets it: its authority, and the rest.
struct Target {
  std::string authority;
  std::string path;
};
Target split_absolute(std::string_view target, Method method) {
  constexpr std::string_view kBehindScheme = "://";
  target.remove_prefix(target.find(kBehindScheme) + kBehindScheme.size());
  const std::size_t end = std::min(target.find_first_of("/?#"), target.size());
  Target split{.authority = std::string(target.substr(0, end)), .path = {}};
  const std::string_view rest = target.substr(end);
  // RFC 9112, 3.2.4.
  if (rest.empty() && method == Method::kOptions) {
    split.path = "*";
  } else if (!rest.starts_with('/')) {
    split.path = "/" + std::string(rest);
  } else {
    split.path = rest;
  }
  return split;
}

}  // namespace

Result<Request> take_request(const RequestHead& head, const ServiceConfig& config,
                             const Endpoint& from) {
  Request request{.head = {},
                  .method = head.method,
                  .version = head.version,
                  .body = head.body,
                  .persistent = head.persistent,
                  .expects_continue = head.expects_continue,
                  // Other bytes than the new protocol's could not be told apart from a body's.
                  .offers_upgrade = !head.upgrade.empty() && !head.offers_h2c &&
                                    head.version == Version::kHttp11 &&
                                    head.body.kind == wire::http1::Body::Kind::kNone};
  std::vector<std::string_view> drop;
  std::vector<Field> add;
  HeadEdit edit{.keep_upgrade = request.offers_upgrade};
  Target target;
  if (head.form == TargetForm::kAbsolute) {
    target = split_absolute(head.target, head.method);
    edit.target = target.path;
    if (head.host.empty()) {
      drop.emplace_back("host");
      add.push_back({"Host", target.authority});
    }
  }
  const std::string address = address_text(from);
  const std::string_view scheme = config.listen_tls ? "https" : "http";
  std::string forwarded;
  switch (config.http.forwarded) {
    case Forwarded::kNone:
      break;
    case Forwarded::kXForwarded:
      if (!address.empty()) add.push_back({"X-Forwarded-For", address});
      drop.emplace_back("x-forwarded-proto");
      add.push_back({"X-Forwarded-Proto", scheme});
      break;
    case Forwarded::kForwarded:
      forwarded = forwarded_text(address, scheme);
      add.push_back({"Forwarded", forwarded});
      break;
  }
  edit.drop = drop;
  edit.add = add;
  if (auto appended = append_request_head(request.head, head, edit); !appended)
    return fail(appended.error());
  return request;
}

Status append_response(std::string& out, const wire::http1::ResponseHead& head,
                       const Request& request, bool goes_on) {
  std::vector<Field> add;
  const bool switches = head.status == kSwitchingProtocols;
  if (!goes_on && !head.interim() && !switches) add.push_back({"Connection", "close"});
  // HTTP/1.0 goes on only where it is said.
  if (goes_on && (request.version == Version::kHttp10 || head.version == Version::kHttp10))
    add.push_back({"Connection", "keep-alive"});
  return append_response_head(
      out, head, {.add = add, .keep_upgrade = switches || head.status == kUpgradeRequired});
}

}  // namespace clonesafe::proxy::http
