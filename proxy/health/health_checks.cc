#include "proxy/health/health_checks.h"

#include <spdlog/spdlog.h>

#include "proxy/core/backoff.h"
#include "proxy/core/raised.h"
#include "proxy/core/within.h"
#include "proxy/health/probe.h"
#include "proxy/upstream/proxy_header.h"

namespace clonesafe::proxy {

HealthChecks::HealthChecks(Loop& loop, const std::string& name, const UpstreamConfig& config,
                           Upstream& upstream)
    : loop_(loop),
      name_(name),
      config_(config),
      upstream_(upstream),
      states_(config.check ? config.addresses.size() : 0) {}

void HealthChecks::turn_generation(Clock::time_point now) {
  const Fence::Epoch epoch = loop_.fence().now();
  if (epoch == epoch_) return;
  epoch_ = epoch;
  for (State& state : states_) {
    state.against = 0;
    // The clones of a snapshot don't ask all at once.
    state.next = now + random_pause(config_.check->interval);
  }
}

std::vector<std::size_t> HealthChecks::due(Clock::time_point now) {
  std::vector<std::size_t> all;
  if (states_.empty() || upstream_.parked()) return all;
  turn_generation(now);
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (!states_[i].asking && now >= states_[i].next) all.push_back(i);
  }
  return all;
}

void HealthChecks::stop() {
  ++stopped_;
  for (State& state : states_) {
    if (state.stream) state.stream->close();
  }
}

Awaitable<void> HealthChecks::ask(std::size_t address) {
  State& state = states_[address];
  const Raised asking(state.asking);
  turn_generation(Clock::now());
  const Fence::Epoch epoch = epoch_;
  const std::uint64_t stopped = stopped_;
  const auto begin = Clock::now();
  const Status answer = co_await within(loop_, config_.check->timeout, ask_once(address));
  if (state.stream) state.stream->close();
  state.stream = nullptr;
  turn_generation(Clock::now());
  if (epoch_ != epoch || stopped_ != stopped) co_return;
  state.next = begin + config_.check->interval;
  ++asked_;
  if (!answer) ++failed_;
  note(address, answer);
}

Awaitable<Status> HealthChecks::ask_once(std::size_t address) {
  const CheckConfig& check = *config_.check;
  const Address& asked = config_.addresses[address];
  const std::string header = proxy_header(config_.send_proxy_protocol, Ends());
  auto connected =
      co_await upstream_.connect_for_check(asked, header, check.kind != CheckConfig::Kind::kTcp);
  if (!connected) co_return fail(connected.error());
  const std::shared_ptr<Stream> stream(std::move(*connected));
  states_[address].stream = stream;
  if (upstream_.parked()) co_return fail("a snapshot was announced");
  const std::string host = asked.is_unix() ? "localhost" : asked.text();
  co_return co_await probe(*stream, check, host);
}

void HealthChecks::note(std::size_t address, const Status& answer) {
  State& state = states_[address];
  const bool down = upstream_.down(address);
  if (answer.has_value() != down) {
    state.against = 0;
    return;
  }
  if (++state.against < (down ? config_.check->rise : config_.check->fall)) return;
  state.against = 0;
  upstream_.set_down(address, !down);
  const std::string where = config_.addresses[address].text();
  if (down) {
    spdlog::info("{}: {} is up again", name_, where);
  } else {
    spdlog::warn("{}: {} is down: {}", name_, where, answer.error().message());
  }
}

}  // namespace clonesafe::proxy
