// Makes a snapshot with a registered secret page out of one without: how golden/1.2.tar.gz came to
// be. The bare guest has no agent that could register one.
// usage: add_secret_page SNAPSHOT OUT
#include <sys/mman.h>

#include <cstdio>
#include <cstring>

#include "clonesafe/abi/secret_page.h"
#include "libclonesafe/base/mapping.h"
#include "vmm_device/generation/secret_pages.h"
#include "vmm_device/snapshot/snapshot.h"

namespace {

using namespace clonesafe;

// In a page that the bare guest doesn't use, as an agent makes it.
SecretPage put_secret(std::span<std::byte> page, GuestAddress address) {
  SecretPage secret{.address = address};
  secret.nonce.fill(std::byte{0x5a});
  clonesafe_secret_page bytes{};
  bytes.magic = CLONESAFE_SECRET_PAGE_MAGIC;
  std::memcpy(bytes.nonce, secret.nonce.data(), secret.nonce.size());
  std::memset(bytes.data, 0xa5, sizeof bytes.data);
  std::memcpy(page.data(), &bytes, sizeof bytes);
  return secret;
}

Status add(const char* from, const char* to) {
  auto source = snapshot::verify(from);
  if (!source) return fail(std::move(source).error());
  auto file = source->import_memory();
  if (!file) return fail(std::move(file).error());
  auto mapping = Mapping::map("memory", source->header().memory_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE, file->get());
  if (!mapping) return fail(std::move(mapping).error());
  std::vector<GuestMemory::Region> regions;
  for (const auto& region : source->memory_map())
    regions.push_back({region.start, mapping->bytes().subspan(region.offset, region.size)});
  const auto last = regions.back();
  const std::uint64_t at = last.bytes.size() - CLONESAFE_SECRET_PAGE_SIZE;
  const SecretPage page = put_secret(last.bytes.subspan(at), last.start + at);

  const GuestMemory memory(std::move(regions));
  SecretPages secrets(memory);
  if (auto listed = secrets.replace({page}); !listed) return listed;
  snapshot::WriteRequest request{.memory = memory, .sections = {}};
  for (const auto& section : source->sections()) {
    const auto tag = static_cast<snapshot::Tag>(section.tag);
    if (tag == snapshot::Tag::memory_map || tag == snapshot::Tag::chunk_digests) continue;
    request.sections.push_back({.tag = tag,
                                .version = section.version,
                                .critical = section.critical,
                                .bytes = {section.bytes.begin(), section.bytes.end()}});
  }
  StateEncoder encoder;
  secrets.save(encoder);
  request.sections.push_back({.tag = snapshot::Tag::secret_pages, .bytes = encoder.take()});
  const auto ranges = secrets.ranges();
  if (!ranges) return fail(ranges.error());
  for (const auto& range : *ranges)
    request.zero_ranges.push_back({range.start, range.size, "secret page"});
  auto written = snapshot::write(to, request);
  if (!written) return fail(std::move(written).error());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: add_secret_page SNAPSHOT OUT\n");
    return 2;
  }
  if (auto added = add(argv[1], argv[2]); !added) {
    std::fprintf(stderr, "add_secret_page: %s\n", added.error().message().c_str());
    return 1;
  }
  return 0;
}
