#ifndef CLONESAFE_TESTS_UNIT_MACHINE_KERNEL_IMAGE_H_
#define CLONESAFE_TESTS_UNIT_MACHINE_KERNEL_IMAGE_H_

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace clonesafe {

// A small, valid bzImage: one real-mode sector after the boot sector and `code` bytes behind.
inline std::vector<std::byte> make_kernel_image(std::size_t code = 0x1000) {
  std::vector<std::byte> file(1024 + code);
  setup_header header{};
  header.setup_sects = 1;
  header.syssize = static_cast<std::uint32_t>(code / 16);
  header.boot_flag = 0xaa55;
  header.jump = 0x66eb;  // over the header, to 0x202 + 0x66
  header.header = 0x53726448;
  header.version = 0x20f;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.cmdline_size = 2047;
  header.initrd_addr_max = 0x7fffffff;
  header.pref_address = 0x1000000;
  header.init_size = 0x800000;
  std::memcpy(file.data() + 0x1f1, &header, sizeof header);
  for (std::size_t i = 0; i < code; ++i) file[1024 + i] = std::byte{static_cast<unsigned char>(i)};
  return file;
}

template <typename T>
void patch(std::vector<std::byte>& file, std::size_t offset, T value) {
  std::memcpy(file.data() + offset, &value, sizeof value);
}

}  // namespace clonesafe

#endif  // CLONESAFE_TESTS_UNIT_MACHINE_KERNEL_IMAGE_H_
