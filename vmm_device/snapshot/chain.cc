#include "vmm_device/snapshot/chain.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <system_error>

#include "libclonesafe/base/mapping.h"
#include "vmm_device/snapshot/attached.h"
#include "vmm_device/snapshot/digest.h"
#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {

namespace {

std::string hex(const Digest& digest) {
  std::string text;
  for (const std::byte byte : digest) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

// Whether `dir` claims to be the snapshot of this digest. A cheap look at the header alone: what is
// chosen is opened and checked whole.
bool claims(const std::filesystem::path& dir, const Digest& digest) {
  auto directory = open_directory(dir);
  if (!directory) return false;
  for (const char* file : {kStateFile, kConsumedStateFile}) {
    auto fd = open_file(directory->get(), file, file);
    if (!fd) continue;
    Digest found;
    if (read_exactly(fd->get(), found, offsetof(format::Header, header_digest), file) &&
        found == digest)
      return true;
  }
  return false;
}

Result<std::filesystem::path> find_parent(const Snapshot& child,
                                          std::span<const std::filesystem::path> parents) {
  const Digest& digest = child.header().parent;
  for (const auto& place : parents)
    if (claims(place, digest)) return place;
  std::error_code error;
  auto folder = std::filesystem::absolute(child.directory(), error).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  std::filesystem::directory_iterator entries(folder.parent_path(), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error))
    if (entries->is_directory(error) && claims(entries->path(), digest)) return entries->path();
  return fail(child.directory().string() + ": incremental, and its parent " + hex(digest) +
              " is neither given nor beside it");
}

bool same_map(const Snapshot& one, const Snapshot& other) {
  return std::ranges::equal(one.memory_map(), other.memory_map(),
                            [](const MemoryRegion& a, const MemoryRegion& b) {
                              return a.start == b.start && a.size == b.size && a.offset == b.offset;
                            });
}

}  // namespace

Result<Chain> open_chain(const std::filesystem::path& dir,
                         std::span<const std::filesystem::path> parents, const Key* key) {
  auto top = open(dir, key);
  if (!top) return fail(std::move(top).error());
  if (key == nullptr && top->header().has_mac)
    return fail(dir.string() + ": has a MAC, which can't be checked without its key (--key)");
  Chain chain;
  chain.snapshots_.push_back(std::move(*top));
  while (chain.snapshots_.back().layer() != nullptr) {
    const Snapshot& child = chain.snapshots_.back();
    if (chain.snapshots_.size() == format::kMaxChain)
      return fail(dir.string() + ": over more than " + std::to_string(format::kMaxChain - 1) +
                  " others; merge it");
    auto place = find_parent(child, parents);
    if (!place) return fail(std::move(place).error());
    auto parent = open_parent(*place);
    if (!parent) return fail(std::move(parent).error());
    // Read again, and it may have been exchanged.
    if (parent->digest() != child.header().parent)
      return fail(place->string() + ": not the parent of " + child.directory().string());
    if (!same_map(*parent, child))
      return fail(child.directory().string() + ": its memory is not laid out as its parent's, " +
                  place->string());
    chain.snapshots_.push_back(std::move(*parent));
  }
  std::ranges::reverse(chain.snapshots_);
  return chain;
}

Status Chain::each(int memory, const Progress& progress) const {
  const std::uint64_t size = top().header().memory_size;
  std::uint64_t before = 0;
  for (const Snapshot& snapshot : snapshots_) {
    const Progress part = [&](std::uint64_t done, std::uint64_t) {
      if (progress) progress(before + done, snapshots_.size() * size);
    };
    if (auto status = snapshot.lay_over(memory, part); !status) return status;
    before += size;
  }
  return {};
}

Result<UniqueFd> Chain::import_memory(const Progress& progress) const {
  auto memory = make_memory(top().header().memory_size);
  if (!memory) return memory;
  if (auto status = each(memory->get(), progress); !status) return fail(std::move(status).error());
  if (auto status = seal_memory(memory->get()); !status) return fail(std::move(status).error());
  return memory;
}

Status Chain::verify_memory(const Progress& progress) const {
  return each(-1, progress);
}

Result<Chain> verify_chain(const std::filesystem::path& dir,
                           std::span<const std::filesystem::path> parents, const Progress& progress,
                           const Key* key) {
  auto chain = open_chain(dir, parents, key);
  if (!chain) return chain;
  for (const Snapshot& snapshot : chain->snapshots())
    if (auto status = snapshot.refuse_other_entries(); !status)
      return fail(std::move(status).error());
  if (auto status = chain->verify_memory(progress); !status) return fail(std::move(status).error());
  for (const Snapshot& snapshot : chain->snapshots())
    if (auto status = snapshot.verify_attached(); !status) return fail(std::move(status).error());
  return chain;
}

Result<Written> merge(const Chain& chain, const std::filesystem::path& out,
                      const Progress& progress, const Key* key,
                      const std::function<Status(const char* step)>& stop_for_testing) {
  const Snapshot& top = chain.top();
  if (top.layer() == nullptr)
    return fail(top.directory().string() + ": not incremental, there is nothing to merge");
  auto memory = chain.import_memory(progress);
  if (!memory) return fail(std::move(memory).error());
  auto mapping = Mapping::map("the merged memory", top.header().memory_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_NORESERVE, memory->get());
  if (!mapping) return fail(std::move(mapping).error());
  std::vector<GuestMemory::Region> regions;
  for (const MemoryRegion& region : top.memory_map())
    regions.push_back({region.start, mapping->bytes().subspan(region.offset, region.size)});
  std::vector<Section> sections;
  for (const SectionView& section : top.sections()) {
    const auto tag = static_cast<Tag>(section.tag);
    if (tag == Tag::memory_map || tag == Tag::chunk_digests || tag == Tag::layer ||
        tag == Tag::attached_file)
      continue;
    sections.push_back({.tag = tag,
                        .version = section.version,
                        .critical = section.critical,
                        .bytes = {section.bytes.begin(), section.bytes.end()}});
  }
  std::vector<FileToWrite> files;
  for (std::size_t index = 0; index < top.attached_files().size(); ++index) {
    const AttachedFile& file = top.attached_files()[index];
    auto from = top.open_attached(index);
    if (!from) return fail(std::move(from).error());
    files.push_back(
        {.name = file.name,
         .write = [from = std::make_shared<UniqueFd>(std::move(*from)), file](const UniqueFd& to) {
           return copy_sparse(from->get(), to.get(), file.size, file.name);
         }});
  }
  return write(out, {.memory = GuestMemory(std::move(regions)),
                     .sections = std::move(sections),
                     .files = std::move(files),
                     .agent_connected = top.agent_connected(),
                     .parent = chain.snapshots().front().header().parent,
                     .key = key,
                     .stop_for_testing = stop_for_testing});
}

}  // namespace clonesafe::snapshot
