#ifndef CLONESAFE_GUEST_AGENT_SOURCES_SOURCE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_SOURCE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "guest_agent/sources/words.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// One place that tells of a restore. Not thread-safe; all are used by the agent's one thread.
class Source {
 public:
  virtual ~Source() = default;

  // As configuration, status and reports name it.
  virtual std::string_view name() const = 0;
  // Puts what this source says now into its member of `words`. An error leaves `words` alone, and
  // the caller then keeps what the source said before: "can't be read now" is not "changed".
  virtual Status read(Words& words) = 0;
  // A descriptor that becomes readable when there may be news, -1 if this source wakes nobody.
  virtual int wake_fd() const { return -1; }
  // Whether no wake of the kernel or the host can tell of this source's news.
  virtual bool must_be_polled() const { return false; }
  // Takes the news off the descriptor, so that it waits again. An error means it never will.
  virtual Status drain() { return {}; }
};

// A source that was looked for, for status and doctor.
struct SourceReport {
  std::string name;
  bool present = false;
  bool wakes = false;
  std::string detail;  // where it is, or why not
};

// All sources that are there, read together.
class SourceSet {
 public:
  SourceSet() = default;
  void add(std::unique_ptr<Source> source) { sources_.push_back(std::move(source)); }
  const std::vector<std::unique_ptr<Source>>& all() const { return sources_; }
  // The words now. A source that fails keeps its last words; its error is told once, until it
  // reads well again.
  const Words& read();
  // From the host channel, which is a source too but has no page to read.
  void set_host_words(const HostWords& words);
  // From the agent's page, when it starts and whenever the VMM wrote there.
  void set_page_words(const PageWords& words);
  std::vector<std::string> names() const;

 private:
  std::vector<std::unique_ptr<Source>> sources_;
  std::vector<bool> failing_;
  Words words_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_SOURCE_H_
