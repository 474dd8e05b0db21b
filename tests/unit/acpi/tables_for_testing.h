#ifndef CLONESAFE_TESTS_UNIT_ACPI_TABLES_FOR_TESTING_H_
#define CLONESAFE_TESTS_UNIT_ACPI_TABLES_FOR_TESTING_H_

#include <cstring>
#include <map>
#include <span>
#include <stdexcept>
#include <string>

#include "vmm_device/acpi/tables.h"
#include "vmm_device/core/layout.h"

namespace clonesafe {

using TableBytes = std::span<const std::byte>;

template <typename T>
T value_at(TableBytes bytes, std::size_t offset) {
  T value{};
  if (offset + sizeof value > bytes.size()) throw std::out_of_range("outside the table");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Walks the tables as a guest does: RSDP, XSDT, what it names, and the FADT's DSDT.
inline std::map<std::string, TableBytes> tables_in(TableBytes image) {
  std::map<std::string, TableBytes> tables;
  const auto add = [&](std::uint64_t address) {
    const TableBytes rest = image.subspan(address - layout::kAcpiRsdp);
    const TableBytes table = rest.first(value_at<std::uint32_t>(rest, 4));
    const std::string signature(reinterpret_cast<const char*>(table.data()), 4);
    tables[signature] = table;
    return table;
  };
  tables["RSD PTR "] = image.first(36);
  const TableBytes xsdt = add(value_at<std::uint64_t>(image, 24));
  for (std::size_t offset = 36; offset < xsdt.size(); offset += 8) {
    add(value_at<std::uint64_t>(xsdt, offset));
  }
  add(value_at<std::uint64_t>(tables.at("FACP"), 140));
  return tables;
}

}  // namespace clonesafe

#endif  // CLONESAFE_TESTS_UNIT_ACPI_TABLES_FOR_TESTING_H_
