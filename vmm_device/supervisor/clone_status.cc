#include "vmm_device/supervisor/clone_status.h"

#include <boost/json.hpp>

#include "vmm_device/supervisor/text.h"

namespace clonesafe::supervisor {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxRepairs = 256;

// Members of an event line; an error names the one that is missing or of the wrong kind.
Result<std::string> text_member(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return fail(std::string("no text \"") + name + "\"");
  return printable(value->get_string());
}

Result<std::uint64_t> number_member(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value != nullptr && value->is_uint64()) return value->get_uint64();
  if (value != nullptr && value->is_int64() && value->get_int64() >= 0)
    return static_cast<std::uint64_t>(value->get_int64());
  return fail(std::string("no number \"") + name + "\"");
}

Result<std::vector<Repair>> repairs_member(const json::object& object) {
  const json::value* value = object.if_contains("repairs");
  if (value == nullptr || !value->is_array()) return fail("no list \"repairs\"");
  const json::array& list = value->get_array();
  if (list.size() > kMaxRepairs)
    return fail(std::to_string(list.size()) + " repairs, at most 256 are taken");
  std::vector<Repair> repairs;
  for (const json::value& item : list) {
    if (!item.is_object()) return fail("a repair that is no object");
    auto name = text_member(item.get_object(), "name");
    auto result = text_member(item.get_object(), "result");
    auto us = number_member(item.get_object(), "us");
    auto detail = text_member(item.get_object(), "detail");
    if (!name) return fail(std::move(name).error());
    if (!result) return fail(std::move(result).error());
    if (!us) return fail(std::move(us).error());
    if (!detail) return fail(std::move(detail).error());
    repairs.push_back({*std::move(name), *std::move(result), *us, *std::move(detail)});
  }
  return repairs;
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string number_or_null(std::optional<std::uint64_t> value) {
  return value ? std::to_string(*value) : "null";
}

json::value number(std::optional<std::uint64_t> value) {
  if (value) return *value;
  return nullptr;
}

json::value text(const std::string& value) {
  if (value.empty()) return nullptr;
  return json::value(value);
}

std::optional<std::uint64_t> between(std::optional<std::uint64_t> from,
                                     std::optional<std::uint64_t> to) {
  if (!from || !to) return std::nullopt;
  // A first exit can be reported by another thread than the start of the run.
  return *to > *from ? *to - *from : 0;
}

}  // namespace

Status CloneStatus::take(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(json::string_view(line.data(), line.size()), error);
  if (error || !value.is_object()) return fail("not a JSON object");
  const json::object& object = value.get_object();
  auto event = text_member(object, "event");
  if (!event) return fail(std::move(event).error());
  const std::string context = "event " + *event;

  if (*event == "ended") {
    const json::value* ok = object.if_contains("ok");
    auto reason = text_member(object, "reason");
    if (ok == nullptr || !ok->is_bool()) return fail(context + ": no \"ok\"");
    if (!reason) return fail(std::move(reason).error(), context);
    if (!end_) end_ = End{ok->get_bool(), *std::move(reason)};
    return {};
  }
  auto at = number_member(object, "at_us");
  if (!at) return fail(std::move(at).error(), context);
  if (*at < requested_us_) return fail(context + ": is from before the clone was asked for");
  if (*event == "loaded") {
    auto id = text_member(object, "vm_generation_id");
    auto generation = text_member(object, "generation");
    if (!id || !is_hex(*id, 32)) return fail(context + ": no \"vm_generation_id\" of 16 bytes");
    if (!generation || !is_hex(*generation, 16))
      return fail(context + ": no \"generation\" of 8 bytes");
    vm_generation_id_ = *std::move(id);
    generation_ = *std::move(generation);
    loaded_us_ = *at;
  } else if (*event == "running") {
    running_us_ = *at;
  } else if (*event == "first_exit") {
    first_exit_us_ = *at;
  } else if (*event == "safe") {
    auto state = text_member(object, "state");
    auto repairs = repairs_member(object);
    if (!state) return fail(std::move(state).error(), context);
    if (*state != "safe" && *state != "degraded") return fail(context + ": state " + *state);
    if (!repairs) return fail(std::move(repairs).error(), context);
    held_.reset();
    if (object.contains("held_packets")) {
      HeldByClone held;
      for (const auto& [name, count] : held.named()) {
        auto number = number_member(object, name);
        if (!number) return fail(std::move(number).error(), context);
        *count = *number;
      }
      held_ = held;
    }
    state_ = *std::move(state);
    repairs_ = *std::move(repairs);
    safe_us_ = *at;
  } else {
    return fail(context + " is unknown");
  }
  return {};
}

void CloneStatus::end(bool ok, const std::string& reason) {
  if (!end_) end_ = End{ok, reason};
  // A process that says it ended well and then crashes did not end well.
  if (end_->ok && !ok) end_ = End{ok, reason};
}

const std::string& CloneStatus::reason() const {
  static const std::string kNone;
  return end_ ? end_->reason : kNone;
}

std::string_view CloneStatus::state() const {
  if (end_) return end_->ok ? "ended" : "failed";
  if (reported()) return state_;
  return running() ? "running" : "started";
}

std::string CloneStatus::failed_repairs() const {
  std::string list;
  for (const Repair& repair : repairs_) {
    if (repair.result == "ok" || repair.result == "skipped") continue;
    if (!list.empty()) list += ", ";
    list += repair.name + " " + repair.result;
    if (!repair.detail.empty()) list += " (" + repair.detail + ")";
  }
  return list;
}

std::optional<std::uint64_t> CloneStatus::restore_us() const {
  return between(requested_us_, loaded_us_);
}
std::optional<std::uint64_t> CloneStatus::first_exit_us() const {
  return between(requested_us_, first_exit_us_);
}
// A clone whose agent reports `degraded` is not safe: it has no such time.
std::optional<std::uint64_t> CloneStatus::safe_us() const {
  return safe() ? between(running_us_, safe_us_) : std::nullopt;
}

std::string CloneStatus::line() const {
  std::string line = "clone " + std::to_string(index_) + ": " + std::string(state());
  line += " vm_generation_id=" + (vm_generation_id_.empty() ? "null" : vm_generation_id_);
  line += " generation=" + (generation_.empty() ? "null" : generation_);
  line += " restore_us=" + number_or_null(restore_us());
  line += " first_exit_us=" + number_or_null(first_exit_us());
  line += " safe_us=" + number_or_null(safe_us());
  line += " repairs=";
  for (std::size_t i = 0; i < repairs_.size(); ++i)
    line += (i == 0 ? "" : ",") + repairs_[i].name + ":" + repairs_[i].result + ":" +
            std::to_string(repairs_[i].us);
  if (repairs_.empty()) line += "none";
  if (held_) {
    HeldByClone held = *held_;
    for (const auto& [name, count] : held.named())
      line += " " + std::string(name) + "=" + std::to_string(*count);
  }
  return line;
}

std::string CloneStatus::json(bool extra, std::int64_t pid) const {
  json::array repairs;
  for (const Repair& repair : repairs_)
    repairs.push_back(json::object{{"name", repair.name},
                                   {"result", repair.result},
                                   {"us", repair.us},
                                   {"detail", repair.detail}});
  json::object object{{"clone", index_},
                      {"vm_generation_id", text(vm_generation_id_)},
                      {"generation", text(generation_)},
                      {"restore_us", number(restore_us())},
                      {"first_exit_us", number(first_exit_us())},
                      {"safe_us", number(safe_us())},
                      {"repairs", std::move(repairs)}};
  HeldByClone held = held_.value_or(HeldByClone{});
  for (const auto& [name, count] : held.named())
    object[name] = number(held_ ? std::optional(*count) : std::nullopt);
  object["state"] = std::string(state());
  object["reason"] = text(reason());
  if (extra) {
    object["pid"] = pid;
    object["vsock"] = "vsock.sock";
    object["api"] = "api.sock";
    object["serial"] = "serial.log";
  }
  return json::serialize(object);
}

}  // namespace clonesafe::supervisor
