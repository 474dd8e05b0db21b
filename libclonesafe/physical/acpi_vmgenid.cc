#include "libclonesafe/physical/acpi_vmgenid.h"

#include <algorithm>

#include "clonesafe/abi/vmgenid.h"

namespace clonesafe {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kHeaderSize = 36;  // ACPI 6.5, 5.2.6: DESCRIPTION_HEADER
// Known ones are about 100 bytes. The limit keeps the search linear on hostile tables, and keeps a
// bridge that holds the device from being taken for it.
constexpr std::size_t kDeviceLimit = 4096;

// ACPI 6.5, 20.2: the opcodes used here.
constexpr std::uint8_t kZeroOp = 0x00;
constexpr std::uint8_t kOneOp = 0x01;
constexpr std::uint8_t kNameOp = 0x08;
constexpr std::uint8_t kBytePrefix = 0x0a;
constexpr std::uint8_t kWordPrefix = 0x0b;
constexpr std::uint8_t kDwordPrefix = 0x0c;
constexpr std::uint8_t kQwordPrefix = 0x0e;
constexpr std::uint8_t kPackageOp = 0x12;
constexpr std::uint8_t kExtOpPrefix = 0x5b;
constexpr std::uint8_t kDeviceOp = 0x82;

std::uint8_t at(Bytes bytes, std::size_t index) {
  return std::to_integer<std::uint8_t>(bytes[index]);
}

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::optional<std::uint64_t> take_integer(Bytes& bytes) {
  if (bytes.empty()) return std::nullopt;
  std::size_t size = 0;
  switch (at(bytes, 0)) {
    case kZeroOp:
    case kOneOp: {
      const std::uint64_t value = at(bytes, 0);
      bytes = bytes.subspan(1);
      return value;
    }
    case kBytePrefix:
      size = 1;
      break;
    case kWordPrefix:
      size = 2;
      break;
    case kDwordPrefix:
      size = 4;
      break;
    case kQwordPrefix:
      size = 8;
      break;
    default:
      return std::nullopt;
  }
  if (bytes.size() < 1 + size) return std::nullopt;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{at(bytes, 1 + i)} << (8 * i);
  bytes = bytes.subspan(1 + size);
  return value;
}

// ACPI 6.5, 20.2.4: the length counts its own bytes. Returns what the package holds.
std::optional<Bytes> package_body(Bytes bytes) {
  if (bytes.empty()) return std::nullopt;
  const std::uint8_t lead = at(bytes, 0);
  const std::size_t more = lead >> 6;
  if (bytes.size() < 1 + more) return std::nullopt;
  std::size_t length = more == 0 ? lead & 0x3fU : lead & 0x0fU;
  for (std::size_t i = 0; i < more; ++i) {
    length |= static_cast<std::size_t>(at(bytes, 1 + i)) << (4 + 8 * i);
  }
  if (length < 1 + more || length > bytes.size()) return std::nullopt;
  return bytes.subspan(1 + more, length - 1 - more);
}

// What follows `Name (<segment>, `, at its first occurrence in `body`.
std::optional<Bytes> value_of_name(Bytes body, std::string_view segment) {
  for (std::size_t i = 0; i + 1 + segment.size() <= body.size(); ++i) {
    if (at(body, i) != kNameOp) continue;
    const Bytes rest = body.subspan(i + 1);
    if (as_text(rest.first(segment.size())) == segment) return rest.subspan(segment.size());
  }
  return std::nullopt;
}

bool holds_vmgenid(Bytes bytes) {
  constexpr std::string_view kCid = CLONESAFE_VMGENID_CID;
  const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  const std::string_view text = as_text(bytes);
  return std::search(text.begin(), text.end(), kCid.begin(), kCid.end(), same) != text.end();
}

// Nothing that the agent would map and believe in without this.
bool plausible(std::uint64_t address) {
  return address != 0 && address % 8 == 0 && address < (std::uint64_t{1} << 52);
}

std::optional<std::uint64_t> static_package(Bytes device) {
  auto value = value_of_name(device, "ADDR");
  if (!value || value->empty() || at(*value, 0) != kPackageOp) return std::nullopt;
  auto elements = package_body(value->subspan(1));
  if (!elements || elements->empty() || at(*elements, 0) != 2) return std::nullopt;
  Bytes rest = elements->subspan(1);
  const auto low = take_integer(rest);
  const auto high = take_integer(rest);
  if (!low || !high || *low >> 32 != 0 || *high >> 32 != 0) return std::nullopt;
  return *low | *high << 32;
}

std::optional<VmgenidLocation> find_static_package(Bytes aml) {
  for (std::size_t i = 0; i + 1 < aml.size(); ++i) {
    if (at(aml, i) != kExtOpPrefix || at(aml, i + 1) != kDeviceOp) continue;
    const auto device = package_body(aml.subspan(i + 2));
    if (!device || device->size() > kDeviceLimit || !holds_vmgenid(*device)) continue;
    const auto address = static_package(*device);
    if (address && plausible(*address)) {
      return VmgenidLocation{.address = *address, .shape = "static package"};
    }
  }
  return std::nullopt;
}

std::optional<VmgenidLocation> find_qemu(Bytes aml) {
  if (!holds_vmgenid(aml)) return std::nullopt;
  auto value = value_of_name(aml, "VGIA");
  const auto page = value ? take_integer(*value) : std::nullopt;
  if (!page || *page == 0 || !plausible(*page + CLONESAFE_VMGENID_QEMU_OFFSET)) return std::nullopt;
  return VmgenidLocation{.address = *page + CLONESAFE_VMGENID_QEMU_OFFSET, .shape = "qemu"};
}

}  // namespace

std::optional<VmgenidLocation> find_vmgenid(Bytes table) {
  if (table.size() < kHeaderSize) return std::nullopt;
  const std::string_view signature = as_text(table.first(4));
  if (signature != "DSDT" && signature != "SSDT") return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length |= static_cast<std::size_t>(at(table, 4 + i)) << 8 * i;
  if (length < kHeaderSize || length > table.size()) return std::nullopt;
  const Bytes aml = table.subspan(kHeaderSize, length - kHeaderSize);
  if (auto found = find_static_package(aml)) return found;
  return find_qemu(aml);
}

}  // namespace clonesafe
