#ifndef CLONESAFE_VMM_DEVICE_ACPI_AML_H_
#define CLONESAFE_VMM_DEVICE_ACPI_AML_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

// ACPI Machine Language: one function for each construct that our tables use, named as in ASL. Each
// returns the bytes of a term; a term that contains others takes theirs. ACPI 6.4, chapters 20
// (AML) and 6.4 (resource descriptors).
//
// The names and values are ours, not a stranger's: nothing is checked here, and iasl checks all of
// it in the tests.
namespace clonesafe::aml {

using Bytes = std::vector<std::byte>;
using Terms = std::vector<Bytes>;

// Data.
Bytes integer(std::uint64_t value);  // in the shortest form
Bytes string(std::string_view text);
Bytes eisa_id(std::string_view id);  // EisaId("PNP0501")
Bytes package(const Terms& elements);
Bytes buffer(const Bytes& contents);

// Names. A path is "\\_SB.VGEN" or "_HID"; segments shorter than four characters are padded with
// '_'.
Bytes path(std::string_view path);
Bytes name(std::string_view path, const Bytes& value);

// Blocks.
Bytes scope(std::string_view path, const Terms& terms);
Bytes device(std::string_view path, const Terms& terms);
enum class Serialized : bool { kNo, kYes };
Bytes method(std::string_view path, unsigned arguments, Serialized serialized, const Terms& terms);
Bytes if_true(const Bytes& predicate, const Terms& terms);

// Expressions and statements.
Bytes argument(unsigned number);
Bytes equal(const Bytes& left, const Bytes& right);
Bytes notify(std::string_view object, std::uint64_t value);

// Resources, for a device's _CRS.
Bytes resource_template(const Terms& descriptors);
Bytes memory32_fixed(std::uint32_t base, std::uint32_t size);  // read-write
// Consumed, cacheable, read-write.
Bytes qword_memory(std::uint64_t base, std::uint64_t size);
Bytes io(std::uint16_t port, std::uint8_t size);  // 16-bit decode
// Consumed, edge-triggered, active-high, exclusive.
Bytes edge_interrupt(std::uint32_t gsi);

}  // namespace clonesafe::aml

#endif  // CLONESAFE_VMM_DEVICE_ACPI_AML_H_
