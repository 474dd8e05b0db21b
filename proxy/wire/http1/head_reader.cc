#include "proxy/wire/http1/head_reader.h"

#include <algorithm>
#include <utility>

#include "proxy/wire/http1/characters.h"

namespace clonesafe::wire::http1 {
namespace {

Parsed<Version> parse_version(std::string_view text) {
  if (text == "HTTP/1.1") return Version::kHttp11;
  if (text == "HTTP/1.0") return Version::kHttp10;
  if (text == "HTTP/2.0") return refuse("HTTP/2, which is not supported", 505);
  if (text.starts_with("HTTP/") && text.size() == 8)
    return refuse("a version other than HTTP/1.0 and HTTP/1.1", 505);
  return refuse("no version of HTTP");
}

// "http://host/..." and "https://...": what is between the slashes, nothing for other schemes.
std::optional<std::string_view> authority_of(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equals_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    const std::string_view rest = target.substr(scheme.size());
    return rest.substr(0, rest.find_first_of("/?"));
  }
  return std::nullopt;
}

Parsed<TargetForm> form_of(Method method, std::string_view target) {
  if (!is_visible(target)) return refuse("a control character or a space in the target");
  if (target.contains('#')) return refuse("a fragment in the target");
  if (method == Method::kConnect) {
    if (!is_host(target) || !target.contains(':'))
      return refuse("the target of CONNECT is no host and port");
    return TargetForm::kAuthority;
  }
  if (target.starts_with('/')) return TargetForm::kOrigin;
  if (target == "*" && method == Method::kOptions) return TargetForm::kAsterisk;
  const auto authority = authority_of(target);
  if (!authority || authority->empty() || !is_host(*authority))
    return refuse("the target is neither a path nor of http or https");
  return TargetForm::kAbsolute;
}

}  // namespace

const Field* Head::find(std::string_view name) const {
  const auto at = std::ranges::find_if(
      fields, [name](const Field& field) { return equals_ignoring_case(field.name, name); });
  return at == fields.end() ? nullptr : &*at;
}

std::unexpected<Error> HeadReader::failure(std::string_view kind, const Refusal& refusal) {
  refusal_status_ = refusal.status;
  failed_.emplace(std::string(kind) + ": " + std::string(refusal.why) + ", line " +
                  std::to_string(lines_ + 1));
  return fail(*failed_);
}

Parsed<std::size_t> HeadReader::find_end(std::string_view input, bool may_begin_empty) {
  const std::size_t limit =
      limits_.size + (may_begin_empty && input.starts_with(kLineEnd) ? kLineEnd.size() : 0);
  while (true) {
    const std::size_t feed = input.find('\n', scanned_);
    const std::size_t end = feed == input.npos ? input.size() : feed + 1;
    if (end > limit) return refuse("a head of more bytes than its limit", 431);
    if (feed == input.npos) {
      scanned_ = input.size();
      return 0;
    }
    const auto content = line_content(input.substr(line_begin_, end - line_begin_));
    if (!content) return std::unexpected(content.error());
    scanned_ = line_begin_ = end;
    if (content->empty()) {
      // Nothing but an empty line yet.
      if (lines_ == 0 && !(may_begin_empty && end == kLineEnd.size()))
        return refuse("an empty line in front");
      if (lines_ != 0) return end;
    } else {
      ++lines_;
      // The first line is no field.
      if (lines_ > limits_.fields + 1) return refuse("more fields than the limit", 431);
    }
  }
}

Parsed<void> HeadReader::parse_fields(std::string_view lines, Version version) {
  fields_.clear();
  summary_ = {};
  lines_ = 1;
  while (lines != kLineEnd) {
    const std::string_view line = lines.substr(0, lines.find('\r'));
    const auto field = parse_field(line);
    if (!field) return std::unexpected(field.error());
    if (auto taken = summary_.take(*field, line); !taken) return taken;
    fields_.push_back(*field);
    lines.remove_prefix(line.size() + kLineEnd.size());
    ++lines_;
  }
  return summary_.finish(version);
}

Parsed<void> HeadReader::parse_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return refuse("a request line of less than three words");
  request_.method_name = line.substr(0, first);
  if (!is_token(request_.method_name)) return refuse("the method is no token");
  request_.method = find_method(request_.method_name);
  const auto version = parse_version(line.substr(last + 1));
  if (!version) return std::unexpected(version.error());
  request_.version = *version;
  request_.target = line.substr(first + 1, last - first - 1);
  if (request_.method_name == "PRI") return refuse("HTTP/2, which is not supported", 505);
  const auto form = form_of(request_.method, request_.target);
  if (!form) return std::unexpected(form.error());
  request_.form = *form;
  return {};
}

Parsed<void> HeadReader::parse_request(std::string_view head) {
  lines_ = 0;
  if (head.starts_with(kLineEnd)) head.remove_prefix(kLineEnd.size());
  const std::string_view line = head.substr(0, head.find('\r'));
  if (auto parsed = parse_request_line(line); !parsed) return parsed;
  if (auto parsed = parse_fields(head.substr(line.size() + kLineEnd.size()), request_.version);
      !parsed)
    return parsed;
  lines_ = 0;
  if (!summary_.host && request_.version == Version::kHttp11) return refuse("no Host");
  request_.host = summary_.host.value_or(std::string_view());
  if (request_.form == TargetForm::kAbsolute && summary_.host &&
      !equals_ignoring_case(authority_of(request_.target).value_or(""), request_.host))
    return refuse("the target's host is not Host's");
  if (request_.method == Method::kConnect &&
      (summary_.chunked || summary_.content_length.value_or(0) != 0))
    return refuse("CONNECT with a body");

  request_.body = {};
  if (summary_.chunked) request_.body.kind = Body::Kind::kChunked;
  if (summary_.content_length.value_or(0) != 0)
    request_.body = {.kind = Body::Kind::kLength, .length = *summary_.content_length};
  // RFC 9110, 10.1.1.
  request_.expects_continue = summary_.expects_continue && request_.version == Version::kHttp11;
  request_.offers_h2c = summary_.offers_h2c;
  return {};
}

Parsed<void> HeadReader::parse_status_line(std::string_view line) {
  constexpr std::size_t kVersionSize = 8;
  const auto version = parse_version(line.substr(0, kVersionSize));
  if (!version) return std::unexpected(version.error());
  response_.version = *version;
  const std::string_view rest = line.substr(kVersionSize);
  // " 200 " and the reason, which may be missing, but not the space before it.
  if (rest.size() < 5 || rest[0] != ' ' || rest[4] != ' ') return refuse("no status line");
  const auto status = decimal(rest.substr(1, 3));
  if (!status || *status < 100 || *status > 599) return refuse("no status of three digits");
  response_.status = static_cast<std::uint16_t>(*status);
  response_.reason = rest.substr(5);
  if (!is_field_value(response_.reason)) return refuse("a control character in the reason");
  return {};
}

Parsed<void> HeadReader::parse_response(std::string_view head, const RequestContext& request) {
  lines_ = 0;
  const std::string_view line = head.substr(0, head.find('\r'));
  if (auto parsed = parse_status_line(line); !parsed) return parsed;
  if (auto parsed = parse_fields(head.substr(line.size() + kLineEnd.size()), response_.version);
      !parsed)
    return parsed;
  lines_ = 0;

  // RFC 9112, 6.3, in its order.
  using enum Body::Kind;
  const std::uint16_t status = response_.status;
  response_.body = {};
  if (status == 101) {
    if (!request.offered_upgrade) return refuse("101 to a request that offered no other protocol");
    if (!summary_.connection_upgrade || !summary_.upgrade)
      return refuse("101 that doesn't name a protocol");
  }
  const bool tunnel =
      status == 101 || (request.method == Method::kConnect && status >= 200 && status < 300);
  const bool never_a_body = tunnel || status < 200 || status == 204;
  if (never_a_body && (summary_.chunked || summary_.content_length.value_or(0) != 0))
    return refuse("a body where there can't be one");
  if (tunnel) {
    response_.body.kind = kTunnel;
  } else if (never_a_body || status == 304 || request.method == Method::kHead) {
    response_.body.kind = kNone;
  } else if (summary_.chunked) {
    response_.body.kind = kChunked;
  } else if (summary_.content_length) {
    if (*summary_.content_length != 0)
      response_.body = {.kind = kLength, .length = *summary_.content_length};
  } else {
    response_.body.kind = kUntilClose;
  }
  return {};
}

Result<const RequestHead*> HeadReader::read_request(std::string_view input) {
  if (failed_) return fail(*failed_);
  const auto size = find_end(input, true);
  if (!size) return failure("request", size.error());
  if (*size == 0) return nullptr;
  if (auto parsed = parse_request(input.substr(0, *size)); !parsed)
    return failure("request", parsed.error());
  complete(request_, *size);
  return &request_;
}

Result<const ResponseHead*> HeadReader::read_response(std::string_view input,
                                                      const RequestContext& request) {
  if (failed_) return fail(*failed_);
  const auto size = find_end(input, false);
  if (!size) return failure("response", size.error());
  if (*size == 0) return nullptr;
  if (auto parsed = parse_response(input.substr(0, *size), request); !parsed)
    return failure("response", parsed.error());
  complete(response_, *size);
  return &response_;
}

// What is the same for both, and a fresh start for the next one.
void HeadReader::complete(Head& head, std::size_t size) {
  head.size = size;
  head.fields = fields_;
  head.persistent = !summary_.close && head.body.kind != Body::Kind::kUntilClose &&
                    (head.version == Version::kHttp11 || summary_.keep_alive);
  head.upgrade = summary_.connection_upgrade ? summary_.upgrade.value_or(std::string_view())
                                             : std::string_view();
  scanned_ = lines_ = line_begin_ = 0;
}

}  // namespace clonesafe::wire::http1
