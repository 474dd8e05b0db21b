#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "guest_agent/base/digest.h"
#include "guest_agent/repairs/kernel.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// struct rand_pool_info with room for what is ever credited at once.
struct EntropyRequest {
  int credit_bits = 0;
  int size = 0;
  std::array<std::uint8_t, 64> bytes = {};
};
static_assert(offsetof(EntropyRequest, bytes) == sizeof(rand_pool_info));

class LinuxKernel : public Kernel {
 public:
  explicit LinuxKernel(UniqueFd urandom) : urandom_(std::move(urandom)) {}

  Status add_entropy(std::span<const std::uint8_t> bytes, int credit_bits) override {
    EntropyRequest request;
    if (bytes.size() > request.bytes.size()) return fail("too many bytes for one RNDADDENTROPY");
    request.credit_bits = credit_bits;
    request.size = static_cast<int>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), request.bytes.begin());
    const int result = ::ioctl(urandom_.get(), RNDADDENTROPY, &request);
    const int error = errno;
    wipe(request.bytes);  // the seed must not stay on this stack
    if (result != 0) return fail_errno("RNDADDENTROPY", error);
    return {};
  }

  Status mix(std::span<const std::uint8_t> bytes) override {
    if (::write(urandom_.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      return fail_errno("write to /dev/urandom");
    }
    return {};
  }

  Status reseed() override {
    if (::ioctl(urandom_.get(), RNDRESEEDCRNG) != 0) return fail_errno("RNDRESEEDCRNG");
    return {};
  }

  Status random(std::span<std::uint8_t> bytes) override {
    if (::getrandom(bytes.data(), bytes.size(), GRND_NONBLOCK) !=
        static_cast<ssize_t>(bytes.size())) {
      return fail_errno("getrandom");
    }
    return {};
  }

  Result<std::string> hostname() override {
    utsname names = {};
    if (::uname(&names) != 0) return fail_errno("uname");
    return std::string(names.nodename);
  }

  Status set_hostname(const std::string& name) override {
    if (::sethostname(name.data(), name.size()) != 0) return fail_errno("sethostname");
    return {};
  }

  Result<std::int64_t> clock(clockid_t which) override {
    timespec time = {};
    if (::clock_gettime(which, &time) != 0) return fail_errno("clock_gettime");
    return std::int64_t{time.tv_sec} * kSecond + time.tv_nsec;
  }

  Status set_realtime(std::int64_t ns) override {
    const timespec time = {.tv_sec = ns / kSecond, .tv_nsec = ns % kSecond};
    if (::clock_settime(CLOCK_REALTIME, &time) != 0)
      return fail_errno("clock_settime(CLOCK_REALTIME)");
    return {};
  }

  std::uint64_t tsc() override { return __rdtsc(); }

  Status bind_mount(const std::string& from, const std::string& over) override {
    if (::mount(from.c_str(), over.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return fail_errno("bind mount over " + over);
    }
    return {};
  }

 private:
  UniqueFd urandom_;
};

}  // namespace

Result<std::unique_ptr<Kernel>> open_linux_kernel() {
  UniqueFd urandom(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
  if (!urandom) return fail_errno("open of /dev/urandom");
  return std::make_unique<LinuxKernel>(std::move(urandom));
}

}  // namespace clonesafe::agent
