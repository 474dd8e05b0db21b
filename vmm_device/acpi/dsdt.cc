#include "vmm_device/acpi/dsdt.h"

#include <string>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/abi/vmgenid.h"
#include "vmm_device/core/layout.h"

namespace clonesafe {
namespace {

constexpr const char* kVmgenid = "\\_SB.VGEN";
constexpr const char* kVmclock = "\\_SB.VCLK";
constexpr std::uint64_t kChanged =
    0x80;  // "device status changed", what both specifications ask for

// VMGENID (UAPI.14). It has no _CRS: drivers take the address from ADDR, a package of its low and
// high half.
aml::Bytes vmgenid_device(std::uint64_t page) {
  return aml::device(kVmgenid, {aml::name("_HID", aml::string(CLONESAFE_VMGENID_HID)),
                                aml::name("_CID", aml::string(CLONESAFE_VMGENID_CID)),
                                aml::name("_DDN", aml::string(CLONESAFE_VMGENID_CID)),
                                aml::name("ADDR", aml::package({aml::integer(page & 0xffffffff),
                                                                aml::integer(page >> 32)}))});
}

// Linux's driver wants exactly one memory resource.
aml::Bytes vmclock_device(std::uint64_t page) {
  return aml::device(
      kVmclock,
      {aml::name("_HID", aml::string(CLONESAFE_VMCLOCK_HID)),
       aml::name("_CID", aml::string(CLONESAFE_VMCLOCK_CID)),
       aml::name("_DDN", aml::string(CLONESAFE_VMCLOCK_CID)), aml::name("_STA", aml::integer(0x0f)),
       aml::name("_CRS",
                 aml::resource_template({aml::qword_memory(page, CLONESAFE_VMCLOCK_SIZE)}))});
}

// One resource over both pages: the agent finds it in /proc/iomem by the _HID, and the seed page
// behind the restore page.
aml::Bytes restore_page_device(std::uint64_t page) {
  static_assert(layout::kSeedPage == layout::kRestorePage + CLONESAFE_RESTORE_PAGE_SIZE);
  return aml::device(
      "\\_SB.VRST",
      {aml::name("_HID", aml::string(CLONESAFE_RESTORE_PAGE_HID)),
       aml::name("_DDN", aml::string("clonesafe restore page")),
       aml::name("_STA", aml::integer(0x0f)),
       aml::name("_CRS", aml::resource_template({aml::qword_memory(
                             page, CLONESAFE_RESTORE_PAGE_SIZE + sizeof(clonesafe_seed_page))}))});
}

// The Generic Event Device turns the two lines into notifications of the two devices (5.6.9).
aml::Bytes event_device(const char* name, const GenerationTables& tables) {
  aml::Terms lines;
  aml::Terms handlers;
  const auto add = [&](std::uint32_t gsi, const char* device) {
    lines.push_back(aml::edge_interrupt(gsi));
    handlers.push_back(aml::if_true(aml::equal(aml::argument(0), aml::integer(gsi)),
                                    {aml::notify(device, kChanged)}));
  };
  if (tables.vmgenid) add(tables.vmgenid_gsi, kVmgenid);
  if (tables.vmclock) add(tables.vmclock_gsi, kVmclock);
  return aml::device(name, {aml::name("_HID", aml::string("ACPI0013")),
                            aml::name("_CRS", aml::resource_template(lines)),
                            aml::method("_EVT", 1, aml::Serialized::kYes, handlers)});
}

aml::Terms generation_terms(const char* event_device_name, const GenerationTables& tables) {
  const auto page = [&](std::uint64_t ours) {
    return tables.pages + (ours - layout::kGenerationPages);
  };
  aml::Terms terms;
  if (tables.vmgenid) terms.push_back(vmgenid_device(page(layout::kVmgenidPage)));
  if (tables.vmclock) terms.push_back(vmclock_device(page(layout::kVmclockPage)));
  if (tables.restore_page) terms.push_back(restore_page_device(page(layout::kRestorePage)));
  if (tables.vmgenid || tables.vmclock) terms.push_back(event_device(event_device_name, tables));
  return terms;
}

aml::Bytes joined(const aml::Terms& terms) {
  aml::Bytes body;
  for (const aml::Bytes& term : terms) body.insert(body.end(), term.begin(), term.end());
  return body;
}

// Debian's kernels find virtio-mmio through this id only (no devices on the command line).
aml::Bytes virtio_device(std::uint32_t slot) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  const std::string where = std::string("\\_SB.VR") + kDigits[slot >> 4] + kDigits[slot & 15];
  const auto base =
      static_cast<std::uint32_t>(layout::kVirtioMmioStart + slot * layout::kVirtioMmioSize);
  return aml::device(
      where, {aml::name("_HID", aml::string("LNRO0005")), aml::name("_UID", aml::integer(slot)),
              aml::name("_CRS", aml::resource_template(
                                    {aml::memory32_fixed(base, layout::kVirtioMmioSize),
                                     aml::edge_interrupt(layout::kVirtioFirstGsi + slot)}))});
}

aml::Bytes serial_device() {
  return aml::device(
      "\\_SB.COM1",
      {aml::name("_HID", aml::eisa_id("PNP0501")), aml::name("_UID", aml::integer(0)),
       aml::name("_DDN", aml::string("COM1")),
       aml::name("_CRS", aml::resource_template({aml::io(layout::kCom1Port, 8),
                                                 aml::edge_interrupt(layout::kCom1Gsi)}))});
}

// Power-off: the value for the sleep control register (7.4.2.5).
aml::Bytes soft_off() {
  return aml::name("\\_S5", aml::package({aml::integer(layout::kSleepTypeS5), aml::integer(0),
                                          aml::integer(0), aml::integer(0)}));
}

}  // namespace

aml::Bytes dsdt_body(const AcpiConfig& config) {
  aml::Terms terms = generation_terms(
      "\\_SB.GED_",
      {.vmgenid = config.vmgenid, .vmclock = config.vmclock, .restore_page = config.restore_page});
  for (std::uint32_t slot = 0; slot < config.virtio_devices; ++slot) {
    terms.push_back(virtio_device(slot));
  }
  terms.push_back(serial_device());
  terms.push_back(soft_off());
  return joined(terms);
}

aml::Bytes generation_ssdt_body(const GenerationTables& tables) {
  return joined(generation_terms("\\_SB.CSGE", tables));
}

}  // namespace clonesafe
