#include "guest_agent/control/host_messages.h"

#include <boost/json.hpp>
#include <charconv>

#include "clonesafe/abi/host_protocol.h"
#include "guest_agent/control/result_list.h"

namespace clonesafe::agent {
namespace {

namespace json = boost::json;

// Finds members of one message and remembers the first that is missing or wrong.
class Members {
 public:
  Members(const json::object& object, std::string_view type) : object_(object), type_(type) {}

  std::string text(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && value->is_string()) return std::string(value->get_string());
    reject(name, "a string");
    return {};
  }
  bool truth(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && value->is_bool()) return value->get_bool();
    reject(name, "true or false");
    return false;
  }
  std::uint64_t number(std::string_view name) {
    const json::value* const value = find(name);
    if (value != nullptr && value->is_int64() && value->get_int64() >= 0) {
      return static_cast<std::uint64_t>(value->get_int64());
    }
    if (value != nullptr && value->is_uint64()) return value->get_uint64();
    reject(name, "a whole number");
    return 0;
  }
  std::uint64_t number_if_there(std::string_view name) {
    return find(name) == nullptr ? 0 : number(name);
  }
  HostWords words() {
    HostWords words;
    if (const auto id = parse_id(text("restore_id"))) {
      words.restore_id = *id;
    } else {
      reject("restore_id", "16 hexadecimal bytes");
    }
    if (const auto kind = parse_restore_kind(text("kind"))) {
      words.kind = *kind;
    } else {
      reject("kind", "boot, resume, clone or move");
    }
    if (find("host_realtime_ns") != nullptr) {
      const std::string digits = text("host_realtime_ns");
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), words.realtime_ns, 16);
      if (error != std::errc() || end != digits.data() + digits.size())
        reject("host_realtime_ns", "a hexadecimal number");
    }
    if (find("metadata") != nullptr) {
      words.metadata = text("metadata");
      if (words.metadata->size() > CLONESAFE_HOST_METADATA_MAX)
        reject("metadata", "at most " + std::to_string(CLONESAFE_HOST_METADATA_MAX) + " bytes");
    }
    return words;
  }
  // The message, or what was wrong with its members.
  Result<HostMessage> finish(HostMessage message) const {
    if (!problem_.empty()) return fail("'" + std::string(type_) + "' from the host: " + problem_);
    return message;
  }
  void reject(std::string_view name, std::string_view expected) {
    if (problem_.empty()) {
      problem_ = "'" + std::string(name) + "' is not " + std::string(expected);
    }
  }

 private:
  const json::value* find(std::string_view name) const { return object_.if_contains(name); }

  const json::object& object_;
  std::string_view type_;
  std::string problem_;
};

std::string as_line(const json::object& object) {
  return json::serialize(object) + "\n";
}

}  // namespace

Result<HostMessage> parse_host_message(std::string_view line) {
  json::error_code error;
  // A handful of levels: the protocol needs three, and the parser's own limit bounds the stack.
  json::parse_options options;
  options.max_depth = 8;
  const json::value value = json::parse(line, error, {}, options);
  if (error) return fail("a line from the host is not JSON: " + error.message());
  const json::object* const object = value.if_object();
  if (object == nullptr) return fail("a line from the host is not a JSON object");
  const json::value* const type_member = object->if_contains("type");
  if (type_member == nullptr || !type_member->is_string()) {
    return fail("a line from the host has no type");
  }
  const std::string_view type = type_member->get_string();
  Members members(*object, type);

  if (type == "welcome") {
    if (members.number("version") != CLONESAFE_HOST_PROTOCOL_VERSION) {
      members.reject("version", std::to_string(CLONESAFE_HOST_PROTOCOL_VERSION));
    }
    Welcome welcome = {.host = members.text("host"),
                       .words = members.words(),
                       .secret_pages = members.number_if_there("secret_pages")};
    return members.finish(std::move(welcome));
  }
  if (type == "registered") {
    Registered registered = {.ok = members.truth("ok"), .error = {}};
    if (!registered.ok) registered.error = members.text("error");
    return members.finish(std::move(registered));
  }
  if (type == "secrets_registered") {
    SecretsRegistered registered = {
        .id = members.text("id"), .ok = members.truth("ok"), .error = {}};
    if (!registered.ok) registered.error = members.text("error");
    return members.finish(std::move(registered));
  }
  if (type == "check_secrets") return CheckSecrets{};
  if (type == "prepare") {
    constexpr std::size_t kLongestId = 64;
    constexpr std::uint64_t kLongestDeadlineMs = 3'600'000;
    Prepare prepare = {.id = members.text("id")};
    if (prepare.id.size() > kLongestId) members.reject("id", "at most 64 bytes");
    const std::uint64_t deadline_ms = members.number("deadline_ms");
    if (deadline_ms > kLongestDeadlineMs) members.reject("deadline_ms", "at most an hour");
    prepare.deadline = std::chrono::milliseconds(deadline_ms);
    return members.finish(std::move(prepare));
  }
  if (type == "resumed") return members.finish(Resumed{.words = members.words()});
  if (type == "abort") return members.finish(Abort{.id = members.text("id")});
  return fail("a line from the host has the unknown type '" + std::string(type.substr(0, 32)) +
              "'");
}

std::string hello_line(std::string_view agent_version, std::string_view kernel_release) {
  return as_line({{"type", "hello"},
                  {"version", CLONESAFE_HOST_PROTOCOL_VERSION},
                  {"agent", std::string(agent_version)},
                  {"kernel", std::string(kernel_release)}});
}

std::string register_line(const PageRegistration& registration) {
  return as_line({{"type", "register_page"},
                  {"address", hex(registration.address)},
                  {"nonce", hex(registration.nonce)}});
}

std::string register_secrets_line(std::string_view id, const std::vector<PageRegistration>& pages) {
  json::array list;
  for (const PageRegistration& page : pages)
    list.push_back({{"address", hex(page.address)}, {"nonce", hex(page.nonce)}});
  return as_line(
      {{"type", "register_secrets"}, {"id", std::string(id)}, {"pages", std::move(list)}});
}

std::string prepared_line(std::string_view id, const Status& outcome,
                          const std::vector<RepairResult>& steps) {
  json::object line = {{"type", "prepared"}, {"id", std::string(id)}, {"ok", outcome.has_value()}};
  if (!outcome) line["error"] = outcome.error().message();
  line["steps"] = result_list(steps);
  return as_line(line);
}

std::string safe_line(const SafeReport& report) {
  json::array sources;
  for (const std::string& source : report.sources) sources.emplace_back(source);
  return as_line({{"type", "safe"},
                  {"restore_id", hex(report.restore_id)},
                  {"generation", hex(report.generation)},
                  {"reseed_epoch", hex(report.reseed_epoch)},
                  {"state", report.degraded ? "degraded" : "safe"},
                  {"sources", std::move(sources)},
                  {"repairs", result_list(report.repairs)}});
}

}  // namespace clonesafe::agent
