// snapshot: keeps a paused machine in a directory, and gives it back only if every byte is as it
// was written; no KVM in it.
//
// A snapshot is a directory (mode 0700) of state.csn, memory.img and what is attached (0600);
// docs/formats/snapshot.md has it byte by byte. The files are untrusted input: state.csn is read
// and checked whole before any of it is parsed, memory is checked chunk by chunk as it is copied
// into a sealed memfd, and nothing reads the files after that. Checksums find damage, not forgery:
// whoever can write the directory can make a valid snapshot of his own, so what is parsed is
// checked again by its parser. A MAC with the operator's key tells forgeries.
//
// Thread-safety: a Snapshot is immutable after open(); its const members may be called from any
// thread. It may be used on both sides of a fork.
#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_SNAPSHOT_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_SNAPSHOT_H_

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/core/page_set.h"
#include "vmm_device/snapshot/key.h"
#include "vmm_device/snapshot/sections.h"

namespace clonesafe::snapshot {

inline constexpr const char* kStateFile = "state.csn";
inline constexpr const char* kMemoryFile = "memory.img";
// What state.csn is called once a move has used the snapshot up.
inline constexpr const char* kConsumedStateFile = "state.consumed";

using Digest = std::array<std::byte, 32>;  // SHA-256
using SnapshotId = std::array<std::byte, 16>;

// Called now and then with the bytes of memory done and the total.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Guest memory that must not reach a file; written as zeros.
struct ZeroRange {
  GuestAddress start;
  std::uint64_t size = 0;
  std::string name;
};

// One more file of a snapshot: of the directory, or of an image in memory.
struct AttachedFile {
  std::string name;  // lower-case letters, digits, and points between them
  std::uint64_t size = 0;
  Digest digest = {};
};
struct FileToWrite {
  std::string name;
  // Fills the file, which is empty: whole pages, and holes where there is nothing. It is synced
  // afterwards.
  std::function<Status(UniqueFd file)> write;
};

struct WriteRequest {
  GuestMemory memory;             // regions of whole pages, in address order; no vCPU runs
  std::vector<Section> sections;  // all that are not this folder's own
  std::vector<ZeroRange> zero_ranges = {};
  std::vector<FileToWrite> files = {};
  bool agent_connected = false;  // an agent was there, so a restore may wait for its report
  // digest() of the snapshot that this machine was restored from; with `changed`, of the one that
  // this one lies over.
  Digest parent = {};
  // The pages that changed since `parent`: only they are written. Null: all are.
  const PageSet* changed = nullptr;
  Progress progress = {};
  const Key* key = nullptr;  // authenticates the snapshot, if given
  // Called at each step; its error is the step's.
  std::function<Status(const char* step)> stop_for_testing = {};
  // The directory, open, in which the last part of the name is made; -1: the name says where. For
  // who has no name for it, as a process in a jail.
  int folder = -1;
  // Asked to stop, it gives up between two chunks.
  std::stop_token stop = {};
};

struct Written {
  SnapshotId id = {};
  Digest digest = {};
  std::uint64_t memory_size = 0;
  std::uint64_t data_size = 0;   // bytes of memory that were not zero, so were written
  std::uint64_t state_size = 0;  // of state.csn
  std::uint64_t pages = 0;       // that are in it; an incremental one has not all
};

// Writes a snapshot to `dir`, which must not exist. The files are written beside it and renamed
// once they are on the disk: after an error nothing is left, and `dir` is never there half.
// SIGXFSZ must be ignored by the process, so that a file size limit is an error like any other.
Result<Written> write(const std::filesystem::path& dir, const WriteRequest& request);

struct MemoryRegion {
  GuestAddress start;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  // in memory.img and in the memfd
};

// The fixed header of state.csn, checked.
struct Header {
  std::uint16_t format_major = 0;
  std::uint16_t format_minor = 0;
  std::uint32_t architecture = 0;
  std::uint32_t flags = 0;
  std::uint64_t created_ns = 0;  // CLOCK_REALTIME
  std::uint64_t memory_size = 0;
  std::uint32_t page_shift = 0;
  std::uint32_t chunk_size = 0;
  std::uint64_t payload_length = 0;
  Digest payload_digest = {};
  Digest chunk_table_digest = {};
  SnapshotId id = {};
  Digest parent = {};
  bool has_mac = false;
  Digest digest = {};  // of the header, and through it of everything
};

struct SectionView {
  std::uint32_t tag = 0;
  std::uint16_t version = 0;
  bool critical = false;
  std::span<const std::byte> bytes;
};

class Chain;

// Where a state comes from: only one that a process handed over has its memory beside it without
// digests.
enum class Origin { file, image };

// A snapshot whose state file has been checked whole and parsed. Memory is not checked yet.
class Snapshot {
 public:
  const std::filesystem::path& directory() const { return directory_; }
  const Header& header() const { return header_; }
  const Digest& digest() const { return header_.digest; }
  bool agent_connected() const;
  const std::vector<MemoryRegion>& memory_map() const { return memory_map_; }

  // The sections in file order; those that this version doesn't know are left out.
  const std::vector<SectionView>& sections() const { return sections_; }
  std::size_t count(Tag tag) const;
  // The index-th section of this tag. An error names the one that is missing.
  Result<SectionView> section(Tag tag, std::size_t index = 0) const;

  // An incremental snapshot holds the pages that changed since its parent, and is restored as the
  // top of a Chain. Null: it holds all of memory.
  const PageSet* layer() const { return layer_ ? &*layer_ : nullptr; }

  // What is in it beside state and memory, in order.
  const std::vector<AttachedFile>& attached_files() const { return attached_files_; }
  // One of them, for reading, after every byte of it was checked. Nothing keeps it from being
  // written to afterwards.
  Result<UniqueFd> open_attached(std::size_t index) const;

  // Copies memory.img into a memfd (regions at their MemoryRegion::offset) and seals it against
  // every change: map it MAP_PRIVATE. Each chunk is checked against its digest on the way; the
  // error names file, chunk and offset. Not for a layer.
  Result<UniqueFd> import_memory(const Progress& progress = {}) const;
  // The same check without the copy.
  Status verify_memory(const Progress& progress = {}) const;
  Status verify_attached() const;

  // Uses the snapshot up, so that nobody restores it again: one atomic rename of state.csn, on the
  // disk when this returns. Of several that try, one succeeds.
  Status consume() const;

 private:
  friend class Chain;
  friend Result<Snapshot> open(const std::filesystem::path& dir, const Key* key);
  friend Result<Snapshot> open_parent(const std::filesystem::path& dir);
  friend Result<Snapshot> verify(const std::filesystem::path& dir, const Progress& progress);
  friend Result<Chain> verify_chain(const std::filesystem::path& dir,
                                    std::span<const std::filesystem::path> parents,
                                    const Progress& progress, const Key* key);
  friend Result<Snapshot> read_image(int state, int memory, std::vector<UniqueFd> files);
  friend Result<Snapshot> parse_state(std::vector<std::byte> state, const std::string& name,
                                      Origin origin, const Key* key);
  // What is in memory.img, checked, is laid over what `memory` has.
  Status lay_over(int memory, const Progress& progress) const;

  Status refuse_other_entries() const;

  std::filesystem::path directory_;
  const char* state_file_ = kStateFile;
  std::shared_ptr<const std::vector<std::byte>> state_;  // all views point into it
  Header header_;
  std::vector<SectionView> sections_;
  std::vector<MemoryRegion> memory_map_;
  std::span<const std::byte> chunk_digests_;
  std::optional<PageSet> layer_;
  std::vector<AttachedFile> attached_files_;
  // Of an image: the files, in order.
  std::shared_ptr<const std::vector<UniqueFd>> attached_descriptors_;
};

// Opens `dir` and checks its state file: header, payload, sections. With a key, the header must
// have that key's MAC, which is checked before anything else is parsed; without, none is checked.
Result<Snapshot> open(const std::filesystem::path& dir, const Key* key = nullptr);

// The same for one that others lie over: it may have been used up by a move.
Result<Snapshot> open_parent(const std::filesystem::path& dir);

// The part of open() that works on bytes; `name` stands first in each error. Never reads a file.
Result<Snapshot> parse_state(std::vector<std::byte> state, const std::string& name,
                             Origin origin = Origin::file, const Key* key = nullptr);

// Checks every byte of every file, and that the directory holds nothing else.
Result<Snapshot> verify(const std::filesystem::path& dir, const Progress& progress = {});

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_SNAPSHOT_H_
