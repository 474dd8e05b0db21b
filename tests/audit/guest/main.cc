// clonesafe-audit-guest: starts the probes of a list as an unprivileged user in the workload's
// cgroup, says READY once all are warm, and hands their logs out.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "libclonesafe/base/error.h"
#include "tests/audit/guest/collector.h"
#include "tests/audit/guest/workload.h"

namespace {

int complain(const std::string& message) {
  std::fprintf(stderr, "clonesafe-audit-guest: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace clonesafe::audit;
  if (argc != 5) {
    std::fprintf(stderr, "usage: clonesafe-audit-guest PROBES_LIST LOG_FOLDER CGROUP_FOLDER UID\n");
    return 2;
  }
  // A host that hangs up while a log is on its way must not end the audit.
  ::signal(SIGPIPE, SIG_IGN);

  std::ifstream file(argv[1]);
  if (!file) {
    return complain(clonesafe::Error::from_errno(std::string("cannot read ") + argv[1]).message());
  }
  std::stringstream text;
  text << file.rdbuf();
  auto probes = parse_probe_list(text.str());
  if (!probes) return complain(probes.error().message());

  const auto user = static_cast<uid_t>(std::strtoul(argv[4], nullptr, 10));
  auto workload = Workload::start(*std::move(probes), {argv[2], argv[3], user});
  if (!workload) return complain(workload.error().message());
  if (const auto status = workload->wait_warm(std::chrono::minutes(3)); !status) {
    return complain(status.error().message());
  }
  std::printf("READY %zu logs\n", workload->size());
  std::fflush(stdout);

  if (const auto status = serve_collections(*workload); !status) {
    return complain(status.error().message());
  }
  return 0;
}
