#ifndef CLONESAFE_TESTS_LAB_NESTED_SNAPSHOT_EDIT_H_
#define CLONESAFE_TESTS_LAB_NESTED_SNAPSHOT_EDIT_H_

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::lab {

// Snapshots that differ from a good one in one thing, with checksums that are right: they keep no
// forger out, so the parsers behind them must.

// A copy of `snapshot` at `to`, its memory by a link.
void copy_snapshot(const std::filesystem::path& snapshot, const std::filesystem::path& to);

// Changes the header, and sets its digest anew.
void edit_header(const std::filesystem::path& snapshot,
                 const std::function<void(snapshot::format::Header&)>& edit);

// Changes the bytes of every section with this tag, not their number.
void edit_sections(const std::filesystem::path& snapshot, snapshot::Tag tag,
                   const std::function<void(std::span<std::byte>)>& edit);

// Puts a copy of a section, counted from 0, behind it. Its name; none if there are no more.
std::optional<std::string> repeat_section(const std::filesystem::path& snapshot, std::size_t index);

std::string state_of(const std::filesystem::path& snapshot);
void set_state(const std::filesystem::path& snapshot, std::string_view state);

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_SNAPSHOT_EDIT_H_
