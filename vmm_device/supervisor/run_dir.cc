#include "vmm_device/supervisor/run_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::supervisor {

namespace {

// Clones put Unix sockets with names like this one in their folders.
constexpr std::size_t kLongestSocketName = sizeof "/vsock.sock_17228" - 1;

Status check_socket_names(const std::filesystem::path& path, std::uint32_t count) {
  const std::size_t length =
      path.native().size() + 1 + std::to_string(count).size() + kLongestSocketName;
  if (length >= sizeof sockaddr_un{}.sun_path)
    return fail(path.string() + ": too long for the Unix sockets in it, by " +
                std::to_string(length - sizeof sockaddr_un{}.sun_path + 1) + " bytes");
  return {};
}

}  // namespace

Result<RunDir> RunDir::create(const std::optional<std::filesystem::path>& path,
                              std::uint32_t count) {
  RunDir run_dir;
  std::error_code error;
  if (path) {
    // Absolute: the clones' sockets are named by it, wherever their process goes.
    run_dir.path_ = std::filesystem::absolute(*path, error).lexically_normal();
    if (error) return fail_errno(path->string(), error.value());
    if (!run_dir.path_.has_filename()) run_dir.path_ = run_dir.path_.parent_path();
    if (auto status = check_socket_names(run_dir.path_, count); !status)
      return fail(std::move(status).error());
    if (::mkdir(run_dir.path_.c_str(), 0700) == 0) {
      run_dir.made_ = true;
    } else if (errno != EEXIST) {
      return fail_errno(run_dir.path_.string());
    } else if (const bool empty = std::filesystem::is_empty(run_dir.path_, error);
               error || !empty) {
      return fail(run_dir.path_.string() + ": exists and is no empty directory");
    }
  } else {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets it
    const char* base = ::getenv("XDG_RUNTIME_DIR");
    std::string name = std::string(base != nullptr && *base == '/' ? base : "/tmp");
    name += "/clonevm-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) return fail_errno(name);
    run_dir.path_ = name;
    run_dir.made_ = true;
    if (auto status = check_socket_names(run_dir.path_, count); !status) {
      run_dir.remove();
      return fail(std::move(status).error());
    }
  }
  for (std::uint32_t index = 1; index <= count; ++index) {
    if (::mkdir(run_dir.clone_folder(index).c_str(), 0700) != 0) {
      auto failure = fail_errno(run_dir.clone_folder(index).string());
      run_dir.remove();
      return failure;
    }
    run_dir.folders_ = index;
  }
  return run_dir;
}

void RunDir::remove() {
  for (; folders_ > 0; --folders_) ::rmdir(clone_folder(folders_).c_str());
  if (made_) ::rmdir(path_.c_str());
  made_ = false;
}

Status replace_file(const std::filesystem::path& file, const std::string& text) {
  const std::string next = file.string() + ".next";
  UniqueFd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(next);
  const ssize_t put = ::write(fd.get(), text.data(), text.size());
  if (put < 0) return fail_errno(next + ": write");
  if (static_cast<std::size_t>(put) != text.size()) return fail(next + ": cut short");
  if (::rename(next.c_str(), file.c_str()) != 0) return fail_errno(file.string());
  return {};
}

}  // namespace clonesafe::supervisor
