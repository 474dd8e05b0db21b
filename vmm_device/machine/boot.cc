#include "vmm_device/machine/boot.h"

#include <algorithm>
#include <cstring>

#include "vmm_device/core/layout.h"
#include "vmm_device/machine/bzimage.h"

namespace clonesafe {
namespace {

constexpr std::uint64_t kPage = 0x1000;
constexpr std::uint64_t kLargePage = 0x200000;
constexpr std::uint64_t kIdentityMapped = std::uint64_t{4} << 30;
constexpr std::uint32_t kE820Ram = 1, kE820Reserved = 2;
constexpr std::uint64_t kPresentWritable = 3, kPageSizeBit = 0x80;
constexpr std::uint8_t kLoaderUndefined = 0xff;

Status copy_in(const GuestMemory& memory, std::uint64_t address, std::span<const std::byte> bytes,
               const char* what) {
  if (bytes.empty()) return {};
  auto target = memory.at(GuestAddress(address), bytes.size());
  if (!target) return fail(target.error(), what);
  std::memcpy(target->data(), bytes.data(), bytes.size());
  return {};
}

// Identity-maps the first 4 GiB with 2 MiB pages: the decompressor and the initrd lie below.
Status write_page_tables(const GuestMemory& memory) {
  std::vector<std::uint64_t> table(kPage / 8 * (2 + kIdentityMapped / (kLargePage * 512)));
  const std::size_t per_page = kPage / 8;
  const std::size_t directories = kIdentityMapped / (kLargePage * 512);
  table[0] = (kBootPageTables + kPage) | kPresentWritable;
  for (std::size_t i = 0; i < directories; ++i)
    table[per_page + i] = (kBootPageTables + (2 + i) * kPage) | kPresentWritable;
  for (std::size_t i = 0; i < directories * 512; ++i)
    table[2 * per_page + i] = i * kLargePage | kPresentWritable | kPageSizeBit;
  return copy_in(memory, kBootPageTables, std::as_bytes(std::span(table)), "page tables");
}

// As high in low RAM as the kernel allows, so that it is out of the decompressor's way.
Result<std::uint64_t> place_initrd(const BzImage& kernel, std::uint64_t size, std::uint64_t low_ram,
                                   std::uint64_t kernel_end) {
  if (size == 0) return std::uint64_t{0};
  const std::uint64_t end = std::min(low_ram, kernel.initrd_address_max + 1);
  if (end < kernel_end || size > end - kernel_end || ((end - size) & ~(kPage - 1)) < kernel_end)
    return fail("memory of " + std::to_string(low_ram >> 20) +
                " MiB is too small: the kernel needs the first " +
                std::to_string((kernel_end + 0xfffff) >> 20) + " MiB and the initrd has " +
                std::to_string((size + 0xfffff) >> 20) + " MiB");
  return (end - size) & ~(kPage - 1);
}

}  // namespace

std::vector<boot_e820_entry> e820_map(std::uint64_t ram) {
  const std::uint64_t low_end = std::min(ram, layout::kLowRamEnd);
  std::vector<boot_e820_entry> map;
  const auto add = [&](std::uint64_t start, std::uint64_t end, std::uint32_t type) {
    if (end > start) map.push_back({.addr = start, .size = end - start, .type = type});
  };
  add(0, std::min(low_end, layout::kReservedLow), kE820Ram);
  add(layout::kReservedLow, layout::kKernelLoad, kE820Reserved);
  add(layout::kKernelLoad, low_end, kE820Ram);
  add(layout::kGenerationPages, layout::kGenerationPages + layout::kGenerationPagesSize,
      kE820Reserved);
  add(layout::kHighRamStart, layout::kHighRamStart + (ram - low_end), kE820Ram);
  return map;
}

Result<BootEntry> load_linux(const GuestMemory& memory, const BootSource& source) {
  auto kernel = parse_bzimage(source.kernel);
  if (!kernel) return fail(kernel.error());
  std::uint64_t low_ram = 0, ram = 0;
  for (const GuestMemory::Region& region : memory.regions()) {
    if (region.start.value() == 0) low_ram = region.bytes.size();
    if (region.start.value() == 0 || region.start.value() == layout::kHighRamStart)
      ram += region.bytes.size();
  }

  // The kernel runs at its preferred address, or where it was loaded if that is higher.
  const std::uint64_t kernel_end =
      std::max(layout::kKernelLoad + kernel->protected_mode.size(),
               std::max(kernel->preferred_address, layout::kKernelLoad) + kernel->init_size);
  if (kernel_end > low_ram)
    return fail("memory of " + std::to_string(low_ram >> 20) +
                " MiB is too small: the kernel needs " +
                std::to_string((kernel_end + 0xfffff) >> 20) + " MiB to start");
  auto initrd = place_initrd(*kernel, source.initrd.size(), low_ram, kernel_end);
  if (!initrd) return fail(initrd.error());

  const std::uint64_t command_line_max =
      std::min<std::uint64_t>(layout::kCommandLineMax - 1, kernel->command_line_max);
  if (source.command_line.size() > command_line_max)
    return fail("command line of " + std::to_string(source.command_line.size()) +
                " bytes, the kernel takes " + std::to_string(command_line_max));
  if (source.acpi.size() > layout::kAcpiEnd - layout::kAcpiRsdp)
    return fail("ACPI tables of " + std::to_string(source.acpi.size()) + " bytes don't fit");

  boot_params params{};
  params.hdr = kernel->header;
  params.hdr.type_of_loader = kLoaderUndefined;
  params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(layout::kCommandLine);
  params.hdr.ramdisk_image = static_cast<std::uint32_t>(*initrd);
  params.hdr.ramdisk_size = static_cast<std::uint32_t>(source.initrd.size());
  params.acpi_rsdp_addr = layout::kAcpiRsdp;
  const auto map = e820_map(ram);
  params.e820_entries = static_cast<std::uint8_t>(map.size());
  std::ranges::copy(map, params.e820_table);

  std::string command_line = source.command_line;
  command_line.push_back('\0');
  const struct {
    std::uint64_t address;
    std::span<const std::byte> bytes;
    const char* what;
  } pieces[] = {
      {layout::kKernelLoad, kernel->protected_mode, "kernel"},
      {*initrd, source.initrd, "initrd"},
      {layout::kCommandLine, std::as_bytes(std::span(command_line)), "command line"},
      {layout::kBootParams, std::as_bytes(std::span(&params, 1)), "boot parameters"},
      {layout::kAcpiRsdp, source.acpi, "ACPI tables"},
      {kBootGdt, std::as_bytes(std::span(kBootGdtEntries)), "GDT"},
  };
  for (const auto& piece : pieces) {
    if (auto copied = copy_in(memory, piece.address, piece.bytes, piece.what); !copied)
      return fail(copied.error());
  }
  if (auto written = write_page_tables(memory); !written) return fail(written.error());
  return BootEntry{.instruction = GuestAddress(layout::kKernelLoad + BzImage::kEntry64),
                   .boot_params = GuestAddress(layout::kBootParams)};
}

}  // namespace clonesafe
