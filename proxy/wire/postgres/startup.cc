#include "proxy/wire/postgres/startup.h"

#include <algorithm>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

constexpr std::uint32_t kMinPacket = 2 * kLengthSize;
// A length that begins so is over any limit: no packet can be taken for a TLS handshake record.
constexpr char kTlsHandshakeRecord = 0x16;
// The high half of a request's code; of a version it is the major version.
constexpr std::uint32_t kRequestMajor = 1234;
constexpr std::uint32_t kMajor3 = 3;

void read_parameters(BodyReader& reader, StartupPacket& packet) {
  while (reader.good()) {
    const auto name = reader.text();
    if (!reader.good()) return;
    if (name.empty()) {
      if (reader.left() != 0) reader.refuse("bytes behind the end of the parameters");
      break;
    }
    if (packet.parameter(name)) reader.refuse("a parameter is there twice");
    const auto value = reader.text();
    packet.parameters.push_back({.name = name, .value = value});
  }
  if (reader.good() && packet.parameter("user").value_or("").empty())
    reader.refuse("no user is named");
}

}  // namespace

bool is_protocol_option(std::string_view name) {
  return name.starts_with("_pq_.");
}

std::optional<std::string_view> StartupPacket::parameter(std::string_view name) const {
  const auto found = std::ranges::find(parameters, name, &Parameter::name);
  if (found == parameters.end()) return std::nullopt;
  return found->value;
}

StartupFramer::StartupFramer(std::uint32_t max_size)
    : max_size_(std::clamp<std::uint32_t>(max_size, kMinPacket, kMaxStartupPacket)) {}

Result<std::optional<StartupPacket>> StartupFramer::next(std::string_view& input) {
  if (kept_is_out_) kept_.clear();
  kept_is_out_ = false;
  if (!error_.empty()) return fail(error_);
  if (kept_.empty() && !input.empty() && input.front() == kTlsHandshakeRecord)
    return StartupPacket{.kind = StartupPacket::Kind::kTlsRecord};
  const auto collect = [&](std::size_t size) {
    const auto taken = input.substr(0, std::min(input.size(), size - kept_.size()));
    kept_ += taken;
    input.remove_prefix(taken.size());
    return kept_.size() == size;
  };
  if (kept_.size() < kLengthSize && !collect(kLengthSize)) return std::nullopt;
  const std::uint32_t length = load_u32(kept_);
  if (length < kMinPacket || length > max_size_) {
    error_ = "PostgreSQL startup packet: length " + std::to_string(length) + ", " +
             std::to_string(kMinPacket) + " to " + std::to_string(max_size_) + " are allowed";
    return fail(error_);
  }
  if (!collect(length)) return std::nullopt;
  kept_is_out_ = true;
  auto packet = parse(std::string_view(kept_).substr(kLengthSize));
  if (!packet) {
    error_ = packet.error().message();
    return fail(std::move(packet).error());
  }
  return std::move(*packet);
}

Result<StartupPacket> StartupFramer::parse(std::string_view body) {
  const std::uint32_t code = load_u32(body);
  using Kind = StartupPacket::Kind;
  StartupPacket packet;
  BodyReader reader(code == kCancelRequestCode ? "CancelRequest"
                    : code == kTlsRequestCode  ? "SSLRequest"
                    : code == kGssRequestCode  ? "GSSENCRequest"
                                               : "StartupMessage",
                    body);
  reader.u32();
  if (code == kCancelRequestCode) {
    packet.kind = Kind::kCancel;
    packet.process = reader.u32();
    packet.key = reader.rest();
    if (packet.key.size() < kKeySize30 || packet.key.size() > kMaxKeySize)
      reader.refuse("a key of " + std::to_string(packet.key.size()) +
                    " bytes, 4 to 256 are allowed");
  } else if (code == kTlsRequestCode || code == kGssRequestCode) {
    packet.kind = code == kTlsRequestCode ? Kind::kTlsRequest : Kind::kGssRequest;
  } else if (code >> 16 == kMajor3) {
    packet.version = code;
    read_parameters(reader, packet);
  } else if (code >> 16 == kRequestMajor) {
    reader.refuse("request code 1234." + std::to_string(code & 0xffff) + " is unknown");
  } else {
    reader.refuse("protocol " + std::to_string(code >> 16) + "." + std::to_string(code & 0xffff) +
                  " isn't supported");
  }
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return packet;
}

Result<bool> accepts_encryption(StartupPacket::Kind request, char answer) {
  const bool tls = request == StartupPacket::Kind::kTlsRequest;
  if (answer == 'N') return false;
  if (answer == (tls ? 'S' : 'G')) return true;
  return fail(std::string("PostgreSQL server: answer ") + printable_byte(answer) + " to " +
              (tls ? "SSLRequest" : "GSSENCRequest"));
}

Status append_startup(std::string& out, std::uint32_t version,
                      const std::vector<Parameter>& parameters) {
  BodyWriter writer(out, "StartupMessage");
  writer.u32(version);
  for (const auto& parameter : parameters) {
    if (parameter.name.empty()) writer.refuse("a parameter without name");
    writer.text(parameter.name);
    writer.text(parameter.value);
  }
  writer.text("");
  if (writer.size() > kMaxStartupPacket)
    writer.refuse(std::to_string(writer.size()) + " bytes, the limit is " +
                  std::to_string(kMaxStartupPacket));
  return writer.finish();
}

Status append_cancel_request(std::string& out, std::uint32_t process, std::string_view key) {
  BodyWriter writer(out, "CancelRequest");
  writer.u32(kCancelRequestCode);
  writer.u32(process);
  writer.bytes(key);
  if (key.size() < kKeySize30 || key.size() > kMaxKeySize)
    writer.refuse("a key of " + std::to_string(key.size()) + " bytes, 4 to 256 are allowed");
  return writer.finish();
}

void append_tls_request(std::string& out) {
  BodyWriter writer(out, "SSLRequest");
  writer.u32(kTlsRequestCode);
  static_cast<void>(writer.finish());
}

void append_gss_request(std::string& out) {
  BodyWriter writer(out, "GSSENCRequest");
  writer.u32(kGssRequestCode);
  static_cast<void>(writer.finish());
}

}  // namespace clonesafe::wire::postgres
