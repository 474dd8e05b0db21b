#include "guest_agent/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

Status write_all(int fd, const std::string& path, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = ::write(fd, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_errno("write to " + path);
    }
    contents.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open of " + path);
  std::string contents;
  char block[4096];
  for (;;) {
    const ssize_t size = ::read(fd.get(), block, sizeof(block));
    if (size < 0) {
      if (errno == EINTR) continue;
      return fail_errno("read of " + path);
    }
    if (size == 0) return contents;
    contents.append(block, static_cast<std::size_t>(size));
    if (contents.size() > limit) {
      return fail(path + " is larger than " + std::to_string(limit) + " bytes");
    }
  }
}

Status write_in_place(const std::string& path, std::string_view contents) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open of " + path);
  return write_all(fd.get(), path, contents);
}

Status replace_file(const std::string& path, std::string_view contents, mode_t mode) {
  const std::string unfinished = path + ".clonesafe-new";
  ::unlink(unfinished.c_str());
  UniqueFd fd(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (fd) {
    const Status written = write_all(fd.get(), unfinished, contents);
    // The umask has taken bits away from open's mode.
    const bool done =
        written && ::fchmod(fd.get(), mode) == 0 && ::rename(unfinished.c_str(), path.c_str()) == 0;
    if (done) return {};
    ::unlink(unfinished.c_str());
    if (!written) return written;
  }
  fd.reset(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) return fail_errno("replacement of " + path);
  return write_all(fd.get(), path, contents);
}

Status make_folder_of(const std::string& path) {
  constexpr mode_t kMode = 0755;
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  const std::string folder = path.substr(0, slash);
  if (::mkdir(folder.c_str(), kMode) != 0) {
    if (errno == EEXIST) return {};
    return fail_errno("mkdir of " + folder);
  }
  // The umask has taken bits away.
  if (::chmod(folder.c_str(), kMode) != 0) return fail_errno("chmod of " + folder);
  return {};
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace clonesafe::agent
