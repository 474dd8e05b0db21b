#include "guest_agent/secrets/secret_pins.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clonesafe/abi/secret_page.h"
#include "guest_agent/page/pin.h"
#include "libclonesafe/base/mapping.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

class RingPins : public SecretPins {
 public:
  explicit RingPins(UniqueFd ring) : ring_(std::move(ring)) {}

  Result<std::uint64_t> pin(std::size_t slot, int file) override {
    auto page = Mapping::map("secret page", CLONESAFE_SECRET_PAGE_SIZE, PROT_READ | PROT_WRITE,
                             MAP_SHARED, file);
    if (!page) return fail(std::move(page).error());
    // First the pin, which may move the page; then where it is. The mapping can go then, so that
    // nothing the program does to the file can trap this process.
    const iovec buffer = {.iov_base = page->data(), .iov_len = page->size()};
    if (!update(slot, buffer)) return fail_errno("pinning a secret page: io_uring_register");
    auto address = guest_physical_address(page->bytes());
    if (!address) unpin(slot);
    return address;
  }

  void unpin(std::size_t slot) override { (void)update(slot, {}); }

 private:
  bool update(std::size_t slot, const iovec& buffer) {
    io_uring_rsrc_update2 update = {};
    update.offset = static_cast<std::uint32_t>(slot);
    update.data = reinterpret_cast<std::uintptr_t>(&buffer);
    update.nr = 1;
    return ::syscall(SYS_io_uring_register, ring_.get(), IORING_REGISTER_BUFFERS_UPDATE, &update,
                     sizeof update) == 1;
  }

  UniqueFd ring_;
};

}  // namespace

Result<std::unique_ptr<SecretPins>> open_secret_pins(std::size_t slots) {
  io_uring_params parameters = {};
  UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters)));
  if (!ring) return fail_errno("io_uring_setup");
  io_uring_rsrc_register table = {};
  table.nr = static_cast<std::uint32_t>(slots);
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  if (::syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_BUFFERS2, &table,
                sizeof table) != 0) {
    return fail_errno("io_uring_register of " + std::to_string(slots) + " slots");
  }
  return std::make_unique<RingPins>(std::move(ring));
}

}  // namespace clonesafe::agent
