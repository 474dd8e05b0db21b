#include "vmm_device/agent_channel/messages.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <span>

#include "clonesafe/abi/secret_page.h"
#include "libclonesafe/base/printable.h"

namespace clonesafe::agent_channel {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 8;
constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxText = 1024;
constexpr std::size_t kMaxSteps = 256;
constexpr std::size_t kMaxSources = 32;

// Reads the members of one object; the first that is wrong is the error, and reads after it give
// nothing.
class Members {
 public:
  Members(std::string where, const json::value& value)
      : where_(std::move(where)), object_(value.if_object()) {
    if (object_ == nullptr) wrong("", "is not an object");
  }

  const std::optional<Error>& error() const { return error_; }

  // Printable text: UTF-8 without control characters.
  std::string text(const char* name, std::size_t max, bool required = true) {
    const json::value* value = find(name, required);
    if (value == nullptr) return {};
    const json::string* string = value->if_string();
    if (string == nullptr) return wrong(name, "is not a string"), std::string();
    if (string->size() > max) return wrong(name, "is too long"), std::string();
    return printable(*string, ' ');
  }
  std::string one_of(const char* name, std::initializer_list<std::string_view> choices) {
    std::string value = text(name, kMaxName);
    if (!error_ && std::ranges::find(choices, value) == choices.end()) {
      wrong(name, "is none of the known values");
    }
    return value;
  }
  bool boolean(const char* name) {
    const json::value* value = find(name, true);
    if (value == nullptr) return false;
    if (!value->is_bool()) return wrong(name, "is not true or false"), false;
    return value->get_bool();
  }
  std::uint64_t number(const char* name) {
    const json::value* value = find(name, true);
    if (value == nullptr) return 0;
    if (value->is_uint64()) return value->get_uint64();
    if (value->is_int64() && value->get_int64() >= 0) {
      return static_cast<std::uint64_t>(value->get_int64());
    }
    return wrong(name, "is not a whole number"), 0;
  }
  std::uint64_t hex_number(const char* name) {
    const std::string_view digits = hex_digits(name);
    std::uint64_t value = 0;
    if (error_) return 0;
    if (digits.empty() || digits.size() > 16) return wrong(name, "is not a 64-bit number"), 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    return value;
  }
  std::array<std::uint8_t, 16> hex_bytes(const char* name) {
    std::array<std::uint8_t, 16> bytes{};
    const std::string_view digits = hex_digits(name);
    if (error_) return bytes;
    if (digits.size() != 2 * bytes.size()) return wrong(name, "is not 16 bytes"), bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const char* pair = digits.data() + 2 * i;
      std::from_chars(pair, pair + 2, bytes[i], 16);
    }
    return bytes;
  }
  const json::array* list(const char* name, std::size_t max) {
    const json::value* value = find(name, true);
    if (value == nullptr) return nullptr;
    const json::array* array = value->if_array();
    if (array == nullptr) return wrong(name, "is not a list"), nullptr;
    if (array->size() > max) return wrong(name, "has too many elements"), nullptr;
    return array;
  }
  std::vector<RepairResult> results(const char* name) {
    std::vector<RepairResult> results;
    const json::array* array = list(name, kMaxSteps);
    if (array == nullptr) return results;
    for (const json::value& element : *array) {
      Members members(where_ + ": " + name, element);
      RepairResult result{.name = members.text("name", kMaxName),
                          .result = members.one_of("result", {"ok", "failed", "skipped"}),
                          .detail = members.text("detail", kMaxText),
                          .us = members.number("us")};
      if (members.error_) {
        error_ = members.error_;
        break;
      }
      results.push_back(std::move(result));
    }
    return results;
  }
  RegisterPage page() {
    return {.address = GuestAddress(hex_number("address")), .nonce = hex_bytes("nonce")};
  }
  std::vector<RegisterPage> pages(const char* name) {
    std::vector<RegisterPage> pages;
    const json::array* array = list(name, CLONESAFE_SECRET_PAGES_MAX);
    if (array == nullptr) return pages;
    for (const json::value& element : *array) {
      Members members(where_ + ": " + name, element);
      pages.push_back(members.page());
      error_ = members.error_;
      if (error_) break;
    }
    return pages;
  }
  std::vector<std::string> names(const char* name) {
    std::vector<std::string> names;
    const json::array* array = list(name, kMaxSources);
    if (array == nullptr) return names;
    for (const json::value& element : *array) {
      const json::string* string = element.if_string();
      if (string == nullptr || string->size() > kMaxName) {
        wrong(name, "holds something else than a short string");
        break;
      }
      names.push_back(printable(*string, ' '));
    }
    return names;
  }

  void wrong(std::string_view member, std::string_view what) {
    if (error_) return;
    std::string message = where_;
    if (!member.empty()) message.append(": \"").append(member).append("\"");
    error_ = Error(message.append(" ").append(what));
  }

 private:
  const json::value* find(const char* name, bool required) {
    if (error_) return nullptr;
    const json::value* value = object_->if_contains(name);
    if (value == nullptr && required) wrong(name, "is missing");
    return value;
  }
  std::string_view hex_digits(const char* name) {
    const json::value* value = find(name, true);
    if (value == nullptr) return {};
    const json::string* string = value->if_string();
    if (string == nullptr ||
        std::string_view(*string).find_first_not_of("0123456789abcdef") != std::string_view::npos) {
      return wrong(name, "is not a string of lower-case hexadecimal digits"), std::string_view();
    }
    return *string;
  }

  const std::string where_;
  const json::object* object_;
  std::optional<Error> error_;
};

Result<GuestMessage> read_message(const json::value& value) {
  std::string type;
  {
    Members members("message", value);
    type = members.text("type", kMaxName);
    if (const auto& error = members.error()) return fail(*error);
  }
  Members members("message " + type, value);
  GuestMessage message;
  if (type == "hello") {
    message = Hello{.version = members.number("version"),
                    .agent = members.text("agent", kMaxName),
                    .kernel = members.text("kernel", kMaxText)};
  } else if (type == "register_page") {
    message = members.page();
  } else if (type == "register_secrets") {
    message = RegisterSecrets{.id = members.text("id", kMaxName), .pages = members.pages("pages")};
  } else if (type == "prepared") {
    Prepared prepared{.id = members.text("id", kMaxName), .ok = members.boolean("ok")};
    prepared.error = members.text("error", kMaxText, !prepared.ok);
    prepared.steps = members.results("steps");
    message = std::move(prepared);
  } else if (type == "safe") {
    message = SafeReport{.restore_id = members.hex_bytes("restore_id"),
                         .generation = members.hex_number("generation"),
                         .reseed_epoch = members.hex_number("reseed_epoch"),
                         .state = members.one_of("state", {"safe", "degraded"}),
                         .sources = members.names("sources"),
                         .repairs = members.results("repairs")};
  } else {
    return fail("message of an unknown type \"" + type + "\"");
  }
  if (const auto& error = members.error()) return fail(*error);
  return message;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string line(const json::object& object) {
  return json::serialize(object) + "\n";
}

json::object with_outcome(json::object object, const Status& status) {
  object["ok"] = status.has_value();
  if (!status) object["error"] = status.error().message();
  return object;
}

}  // namespace

Result<GuestMessage> parse_guest_message(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::system::error_code error;
  const json::value value = json::parse(text, error, {}, options);
  if (error) return fail("message is not JSON: " + error.message());
  return read_message(value);
}

std::string welcome_line(std::uint64_t version, std::string_view host, const RestoreId& restore_id,
                         RestoreKind kind, std::uint64_t secret_pages, const HostFacts& facts) {
  json::object object{{"type", "welcome"},
                      {"version", version},
                      {"host", host},
                      {"restore_id", hex(restore_id)},
                      {"kind", name_of(kind)}};
  if (secret_pages != 0) object["secret_pages"] = secret_pages;
  if (facts.realtime_ns != 0) object["host_realtime_ns"] = fmt::format("{:x}", facts.realtime_ns);
  if (facts.metadata) object["metadata"] = *facts.metadata;
  return line(object);
}

std::string registered_line(const Status& status) {
  return line(with_outcome({{"type", "registered"}}, status));
}

std::string secrets_registered_line(std::string_view id, const Status& status) {
  return line(with_outcome({{"type", "secrets_registered"}, {"id", id}}, status));
}

std::string check_secrets_line() {
  return line({{"type", "check_secrets"}});
}

std::string prepare_line(std::string_view id, std::chrono::milliseconds deadline) {
  return line({{"type", "prepare"}, {"id", id}, {"deadline_ms", deadline.count()}});
}

std::string resumed_line(const RestoreId& restore_id, RestoreKind kind) {
  return line({{"type", "resumed"}, {"restore_id", hex(restore_id)}, {"kind", name_of(kind)}});
}

std::string abort_line(std::string_view id) {
  return line({{"type", "abort"}, {"id", id}});
}

}  // namespace clonesafe::agent_channel
