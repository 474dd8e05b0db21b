#include "proxy/service/worker.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

// How often limits, and the generation of connections that nobody uses, are looked at. Connections
// that are used look at it themselves.
constexpr std::chrono::milliseconds kLookEvery{100};

}  // namespace

Worker::Worker(const std::vector<ServiceParts>& parts) {
  for (const ServiceParts& part : parts)
    services_.push_back(std::make_shared<Service>(loop_, part));
}

Worker::~Worker() {
  if (thread_.joinable()) {
    stop();
    thread_.join();
  }
}

void Worker::start() {
  asio::co_spawn(loop_.io(), watch(), asio::detached);
  thread_ = std::thread([this] { loop_.io().run(); });
}

void Worker::stop() {
  asio::post(loop_.io(), [this] {
    for (const auto& service : services_) {
      service->stop_listening();
      service->reset_all();
    }
    loop_.io().stop();
  });
}

void Worker::fence() {
  std::promise<void> done;
  asio::post(loop_.io(), [this, &done] {
    look();
    done.set_value();
  });
  done.get_future().wait();
}

void Worker::look() {
  const Fence::Epoch epoch = loop_.fence().now();
  if (epoch != epoch_) {
    epoch_ = epoch;
    for (const auto& service : services_) service->fence();
  }
}

Awaitable<void> Worker::watch() {
  asio::steady_timer timer = loop_.timer();
  for (;;) {
    timer.expires_after(kLookEvery);
    const auto [error] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (error) co_return;
    look();
    const auto now = std::chrono::steady_clock::now();
    for (const auto& service : services_) service->look(now);
  }
}

}  // namespace clonesafe::proxy
