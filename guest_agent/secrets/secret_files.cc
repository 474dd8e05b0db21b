#include "guest_agent/secrets/secret_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include "clonesafe/abi/secret_page.h"

namespace clonesafe::agent {
namespace {

// "UID-NONCE"
std::string text_of(const SecretName& name) {
  return std::to_string(name.user) + "-" + hex(name.nonce);
}

std::optional<SecretName> parse_name(std::string_view text) {
  SecretName name;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), name.user);
  if (error != std::errc() || end == text.data() + text.size() || *end != '-') return std::nullopt;
  const auto nonce = parse_id(text.substr(static_cast<std::size_t>(end - text.data()) + 1));
  if (!nonce) return std::nullopt;
  name.nonce = *nonce;
  return name;
}

Status write_at(int file, const void* bytes, std::size_t size, off_t offset) {
  const ssize_t written = ::pwrite(file, bytes, size, offset);
  if (written < 0) return fail_errno("write to a secret page");
  if (static_cast<std::size_t>(written) != size) return fail("write to a secret page: cut short");
  return {};
}

Status write_header_to(int file, const Id16& nonce) {
  clonesafe_secret_page page = {};
  page.magic = CLONESAFE_SECRET_PAGE_MAGIC;
  std::memcpy(page.nonce, nonce.data(), nonce.size());
  return write_at(file, &page, CLONESAFE_SECRET_HEADER_SIZE, 0);
}

}  // namespace

Result<SecretFiles> SecretFiles::open(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("mkdir " + folder);
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_errno("open of " + folder);
  struct stat status = {};
  struct statfs system = {};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("stat of " + folder);
  if (::fstatfs(fd.get(), &system) != 0) return fail_errno("statfs of " + folder);
  if (status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return fail(folder + " can be entered by others");
  // Anything else would put the secrets on a disk.
  if (system.f_type != TMPFS_MAGIC) return fail(folder + " is not in a tmpfs");
  return SecretFiles(std::move(fd));
}

Result<std::vector<SecretName>> SecretFiles::list() const {
  UniqueFd fd(::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("open of the secrets' folder");
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return fail_errno("reading the secrets' folder");
  (void)fd.release();
  std::vector<SecretName> names;
  while (const dirent* const entry = ::readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
    if (const auto name = parse_name(entry->d_name)) names.push_back(*name);
  }
  return names;
}

Result<UniqueFd> SecretFiles::create(const SecretName& name) const {
  UniqueFd file(::openat(folder_.get(), text_of(name).c_str(),
                         O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("making a secret page");
  Status made;
  if (::ftruncate(file.get(), CLONESAFE_SECRET_PAGE_SIZE) != 0) {
    made = fail_errno("making a secret page");
  } else {
    made = write_header_to(file.get(), name.nonce);
  }
  if (made) return file;
  remove(name);
  return fail(std::move(made).error());
}

Result<UniqueFd> SecretFiles::open_page(const SecretName& name) const {
  UniqueFd file(::openat(folder_.get(), text_of(name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return fail_errno("open of the secret page " + text_of(name));
  return file;
}

Result<UniqueFd> SecretFiles::open_for_program(const SecretName& name) const {
  auto file = open_page(name);
  if (file && ::flock(file->get(), LOCK_SH | LOCK_NB) != 0)
    return fail_errno("lock of the secret page " + text_of(name));
  return file;
}

Result<bool> SecretFiles::take_back(const SecretName& name) const {
  auto file = open_page(name);
  if (!file) return fail(std::move(file).error());
  if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    return fail_errno("lock of the secret page " + text_of(name));
  }
  constexpr char kZeros[CLONESAFE_SECRET_DATA_SIZE] = {};
  auto zeroed = write_at(file->get(), kZeros, sizeof kZeros, CLONESAFE_SECRET_HEADER_SIZE);
  if (!zeroed) return fail(std::move(zeroed).error());
  return true;
}

Status SecretFiles::write_header(const SecretName& name) const {
  auto file = open_page(name);
  if (!file) return fail(std::move(file).error());
  return write_header_to(file->get(), name.nonce);
}

void SecretFiles::remove(const SecretName& name) const {
  (void)::unlinkat(folder_.get(), text_of(name).c_str(), 0);
}

}  // namespace clonesafe::agent
