#include "vmm_device/machine/bzimage.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace clonesafe {
namespace {

constexpr std::size_t kHeaderOffset = 0x1f1;
constexpr std::size_t kHeaderMagicOffset = 0x202;
constexpr std::uint16_t kBootFlag = 0xaa55;
constexpr std::uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr std::uint16_t kProtocol2_12 = 0x20c;      // first with xloadflags
// No kernel is larger; keeps sums of header fields far from wrapping.
constexpr std::uint64_t kMaxKernel = std::uint64_t{1} << 31;

}  // namespace

Result<BzImage> parse_bzimage(std::span<const std::byte> file) {
  if (file.size() < kHeaderMagicOffset + 4)
    return fail("not a Linux kernel: only " + std::to_string(file.size()) + " bytes");
  std::uint16_t boot_flag;
  std::uint32_t magic;
  std::memcpy(&boot_flag, file.data() + 0x1fe, sizeof boot_flag);
  std::memcpy(&magic, file.data() + kHeaderMagicOffset, sizeof magic);
  if (boot_flag != kBootFlag || magic != kHeaderMagic)
    return fail("not a Linux kernel: no bzImage header (\"HdrS\" at 0x202)");

  // The header says its own end: the jump at 0x200 goes over it.
  const std::size_t header_end =
      kHeaderMagicOffset + std::to_integer<std::size_t>(file[kHeaderMagicOffset - 1]);
  if (header_end > file.size()) return fail("kernel: header is cut short");
  BzImage image{};
  const std::size_t header_size = std::min(header_end - kHeaderOffset, sizeof image.header);
  std::memcpy(&image.header, file.data() + kHeaderOffset, header_size);
  const setup_header& header = image.header;

  const auto version = static_cast<std::uint16_t>(header.version);
  if (version < kProtocol2_12)
    return fail("kernel: boot protocol " + std::to_string(version >> 8) + "." +
                std::to_string(version & 0xff) + " is too old, 2.12 is the first that will do");
  if ((header.loadflags & LOADED_HIGH) == 0) return fail("kernel: a zImage, not a bzImage");
  if ((header.xloadflags & XLF_KERNEL_64) == 0)
    return fail("kernel: no 64-bit entry point (a 32-bit kernel?)");

  const std::size_t setup_sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  const std::size_t setup_size = (setup_sectors + 1) * 512;
  if (setup_size >= file.size())
    return fail("kernel: cut short, its real-mode part alone has " + std::to_string(setup_size) +
                " bytes");
  const std::uint64_t protected_size = std::uint64_t{header.syssize} * 16;
  image.protected_mode = file.subspan(setup_size);
  if (protected_size > image.protected_mode.size())
    return fail("kernel: cut short, the header promises " + std::to_string(protected_size) +
                " bytes after the real-mode part, there are " +
                std::to_string(image.protected_mode.size()));
  if (image.protected_mode.size() <= BzImage::kEntry64)
    return fail("kernel: no code at the 64-bit entry");

  image.preferred_address = header.pref_address;
  image.init_size = header.init_size;
  image.initrd_address_max = header.initrd_addr_max;
  image.command_line_max = header.cmdline_size;
  if (image.preferred_address > kMaxKernel || image.init_size > kMaxKernel || image.init_size == 0)
    return fail("kernel: the header asks for " + std::to_string(image.init_size) + " bytes at " +
                std::to_string(image.preferred_address));
  return image;
}

}  // namespace clonesafe
