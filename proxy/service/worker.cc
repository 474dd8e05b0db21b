#include "proxy/service/worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>

#include "proxy/core/raised.h"
#include "proxy/core/spawn.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

// How often limits, and the generation of connections that nobody uses, are looked at. Connections
// that are used look at it themselves.
constexpr std::chrono::milliseconds kLookEvery{100};
// Stale connections that are closed at once.
constexpr std::size_t kLeaveBatch = 64;
// How often sessions are asked whether they are idle by now, before a snapshot.
constexpr std::chrono::milliseconds kParkAgain{5};

// To who runs the loop.
void throw_on(const std::exception_ptr& thrown) {
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace

Worker::~Worker() {
  if (thread_.joinable()) {
    stop();
    thread_.join();
  }
}

void Worker::start() {
  thread_ = std::thread([this] {
    run_until_stopped(loop_.io(), [this] {
      if (!watches_) asio::co_spawn(loop_.io(), watch(), throw_on);
    });
  });
}

void Worker::stop() {
  asio::post(loop_.io(), [this] {
    for (const auto& service : all()) {
      service->stop_listening();
      service->reset_all();
    }
    loop_.io().stop();
  });
}

// On the thread, if there is one yet.
void Worker::run(const std::function<void()>& what) {
  if (!thread_.joinable()) return what();
  std::promise<void> done;
  asio::post(loop_.io(), [&what, &done] {
    try {
      what();
    } catch (const std::bad_alloc&) {
      log_thrown(std::current_exception());
    }
    done.set_value();
  });
  done.get_future().wait();
}

void Worker::fence() {
  run([this] { look(); });
  // Requests that wait are served in between. Where there is no memory, watch() begins it again.
  for (bool left = true; left && thread_.joinable();)
    run([&] {
      left = leaving_ != 0 || epoch_ != loop_.fence().now() || half_fenced() ||
             loop_.tombstones().has_left();
    });
}

std::vector<std::shared_ptr<Service>> Worker::all() const {
  std::vector<std::shared_ptr<Service>> both = services_;
  both.insert(both.end(), retired_.begin(), retired_.end());
  return both;
}

Status Worker::serve(std::vector<Part> parts) {
  Status served;
  run([&] {
    // What waits to be accepted is not taken for the fresh ones' that was the earlier ones'.
    look();
    std::vector<std::shared_ptr<Service>> fresh;
    for (Part& part : parts) {
      const auto& service = fresh.emplace_back(std::make_shared<Service>(loop_, part.parts));
      if (paused_) service->hold_applications(Gate::Reason::kPaused);
      if (parked_) service->park(false);
      served = service->listen(std::move(part.sockets));
      if (!served) break;
    }
    // All or none of them.
    auto& gone = served ? services_ : fresh;
    for (const auto& service : gone) service->stop_listening();
    if (!served) return;
    retired_.insert(retired_.end(), services_.begin(), services_.end());
    services_ = std::move(fresh);
    bury();
  });
  return served;
}

// Those that were replaced, once their last session has ended.
void Worker::bury() {
  std::erase_if(retired_, [this](const std::shared_ptr<Service>& service) {
    if (service->session_count() != 0) return false;
    ServiceCensus past = service->census();
    past.max_sessions = past.breakers_open = 0;
    past.down.clear();
    add_to(past_, past);
    return true;
  });
}

void Worker::stop_listening() {
  run([this] {
    for (const auto& service : services_) service->stop_listening();
  });
}
void Worker::reset_all() {
  run([this] {
    for (const auto& service : all()) service->reset_all();
  });
}
void Worker::pause() {
  run([this] {
    paused_ = true;
    for (const auto& service : all()) service->hold_applications(Gate::Reason::kPaused);
  });
}
void Worker::resume() {
  run([this] {
    paused_ = false;
    for (const auto& service : all()) service->release_applications(Gate::Reason::kPaused);
  });
}

// From upstreams, and from secrets by which they are reached.
bool Worker::has_parted() const {
  return std::ranges::all_of(all(), [](const std::shared_ptr<Service>& service) {
    return service->upstream_connections() == 0 && service->commands_running() == 0;
  });
}

Awaitable<void> Worker::park_all(Parking how) {
  const auto until = std::chrono::steady_clock::now() + how.deadline;
  asio::steady_timer timer = loop_.timer();
  for (;;) {
    for (const auto& service : all()) service->park(how.part);
    // A goodbye that the socket takes at once is over now.
    if (!how.part || has_parted() || std::chrono::steady_clock::now() >= until) co_return;
    timer.expires_after(kParkAgain);
    [[maybe_unused]] const auto waited =
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

std::future<std::vector<ServiceCensus>> Worker::park(Parking how) {
  auto done = std::make_shared<std::promise<std::vector<ServiceCensus>>>();
  asio::post(loop_.io(), [this, how, done] {
    parked_ = true;
    asio::co_spawn(loop_.io(), park_all(how),
                   [this, done](const std::exception_ptr&) { done->set_value(take_census()); });
  });
  return done->get_future();
}
void Worker::unpark() {
  run([this] {
    parked_ = false;
    for (const auto& service : all()) service->unpark();
  });
}

std::vector<ServiceCensus> Worker::take_census() const {
  std::vector<ServiceCensus> census;
  for (const auto& service : all()) add_to(census, service->census());
  for (const ServiceCensus& past : past_) add_to(census, past);
  return census;
}
std::vector<ServiceCensus> Worker::census() {
  std::vector<ServiceCensus> census;
  run([&] { census = take_census(); });
  return census;
}

Tombstones::Counts Worker::tombstones() {
  Tombstones::Counts counts;
  run([&] { counts = loop_.tombstones().counts(); });
  return counts;
}

std::vector<SessionCensus> Worker::sessions(std::size_t limit) {
  std::vector<SessionCensus> sessions;
  run([&] {
    for (const auto& service : all()) {
      const auto more = service->sessions(limit - sessions.size());
      sessions.insert(sessions.end(), more.begin(), more.end());
    }
  });
  return sessions;
}

void Worker::look() {
  const Fence::Epoch epoch = loop_.fence().now();
  if (epoch != epoch_ || half_fenced()) {
    half_left_ = true;
    for (const auto& service : all()) service->fence();
    epoch_ = epoch;
    half_left_ = false;
    leave_rest({});
  }
  bury_left();
}

bool Worker::half_fenced() const {
  return half_left_ || std::ranges::any_of(all(), &Service::half_fenced);
}

// What no session has: what is being opened, greeted or parted from. After the sessions, which know
// best how to leave theirs.
void Worker::leave_rest(std::vector<Tombstones::Holder*> all) {
  const bool before = std::exchange(half_left_, true);
  const auto services = this->all();
  if (!std::ranges::any_of(services, &Service::fencing)) {
    if (all.empty()) all = loop_.tombstones().holders();
    for (std::size_t done = 0; done < kLeaveBatch && !all.empty(); ++done) {
      // It may be no more.
      if (loop_.tombstones().has(all.back())) all.back()->leave_stale();
      all.pop_back();
    }
    if (all.empty()) {
      half_left_ = before;
      return bury_left();
    }
  }
  asio::post(loop_.io(), [this, rest = std::move(all)]() mutable {
    --leaving_;
    leave_rest(std::move(rest));
  });
  ++leaving_;
  half_left_ = before;
}

// What sessions left in a hurry, to open another connection for whoever asked.
void Worker::bury_left() {
  loop_.tombstones().bury_left(kLeaveBatch);
  if (!loop_.tombstones().has_left()) return;
  asio::post(loop_.io(), [this] {
    --leaving_;
    bury_left();
  });
  ++leaving_;
}

Awaitable<void> Worker::watch() {
  const Raised watches(watches_);
  asio::steady_timer timer = loop_.timer();
  for (;;) {
    timer.expires_after(kLookEvery);
    const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (error) co_return;
    look();
    const auto now = std::chrono::steady_clock::now();
    for (const auto& service : all()) service->look(now);
    loop_.tombstones().look(now);
    bury();
  }
}

}  // namespace clonesafe::proxy
