#include "guest_agent/systemd/service_manager.h"

#include <fmt/core.h>

#include "guest_agent/base/log.h"
#include "libclonesafe/base/service_manager.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::agent {
namespace {

// What `systemctl status` shows.
std::string status_line(const AgentStatus& status) {
  return fmt::format("STATUS={} ({}, {} restores), tier {}{}", state_name(status.state),
                     name_of(status.kind), status.restores, tier_name(status.tier),
                     status.prepared ? ", prepared for a snapshot" : "");
}

void notify(const std::string& lines) {
  if (auto sent = notify_service_manager(lines); !sent)
    log_warning("the service manager can't be told: " + sent.error().message());
}

}  // namespace

void ServiceManager::ready(const AgentStatus& status) {
  told_ = status_line(status);
  notify("READY=1\n" + told_);
}

void ServiceManager::changed(const AgentStatus& status) {
  std::string line = status_line(status);
  if (line == told_) return;
  told_ = std::move(line);
  notify(told_);
}

void ServiceManager::stopping() {
  notify("STOPPING=1");
}

}  // namespace clonesafe::agent
