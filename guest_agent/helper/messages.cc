#include "guest_agent/helper/messages.h"

#include <boost/json.hpp>

namespace clonesafe::agent {
namespace {

namespace json = boost::json;

json::object to_json(const RunHooks& run) {
  return {{"phase", static_cast<unsigned>(run.phase)},
          {"each_ms", run.each.count()},
          {"all_ms", run.all.count()},
          {"cause", run.cause},
          {"generation", run.generation},
          {"reseed_epoch", run.reseed_epoch},
          {"restore_id", run.restore_id}};
}

RunHooks run_hooks_of(const json::value& value) {
  return {.phase = static_cast<HookPhase>(value.at("phase").to_number<std::uint8_t>()),
          .each = std::chrono::milliseconds(value.at("each_ms").to_number<std::int64_t>()),
          .all = std::chrono::milliseconds(value.at("all_ms").to_number<std::int64_t>()),
          .cause = json::value_to<std::string>(value.at("cause")),
          .generation = json::value_to<std::string>(value.at("generation")),
          .reseed_epoch = json::value_to<std::string>(value.at("reseed_epoch")),
          .restore_id = json::value_to<std::string>(value.at("restore_id"))};
}

HelperRequest request_of(const json::value& packet) {
  HelperRequest request = {.id = packet.at("id").to_number<std::uint64_t>(), .what = CancelRun()};
  if (const auto* const run = packet.as_object().if_contains("hooks"))
    request.what = run_hooks_of(*run);
  if (const auto* const trim = packet.as_object().if_contains("trim")) {
    request.what = TrimMemory{
        .drop_caches = trim->at("drop_caches").as_bool(),
        .reclaim = std::chrono::milliseconds(trim->at("reclaim_ms").to_number<std::int64_t>())};
  }
  if (packet.as_object().contains("power_off")) request.what = PowerOff();
  return request;
}

HelperAnswer answer_of(const json::value& packet) {
  HelperAnswer answer = {.id = packet.at("id").to_number<std::uint64_t>(), .result = {}};
  if (const auto* const result = packet.as_object().if_contains("result")) {
    answer.result = {
        .name = json::value_to<std::string>(result->at("name")),
        .outcome = static_cast<Outcome>(result->at("outcome").to_number<std::uint8_t>()),
        .us = result->at("us").to_number<std::uint64_t>(),
        .detail = json::value_to<std::string>(result->at("detail"))};
  }
  return answer;
}

template <typename Read>
auto parse(std::string_view packet, const Read& read) -> Result<decltype(read(json::value()))> {
  try {
    return read(json::parse(packet));
  } catch (const std::exception& error) {
    return fail(std::string("a message of the helper process: ") + error.what());
  }
}

}  // namespace

std::string to_packet(const HelperRequest& request) {
  json::object packet = {{"id", request.id}};
  if (const auto* const run = std::get_if<RunHooks>(&request.what)) packet["hooks"] = to_json(*run);
  if (std::holds_alternative<PowerOff>(request.what)) packet["power_off"] = true;
  if (const auto* const trim = std::get_if<TrimMemory>(&request.what)) {
    packet["trim"] = {{"drop_caches", trim->drop_caches}, {"reclaim_ms", trim->reclaim.count()}};
  }
  return json::serialize(packet);
}

std::string to_packet(const HelperAnswer& answer) {
  json::object packet = {{"id", answer.id}};
  if (answer.result) {
    packet["result"] = {{"name", answer.result->name},
                        {"outcome", static_cast<unsigned>(answer.result->outcome)},
                        {"us", answer.result->us},
                        {"detail", answer.result->detail}};
  }
  return json::serialize(packet);
}

Result<HelperRequest> parse_helper_request(std::string_view packet) {
  return parse(packet, request_of);
}

Result<HelperAnswer> parse_helper_answer(std::string_view packet) {
  return parse(packet, answer_of);
}

}  // namespace clonesafe::agent
