#include "tests/unit/proxy/program_fixture.h"

#include <fcntl.h>
#include <signal.h>

#include <boost/json.hpp>
#include <iterator>

namespace clonesafe::proxy {

ProgramTest::ProgramTest() {
  upstream_ = listen_on(kFar, upstream_port_);
  // One that is free.
  listen_on("127.0.0.1", port_).reset();
}

void ProgramTest::write(const std::string& general, const std::string& service) {
  std::ofstream(file()) << "log_level = \"" << log_level_ << "\"\ncontrol_socket = \"" << control()
                        << "\"\n"
                        << general
                        << "\n[[service]]\nname = \"test\"\nlisten = [\"127.0.0.1:" << port_
                        << "\"]\nupstream.address = [\"" << kFar << ":" << upstream_port_ << "\"]\n"
                        << service << "\n";
}

void ProgramTest::start(const std::string& general, const std::string& service) {
  write(general, service);
  const auto config = load_config(file());
  ASSERT_TRUE(config) << config.error().message();
  auto program = Program::make(*config, file());
  ASSERT_TRUE(program) << program.error().message();
  program_ = std::move(*program);
  over_ = false;
  thread_ = std::thread([this] {
    ended_ = program_->run();
    over_ = true;
  });
  // It answers once it serves; before that nobody is there.
  Result<boost::json::object> answer = fail("not asked yet");
  while (!over_ && !answer) {
    answer = ask({{"call", "status"}});
    std::this_thread::yield();
  }
  ASSERT_TRUE(answer) << ended_.error().message();
}

void ProgramTest::end() {
  if (!program_) return;
  program_->stop();
  wait_for_end();
}

void ProgramTest::wait_for_end() {
  thread_.join();
  EXPECT_TRUE(ended_) << ended_.error().message();
  program_.reset();
}

std::string ProgramTest::metrics() const {
  const auto answer = ask({{"call", "metrics"}});
  if (!answer) return answer.error().message();
  return std::string(answer->at("text").as_string());
}

std::pair<UniqueFd, UniqueFd> ProgramTest::session() {
  std::pair<UniqueFd, UniqueFd> ends;
  ends.first = application();
  ends.second = accept_from(upstream_);
  send_all(ends.first, "q");
  EXPECT_EQ(receive(ends.second, 1), "q");
  send_all(ends.second, "a");
  EXPECT_EQ(receive(ends.first, 1), "a");
  return ends;
}

void ProcessTest::start_process(const std::string& general, const std::string& service,
                                const std::function<void()>& in_child) {
  write(general, service);
  const UniqueFd log(
      ::open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  // A sanitizer looks for leaks by ptrace(2), which a proxy has not.
  auto process = support::ChildProcess::start({.command = {CLONESAFE_PROXY, "--config", file()},
                                               .environment = {"ASAN_OPTIONS=detect_leaks=0"},
                                               .errors = log.get(),
                                               .in_child = in_child});
  ASSERT_TRUE(process) << process.error().message();
  process_.emplace(std::move(*process));
  ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [this] {
    return ask({{"call", "status"}}).has_value();
  })) << this->log();
}

std::string ProcessTest::log() const {
  std::ifstream file(folder_ / "log");
  return {std::istreambuf_iterator<char>(file), {}};
}

void ProcessTest::end_process() {
  process_->signal(SIGTERM);
  EXPECT_EQ(process_->wait(std::chrono::seconds(20)).value_or(-1), 0) << log();
}

}  // namespace clonesafe::proxy
