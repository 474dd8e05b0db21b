#include "tests/lab/nested/snapshot_edit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "tests/lab/nested/lab_vm.h"
#include "vmm_device/snapshot/digest.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
namespace format = snapshot::format;

std::span<std::byte> bytes_of(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

// The payload's length, and the digests of payload and header over what they cover now.
void seal(std::string& state) {
  format::Header header;
  std::memcpy(&header, state.data(), sizeof header);
  header.payload_length = state.size() - sizeof header;
  std::ranges::copy(*snapshot::sha256(bytes_of(state).subspan(sizeof header)),
                    header.payload_digest);
  const auto covered =
      std::as_bytes(std::span(&header, 1)).first(offsetof(format::Header, header_digest));
  std::ranges::copy(*snapshot::sha256(covered), header.header_digest);
  std::memcpy(state.data(), &header, sizeof header);
}

}  // namespace

std::optional<std::string> repeat_section(const fs::path& snapshot, std::size_t index) {
  std::string state = state_of(snapshot);
  std::size_t at = format::kHeaderLength;
  format::SectionHeader section;
  while (at + sizeof section <= state.size()) {
    std::memcpy(&section, state.data() + at, sizeof section);
    const std::size_t size = sizeof section + section.length;
    if (index-- == 0) {
      state.insert(at + size, state.substr(at, size));
      seal(state);
      set_state(snapshot, state);
      const auto info = snapshot::tag_info(section.tag);
      return info ? std::string(info->name) : std::to_string(section.tag);
    }
    at += size;
  }
  return std::nullopt;
}

std::string state_of(const fs::path& snapshot) {
  return read_file(snapshot / snapshot::kStateFile);
}

void set_state(const fs::path& snapshot, std::string_view state) {
  std::ofstream file(snapshot / snapshot::kStateFile, std::ios::binary | std::ios::trunc);
  file.write(state.data(), static_cast<std::streamsize>(state.size()));
  file.close();
  ASSERT_TRUE(file.good());
}

void copy_snapshot(const fs::path& snapshot, const fs::path& to) {
  fs::create_directory(to);
  set_state(to, state_of(snapshot));
  std::error_code error;
  fs::create_hard_link(snapshot / snapshot::kMemoryFile, to / snapshot::kMemoryFile, error);
  if (error) fs::copy_file(snapshot / snapshot::kMemoryFile, to / snapshot::kMemoryFile);
}

void edit_header(const fs::path& snapshot, const std::function<void(format::Header&)>& edit) {
  std::string state = state_of(snapshot);
  format::Header header;
  ASSERT_GE(state.size(), sizeof header);
  std::memcpy(&header, state.data(), sizeof header);
  edit(header);
  std::memcpy(state.data(), &header, sizeof header);
  seal(state);
  set_state(snapshot, state);
}

void edit_sections(const fs::path& snapshot, snapshot::Tag tag,
                   const std::function<void(std::span<std::byte>)>& edit) {
  std::string state = state_of(snapshot);
  std::span<std::byte> rest = bytes_of(state).subspan(format::kHeaderLength);
  int edited = 0;
  while (rest.size() >= sizeof(format::SectionHeader)) {
    format::SectionHeader section;
    std::memcpy(&section, rest.data(), sizeof section);
    rest = rest.subspan(sizeof section);
    ASSERT_LE(section.length, rest.size());
    if (section.tag == static_cast<std::uint32_t>(tag)) {
      edit(rest.first(section.length));
      ++edited;
    }
    rest = rest.subspan(section.length);
  }
  ASSERT_GT(edited, 0);
  seal(state);
  set_state(snapshot, state);
}

}  // namespace clonesafe::lab
