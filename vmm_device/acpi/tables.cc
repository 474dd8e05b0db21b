#include "vmm_device/acpi/tables.h"

#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "vmm_device/acpi/dsdt.h"
#include "vmm_device/core/layout.h"

namespace clonesafe {
namespace {

using Bytes = std::vector<std::byte>;

// An APIC id is a byte, and 255 means all of them.
constexpr std::uint32_t kMaxCpus = 255;
constexpr std::size_t kChecksum = 9;
constexpr std::size_t kRsdpSize = 36;
constexpr std::string_view kOemId = "CLNSFE";

void put(Bytes& bytes, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}
void put_text(Bytes& bytes, std::string_view text) {
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
}
void put_at(Bytes& bytes, std::size_t offset, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes[offset + i] = static_cast<std::byte>(value >> (8 * i));
  }
}

// All bytes, with the checksum's own still zero, and the checksum must add up to zero.
std::uint8_t checksum(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  return static_cast<std::uint8_t>(-sum);
}

// A table with its header (5.2.6).
Bytes table(std::string_view signature, std::uint8_t revision, const Bytes& body) {
  Bytes bytes;
  put_text(bytes, signature);
  put(bytes, 36 + body.size(), 4);
  put(bytes, revision, 1);
  put(bytes, 0, 1);
  put_text(bytes, kOemId);
  put_text(bytes, "CLONEVM ");
  put(bytes, 1, 4);
  put_text(bytes, "CLNS");
  put(bytes, 1, 4);
  bytes.insert(bytes.end(), body.begin(), body.end());
  put_at(bytes, kChecksum, checksum(bytes), 1);
  return bytes;
}

// A byte-wide port as a Generic Address Structure (5.2.3.2).
void put_port(Bytes& bytes, std::size_t offset, std::uint16_t port) {
  put_at(bytes, offset, 1, 1);      // system I/O space
  put_at(bytes, offset + 1, 8, 1);  // bits
  put_at(bytes, offset + 3, 1, 1);  // byte access
  put_at(bytes, offset + 4, port, 8);
}

// FADT, revision 6 (5.2.9). Offsets are from the table's start, as the specification gives them.
Bytes fadt(std::uint64_t dsdt) {
  constexpr std::size_t kSize = 276;
  constexpr std::size_t kHeader = 36;
  enum : std::uint32_t {
    kPowerButton = 1u << 4,  // no fixed-hardware power button
    kSleepButton = 1u << 5,  // no fixed-hardware sleep button
    kResetRegister = 1u << 10,
    kHardwareReduced = 1u << 20,
  };
  enum : std::uint16_t {
    kNoVga = 1u << 2,
    kNoCmosClock = 1u << 5,  // neither is there a keyboard controller (bit 1)
  };
  Bytes body(kSize - kHeader);
  const auto field = [&](std::size_t offset, std::uint64_t value, std::size_t size) {
    put_at(body, offset - kHeader, value, size);
  };
  field(40, dsdt, 4);
  field(109, kNoVga | kNoCmosClock, 2);  // IAPC_BOOT_ARCH
  field(112, kPowerButton | kSleepButton | kResetRegister | kHardwareReduced, 4);
  put_port(body, 116 - kHeader, layout::kResetPort);
  field(128, layout::kResetValue, 1);
  field(131, 3, 1);     // minor revision
  field(140, dsdt, 8);  // X_DSDT
  put_port(body, 244 - kHeader, layout::kSleepControlPort);
  put_port(body, 256 - kHeader, layout::kSleepStatusPort);
  return table("FACP", 6, body);
}

// MADT (5.2.12): the processors' APICs and one IOAPIC that takes all lines.
Bytes madt(std::uint32_t cpus) {
  Bytes body;
  put(body, layout::kLocalApic, 4);
  put(body, 1, 4);  // PCAT_COMPAT: KVM's two 8259 are there, and must be masked
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) {
    put(body, 0, 1);
    put(body, 8, 1);
    put(body, cpu, 1);  // processor UID
    put(body, cpu, 1);  // APIC id
    put(body, 1, 4);    // enabled
  }
  put(body, 1, 1);
  put(body, 12, 1);
  put(body, 0, 2);  // IOAPIC id, reserved
  put(body, layout::kIoApic, 4);
  put(body, 0, 4);  // its first global interrupt
  return table("APIC", 5, body);
}

// RSDP, revision 2 (5.2.5.3). No RSDT: whoever knows hardware-reduced ACPI knows the XSDT.
Bytes rsdp(std::uint64_t xsdt) {
  Bytes bytes;
  put_text(bytes, "RSD PTR ");
  put(bytes, 0, 1);
  put_text(bytes, kOemId);
  put(bytes, 2, 1);
  put(bytes, 0, 4);
  put(bytes, kRsdpSize, 4);
  put(bytes, xsdt, 8);
  put(bytes, 0, 4);  // extended checksum, reserved
  put_at(bytes, 8, checksum(std::span(bytes).first(20)), 1);
  put_at(bytes, 32, checksum(bytes), 1);
  return bytes;
}

// The image, filled from its start: the RSDP's place is first.
class Image {
 public:
  Image() : bytes_(kRsdpSize) {}
  std::uint64_t add(const Bytes& table) {
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
    const std::uint64_t address = layout::kAcpiRsdp + bytes_.size();
    bytes_.insert(bytes_.end(), table.begin(), table.end());
    return address;
  }
  Bytes finish(std::uint64_t xsdt) && {
    const Bytes pointer = rsdp(xsdt);
    std::memcpy(bytes_.data(), pointer.data(), pointer.size());
    return std::move(bytes_);
  }

 private:
  Bytes bytes_;
};

}  // namespace

Result<std::vector<std::byte>> build_acpi_tables(const AcpiConfig& config) {
  if (config.cpus < 1 || config.cpus > kMaxCpus) {
    return fail("ACPI tables: " + std::to_string(config.cpus) + " CPUs, expected 1 to " +
                std::to_string(kMaxCpus));
  }
  if (config.virtio_devices > layout::kVirtioMaxDevices) {
    return fail("ACPI tables: " + std::to_string(config.virtio_devices) +
                " virtio devices, at most " + std::to_string(layout::kVirtioMaxDevices) + " fit");
  }
  Image image;
  const std::uint64_t dsdt = image.add(table("DSDT", 2, dsdt_body(config)));
  Bytes pointers;
  put(pointers, image.add(fadt(dsdt)), 8);
  put(pointers, image.add(madt(config.cpus)), 8);
  const std::uint64_t xsdt = image.add(table("XSDT", 1, pointers));
  Bytes bytes = std::move(image).finish(xsdt);
  if (bytes.size() > layout::kAcpiEnd - layout::kAcpiRsdp) {
    return fail("ACPI tables: " + std::to_string(bytes.size()) + " bytes, only " +
                std::to_string(layout::kAcpiEnd - layout::kAcpiRsdp) + " fit");
  }
  return bytes;
}

Result<std::vector<std::byte>> build_generation_ssdt(const GenerationTables& tables) {
  if (tables.pages % 4096 != 0 || tables.pages > ~std::uint64_t{0} - layout::kGenerationPagesSize) {
    return fail("ACPI tables: no four generation pages can be at " + std::to_string(tables.pages));
  }
  if (tables.vmgenid && tables.vmclock && tables.vmgenid_gsi == tables.vmclock_gsi) {
    return fail("ACPI tables: VMGENID and VMCLOCK share the line " +
                std::to_string(tables.vmgenid_gsi));
  }
  return table("SSDT", 2, generation_ssdt_body(tables));
}

}  // namespace clonesafe
