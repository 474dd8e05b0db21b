#include "tests/audit/run/process.h"

#include <fcntl.h>
#include <signal.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

UniqueFd make_file(const std::filesystem::path& path) {
  return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

}  // namespace

Result<Process> Process::start(const std::vector<std::string>& command,
                               const std::filesystem::path& output,
                               const std::filesystem::path& errors) {
  const UniqueFd out = make_file(output);
  const UniqueFd err = make_file(errors);
  if (!out || !err) return fail_errno("making " + output.string() + " or " + errors.string());
  auto child =
      support::ChildProcess::start({.command = command, .output = out.get(), .errors = err.get()});
  if (!child) return fail(std::move(child).error());
  return Process(std::move(*child), errors);
}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    stop();
    child_ = std::move(other.child_);
    errors_ = std::move(other.errors_);
  }
  return *this;
}

Process::~Process() {
  stop();
}

void Process::stop() {
  child_.signal(SIGTERM);
  if (!child_.wait(std::chrono::seconds(10))) child_.kill();
}

std::string Process::last_words() {
  std::string text = read_text(errors_);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text.erase(0, text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  const std::string outcome =
      running() ? " runs" : " ended with exit code " + std::to_string(child_.exit_code());
  return child_.name() + outcome + (text.empty() ? "" : ": " + text);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace clonesafe::audit
