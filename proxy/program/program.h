// program: the process: what is done once, in which order, what it is asked while it runs, and how
// it ends.
#ifndef CLONESAFE_PROXY_PROGRAM_PROGRAM_H_
#define CLONESAFE_PROXY_PROGRAM_PROGRAM_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/admin/call.h"
#include "proxy/admin/report.h"
#include "proxy/config/config.h"
#include "proxy/program/listeners.h"
#include "proxy/program/parking.h"
#include "proxy/secrets/commands.h"
#include "proxy/service/worker.h"

namespace clonesafe {
class ApiServer;
}

namespace clonesafe::proxy {

void log_to_standard_error();

// The thread that calls run() serves operators and signals; applications are served by the workers'
// threads alone.
class Program {
 public:
  // Reads all that the configuration names (certificates, keys, trust). Nothing listens yet. `file`
  // is read again by a reload; empty: there is none. `commands`: as start_commands() gives it.
  static Result<std::unique_ptr<Program>> make(const Config& config, std::string file = {},
                                               std::shared_ptr<const Commands> commands = nullptr);
  ~Program();

  // Listens and serves until SIGTERM or SIGINT, or until it was drained. SIGHUP: a reload.
  Status run();
  // From any thread.
  void stop();

 private:
  using Parts = std::vector<std::shared_ptr<const ServiceParts>>;
  Program(const Config& config, std::string file, std::shared_ptr<const Commands> commands,
          Parts parts);

  static Result<Parts> parts_of(const Config& config,
                                const std::shared_ptr<const Commands>& commands);
  static Status check_tier(const Parts& parts);
  static Status check_marks(const Parts& parts);
  Status listen();
  Status start();
  Status serve(const Parts& parts, const Listeners& listeners);
  Status listen_for_operators();
  void wait_for_signal();
  Status watch_commands();

  // What operators ask for (control.cc).
  boost::json::object answer(const boost::json::object& request);
  boost::json::object status();
  boost::json::object sessions(std::size_t limit);
  std::vector<ServiceCensus> census();
  ProcessState state() const;
  void pause();
  void resume();
  void drain(const Call& call);
  void end_when_idle();
  Status reload();
  Status replace_configuration();

  Config config_;
  const std::string file_;
  const std::shared_ptr<const Commands> commands_;  // null: the configuration names none
  Parts parts_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer drained_{io_};
  boost::asio::posix::stream_descriptor commands_end_{io_};
  Listeners listeners_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<ApiServer> operators_;
  std::unique_ptr<Parking> parking_;
  std::chrono::steady_clock::time_point drain_until_ = std::chrono::steady_clock::time_point::max();
  ProcessState state_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_PROGRAM_PROGRAM_H_
