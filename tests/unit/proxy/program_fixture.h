#ifndef CLONESAFE_TESTS_UNIT_PROXY_PROGRAM_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_PROGRAM_FIXTURE_H_

#include <atomic>
#include <boost/json/object.hpp>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "proxy/program/program.h"
#include "tests/support/child_process.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe::proxy {

// A whole proxy in this process, with a control socket, before an upstream that the test is.
class ProgramTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }
  ProgramTest();
  ~ProgramTest() override { end(); }

  // The configuration file: `general` lines, and a service "test" with these.
  void write(const std::string& general, const std::string& service);
  // Runs it until end().
  void start(const std::string& general = "", const std::string& service = "");
  void end();
  // Waits until it has ended by itself.
  void wait_for_end();

  // What it answers; an error too.
  Result<boost::json::object> ask(const boost::json::object& request) const {
    return call_api(control(), request);
  }
  std::string control() const { return folder_ / "control.sock"; }
  std::string file() const { return folder_ / "proxy.toml"; }
  std::string metrics() const;

  UniqueFd application() { return connect_to("127.0.0.1", port_); }
  // An application and its upstream, after a byte in each direction.
  std::pair<UniqueFd, UniqueFd> session();

  Folder folder_;
  std::string log_level_ = "error";
  int port_ = 0;
  int upstream_port_ = 0;
  UniqueFd upstream_;
  std::unique_ptr<Program> program_;
  std::thread thread_;
  Status ended_;  // once over_ is true
  std::atomic<bool> over_ = false;
};

// The program itself, as it is started.
class ProcessTest : public ProgramTest {
 protected:
  // `in_child` is called in it before. What it logs is in log().
  void start_process(const std::string& general = "", const std::string& service = "",
                     const std::function<void()>& in_child = {});
  std::string log() const;
  // It ends as it should.
  void end_process();

  std::optional<support::ChildProcess> process_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_PROGRAM_FIXTURE_H_
