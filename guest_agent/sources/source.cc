#include "guest_agent/sources/source.h"

#include "guest_agent/base/log.h"

namespace clonesafe::agent {

const Words& SourceSet::read() {
  failing_.resize(sources_.size(), false);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Status read = sources_[i]->read(words_);
    if (!read && !failing_[i]) {
      log_warning("source " + std::string(sources_[i]->name()) + ": " + read.error().message());
    }
    failing_[i] = !read;
  }
  return words_;
}

void SourceSet::set_host_words(const HostWords& words) {
  if (words.kind == RestoreKind::kResume) {
    words_.resumed = words.restore_id;
  } else {
    words_.host = words;
    words_.resumed.reset();
  }
  words_.host_is_newer = true;
}

void SourceSet::set_page_words(const PageWords& words) {
  if (words_.page == words) return;
  words_.page = words;
  words_.host_is_newer = false;
}

std::vector<std::string> SourceSet::names() const {
  std::vector<std::string> names;
  for (const auto& source : sources_) names.emplace_back(source->name());
  if (words_.host) names.emplace_back("host");
  return names;
}

}  // namespace clonesafe::agent
