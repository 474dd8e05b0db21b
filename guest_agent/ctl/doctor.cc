#include "guest_agent/ctl/doctor.h"

#include <boost/json.hpp>

namespace clonesafe::ctl {
namespace {

namespace json = boost::json;

// Members of the agent's answer; an agent of another version may leave some out.
class View {
 public:
  explicit View(const json::object* object) : object_(object) {}

  std::string text(const char* name) const {
    const json::value* const value = find(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string())
                                                  : std::string();
  }
  bool truth(const char* name) const {
    const json::value* const value = find(name);
    return value != nullptr && value->is_bool() && value->get_bool();
  }
  View object(const char* name) const {
    const json::value* const value = find(name);
    return View(value == nullptr ? nullptr : value->if_object());
  }
  std::vector<View> list(const char* name) const {
    std::vector<View> views;
    const json::value* const value = find(name);
    if (value == nullptr || !value->is_array()) return views;
    for (const json::value& element : value->get_array()) views.emplace_back(element.if_object());
    return views;
  }

 private:
  const json::value* find(const char* name) const {
    return object_ == nullptr ? nullptr : object_->if_contains(name);
  }
  const json::object* object_;
};

View source_of(const View& status, const std::string& name) {
  for (const View& source : status.list("sources")) {
    if (source.text("name") == name) return source;
  }
  return View(nullptr);
}

Finding tier(const View& status) {
  const View page = status.object("page");
  if (status.text("tier") == "word") {
    return {Verdict::kGood,
            "Programs that map the generation page see a restore before their first instruction "
            "(tier word).",
            {}};
  }
  Finding finding = {Verdict::kWeak,
                     "Programs see a restore only once the agent has published it (tier lagging).",
                     "Run under a VMM that fills registered pages (clonevm), or let programs map "
                     "/dev/vmclock0 themselves (Linux 7.0, VMM with VMCLOCK)."};
  if (const std::string error = page.text("error"); !error.empty()) {
    finding.what += " The page is not registered: " + error + ".";
  } else if (!status.object("host").truth("connected")) {
    finding.what += " No host answers on vsock.";
  }
  return finding;
}

Finding decision(const View& status) {
  const std::string decided_by = status.text("decided_by");
  if (decided_by == "none") {
    return {Verdict::kBad, "Nothing tells this machine that it was restored.",
            "Give it a VMGENID, a VMCLOCK or a restore page, and let the agent read /dev/mem."};
  }
  if (!status.truth("separates_siblings")) {
    return {Verdict::kBad,
            "The source that decides (" + decided_by +
                ") may say the same in two clones of one snapshot.",
            "Add a VMGENID device, and let the agent read /dev/mem."};
  }
  return {Verdict::kGood, "Restores are told by " + decided_by + ".", {}};
}

void add_sources(const View& status, std::vector<Finding>& findings) {
  if (status.truth("polls")) {
    findings.push_back({Verdict::kWeak,
                        "Nothing wakes the agent; it looks at the words again and "
                        "again, so slow repairs start late.",
                        "Use a kernel with the vmgenid or vmclock driver, or a host on vsock."});
  }
  const View restore_page = source_of(status, "restore_page");
  const bool other_word = source_of(status, "vmgenid").truth("present");
  if (!restore_page.truth("present") && !other_word) {
    const std::string reason = source_of(status, "vmgenid").text("detail");
    findings.push_back({Verdict::kWeak, "The VM generation id can't be read: " + reason + ".",
                        reason.find("/dev/mem") == std::string::npos
                            ? "Give the machine a VMGENID device."
                            : "Use a kernel with CONFIG_DEVMEM and without lockdown."});
  }
}

void add_repairs(const View& status, std::vector<Finding>& findings) {
  for (const View& repair : status.list("repairs")) {
    if (repair.text("result") != "failed") continue;
    findings.push_back(
        {Verdict::kBad,
         "The repair " + repair.text("name") + " failed: " + repair.text("detail") + ".",
         "Keep traffic away from this clone until it succeeds."});
  }
  const View page = status.object("page");
  if (!page.truth("pinned")) {
    findings.push_back(
        {Verdict::kWeak,
         "The generation page may be moved by the kernel (" + page.text("pin_note") + ").",
         "Allow io_uring for the agent (kernel.io_uring_disabled = 0)."});
  }
}

}  // namespace

std::vector<Finding> diagnose(const json::object& object) {
  const View status(&object);
  std::vector<Finding> findings = {tier(status), decision(status)};
  add_sources(status, findings);
  add_repairs(status, findings);
  return findings;
}

std::vector<Finding> diagnose_hooks(const json::object& object) {
  const View hooks(&object);
  std::vector<Finding> findings;
  if (const std::string error = hooks.text("error"); !error.empty()) {
    findings.push_back(
        {Verdict::kBad, "No hook runs: " + error + ".", "Let only root own and write the folder."});
  }
  for (const char* const phase : {"before_snapshot", "after_restore"}) {
    for (const View& hook : hooks.list(phase)) {
      const std::string refused = hook.text("refused");
      if (refused.empty()) continue;
      findings.push_back({Verdict::kBad,
                          "The hook " + hook.text("name") + " does not run: " + refused + ".",
                          "Make it a program that only root owns and writes, or remove it."});
    }
  }
  return findings;
}

std::vector<Finding> diagnose_without_agent(const std::string& reason) {
  return {{Verdict::kBad, "No agent answers (" + reason + "): nothing is repaired after a restore.",
           "Start clonesafed."}};
}

}  // namespace clonesafe::ctl
