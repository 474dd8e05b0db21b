// The applications of bench/proxy: connections that ask one question after the other, that are
// idle, or that are new. All on one thread. Prints one JSON object; exit code 1 and a line if
// anything failed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <span>
#include <vector>

#include "bench/proxy/dialogue.h"
#include "bench/report/results.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/page/generation_page_writer.h"

namespace clonesafe::bench {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr const char* kUsage =
    "usage: bench_proxy_load rate redis|postgres HOST PORT CONNECTIONS SECONDS\n"
    "                        idle redis|postgres HOST PORT CONNECTIONS    (until input ends)\n"
    "                        fresh redis|postgres HOST PORT CONNECTIONS\n"
    "                        restore redis|postgres HOST PORT CONNECTIONS PAGE ASKING\n"
    "                        page PAGE...    (made, if they aren't there)\n"
    "                        move PAGE...    (to the next generation, all at once)\n";

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

struct Connection {
  UniqueFd fd;
  ReplyReader reader;
  bool greeted = false;
  Clock::time_point asked;
};

class Load {
 public:
  Load(Language language, const std::string& host, int port)
      : language_(language),
        greeting_(greeting(language)),
        question_(question(language)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    to_.sin_family = AF_INET;
    to_.sin_port = htons(static_cast<std::uint16_t>(port));
    ::inet_pton(AF_INET, host.c_str(), &to_.sin_addr);
  }

  // All of them, each with its first reply but one: what is measured begins with a question.
  Status open(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      if (auto made = connect(); !made) return made;
      if (auto greeted = ask_all(connections_.size() - 1); !greeted) return greeted;
    }
    return {};
  }

  struct Times {
    std::vector<double> each;  // microseconds, from the first question
  };
  // Connects, greets and asks, all at once.
  Result<Times> fresh(std::size_t count) {
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < count; ++i) {
      if (auto made = connect(); !made) return fail(made.error());
    }
    return replies_since(begin, 0);
  }
  // Asks on so many of them at once.
  Result<Times> burst(std::size_t count) {
    return replies_since(Clock::now(), connections_.size() - std::min(count, connections_.size()));
  }

  struct Rate {
    std::vector<double> each;
    double seconds = 0;
  };
  Result<Rate> rate(std::chrono::duration<double> time) {
    Rate rate;
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(time);
    for (const auto& connection : connections_) {
      if (auto asked = ask(*connection); !asked) return fail(asked.error());
    }
    Clock::time_point now = begin;
    while (now < end) {
      const auto answered = wait();
      if (!answered) return fail(answered.error());
      now = Clock::now();
      for (Connection* const connection : *answered) {
        rate.each.push_back(microseconds(now - connection->asked));
        if (auto asked = ask(*connection); !asked) return fail(asked.error());
      }
    }
    rate.seconds = std::chrono::duration<double>(now - begin).count();
    return rate;
  }

 private:
  Status connect() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to_), sizeof to_) != 0)
      return fail_errno("connect");
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<Connection>(
        Connection{.fd = std::move(fd), .reader = ReplyReader(language_), .asked = {}});
    connection->greeted = greeting_.empty();
    epoll_event event{.events = EPOLLIN, .data = {.ptr = connection.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->fd.get(), &event) != 0)
      return fail_errno("epoll_ctl");
    connections_.push_back(std::move(connection));
    return {};
  }

  Status say(const Connection& connection, const std::string& text) {
    if (::send(connection.fd.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size()))
      return fail_errno("send");
    return {};
  }
  Status ask(Connection& connection) {
    connection.asked = Clock::now();
    return say(connection, connection.greeted ? question_ : greeting_);
  }

  // From the `from`th on: greets those that need it and waits for the replies to one question each.
  Status ask_all(std::size_t from) {
    if (auto replies = replies_since(Clock::now(), from); !replies) return fail(replies.error());
    return {};
  }
  Result<Times> replies_since(Clock::time_point begin, std::size_t from) {
    Times times;
    for (std::size_t i = from; i < connections_.size(); ++i) {
      if (auto asked = ask(*connections_[i]); !asked) return fail(asked.error());
    }
    const std::size_t count = connections_.size() - from;
    while (times.each.size() < count) {
      const auto answered = wait();
      if (!answered) return fail(answered.error());
      const auto now = Clock::now();
      for (Connection* const connection : *answered) {
        if (std::exchange(connection->greeted, true)) {
          times.each.push_back(microseconds(now - begin));
        } else if (auto asked = ask(*connection); !asked) {
          return fail(asked.error());
        }
      }
    }
    return times;
  }

  // Those whose replies are whole.
  Result<std::vector<Connection*>> wait() {
    constexpr int kPatienceMs = 20'000;
    std::array<epoll_event, 64> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), kPatienceMs);
    if (count < 0) return fail_errno("epoll_wait");
    if (count == 0) return fail("no reply in 20 s");
    std::vector<Connection*> answered;
    for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(count))) {
      auto* const connection = static_cast<Connection*>(event.data.ptr);
      std::array<char, 16384> bytes{};
      const ssize_t got = ::recv(connection->fd.get(), bytes.data(), bytes.size(), 0);
      if (got < 0) return fail_errno("recv");
      if (got == 0) return fail("a connection was closed");
      if (connection->reader.take({bytes.data(), static_cast<std::size_t>(got)}))
        answered.push_back(connection);
    }
    return answered;
  }

  const Language language_;
  const std::string greeting_, question_;
  const UniqueFd epoll_;
  sockaddr_in to_{};
  std::vector<std::unique_ptr<Connection>> connections_;
};

Result<GenerationPageWriter> open_page(const std::string& path) {
  clonesafe_generation_slot slot{};
  slot.generation = 1;
  slot.reseed_epoch = 1;
  slot.kernel_rng_epoch = 1;
  slot.state = CLONESAFE_STATE_SAFE;
  slot.tier = CLONESAFE_TIER_WORD;
  return GenerationPageWriter::open(path, slot);
}

// What a clone's first instruction finds.
Status move_generation(GenerationPageWriter& page) {
  const auto now = page.read();
  if (!now) return fail(now.error());
  clonesafe_generation_slot slot = now->slot;
  ++slot.generation;
  ++slot.reseed_epoch;
  if (!page.commit(now->control, slot)) return fail("the generation page was overtaken");
  return {};
}

json::object times_to_json(std::span<const double> each) {
  const std::vector<double> times(each.begin(), each.end());
  return {{"first_us", std::ranges::min(times)},
          {"p50_us", quantile(times, 0.5)},
          {"p99_us", quantile(times, 0.99)},
          {"last_us", std::ranges::max(times)}};
}

Status take_pages(std::span<const std::string> paths, bool move) {
  std::vector<GenerationPageWriter> pages;
  for (const std::string& path : paths) {
    auto page = open_page(path);
    if (!page) return fail(page.error());
    pages.push_back(std::move(*page));
  }
  if (!move) return {};
  for (GenerationPageWriter& page : pages) {
    if (auto moved = move_generation(page); !moved) return moved;
  }
  return {};
}

Result<json::object> run(std::span<const std::string> arguments) {
  const std::string& what = arguments[0];
  if (what == "page" || what == "move") {
    if (auto taken = take_pages(arguments.subspan(1), what == "move"); !taken)
      return fail(taken.error());
    return json::object();
  }
  const auto language = language_named(arguments[1]);
  if (!language) return fail("unknown language '" + arguments[1] + "'");
  const auto count = static_cast<std::size_t>(std::strtoul(arguments[4].c_str(), nullptr, 10));
  Load load(*language, arguments[2], std::atoi(arguments[3].c_str()));
  if (what == "fresh") {
    const auto times = load.fresh(count);
    if (!times) return fail(times.error());
    return times_to_json(times->each);
  }
  if (auto opened = load.open(count); !opened) return fail(opened.error());
  if (what == "restore") {
    auto page = open_page(arguments[5]);
    if (!page) return fail(page.error());
    if (auto moved = move_generation(*page); !moved) return fail(moved.error());
    const auto times = load.burst(std::strtoul(arguments[6].c_str(), nullptr, 10));
    if (!times) return fail(times.error());
    return times_to_json(times->each);
  }
  if (what == "idle") {
    std::cout << "ready" << std::endl;
    std::string until_end;
    std::getline(std::cin, until_end);
    return json::object();
  }
  const auto rate =
      load.rate(std::chrono::duration<double>(std::strtod(arguments[5].c_str(), nullptr)));
  if (!rate) return fail(rate.error());
  json::object result = times_to_json(rate->each);
  result["requests"] = rate->each.size();
  result["seconds"] = rate->seconds;
  return result;
}

bool is_call(std::span<const std::string> arguments) {
  const auto is = [&](const char* what, std::size_t count) {
    return arguments.size() == count && arguments[0] == what;
  };
  if (!arguments.empty() && (arguments[0] == "page" || arguments[0] == "move"))
    return arguments.size() >= 2;
  return is("idle", 5) || is("fresh", 5) || is("rate", 6) || is("restore", 7);
}

}  // namespace
}  // namespace clonesafe::bench

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!clonesafe::bench::is_call(arguments)) {
    std::cerr << clonesafe::bench::kUsage;
    return 2;
  }
  const auto result = clonesafe::bench::run(arguments);
  if (!result) {
    std::cerr << "bench_proxy_load: " << result.error().message() << "\n";
    return 1;
  }
  std::cout << boost::json::serialize(*result) << std::endl;
  return 0;
}
