// The state file of a snapshot, as anyone may have written it. The input is taken as it is (which
// exercises the header's checks), and as the payload behind a header with right checksums (which no
// mutation would find), so that the parser behind them is reached.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/snapshot.h"

namespace {

using namespace clonesafe::snapshot;

void read_all_of(const Snapshot& snapshot) {
  std::uint64_t total = 0;
  for (const MemoryRegion& region : snapshot.memory_map()) {
    if (region.offset != total) __builtin_trap();
    total += region.size;
  }
  if (total != snapshot.header().memory_size) __builtin_trap();
  unsigned sum = 0;
  for (const SectionView& section : snapshot.sections())
    for (const std::byte byte : section.bytes) sum += static_cast<unsigned>(byte);
  // Keeps the reads from being optimised away.
  asm volatile("" : : "r"(sum));
}

// The digest of the chunk table is under the header too: take it from where the payload has it.
void set_digests(format::Header& header, std::span<const std::byte> payload) {
  header.payload_length = payload.size();
  std::ranges::copy(*sha256(payload), header.payload_digest);
  for (std::size_t at = 0; payload.size() - at >= sizeof(format::SectionHeader);) {
    format::SectionHeader section;
    std::memcpy(&section, payload.data() + at, sizeof section);
    at += sizeof section;
    if (section.length > payload.size() - at) break;
    const auto bytes = payload.subspan(at, section.length);
    if (section.tag == static_cast<std::uint32_t>(Tag::chunk_digests)) {
      std::ranges::copy(*sha256(bytes), header.chunk_table_digest);
      header.memory_size = std::uint64_t{bytes.size() / sizeof(Digest)} * format::kChunkSize;
    }
    at += section.length;
  }
  const auto raw = std::as_bytes(std::span(&header, 1));
  std::ranges::copy(*sha256(raw.first(offsetof(format::Header, header_digest))),
                    header.header_digest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  if (auto snapshot = parse_state({input.begin(), input.end()}, "state.csn"))
    read_all_of(*snapshot);

  format::Header header = {};
  header.magic = format::kMagic;
  header.major = format::kMajor;
  header.header_length = format::kHeaderLength;
  header.architecture = format::kArchitectureX86_64;
  header.page_shift = format::kPageShift;
  header.chunk_size = format::kChunkSize;
  set_digests(header, input);
  const auto raw = std::as_bytes(std::span(&header, 1));
  std::vector<std::byte> state(raw.begin(), raw.end());
  state.insert(state.end(), input.begin(), input.end());
  if (auto snapshot = parse_state(std::move(state), "state.csn")) read_all_of(*snapshot);
  return 0;
}
