// A layer's file is whatever lies at the path that the operator gave. The digest is put right, so
// that what it guards is reached.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "vmm_device/block/layer.h"
#include "vmm_device/snapshot/digest.h"

using namespace clonesafe;
using namespace clonesafe::block;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMax = 1 << 20;
  if (size == 0 || size > kMax) return 0;
  std::vector<std::byte> bytes(size);
  std::memcpy(bytes.data(), data, size);
  format::LayerHeader header{};
  if (bytes.size() >= sizeof header) {
    const auto digest =
        snapshot::sha256(std::span(bytes).first(offsetof(format::LayerHeader, digest)));
    std::memcpy(bytes.data() + offsetof(format::LayerHeader, digest), digest->data(),
                digest->size());
    std::memcpy(&header, bytes.data(), sizeof header);
  }
  UniqueFd file(::memfd_create("layer", MFD_CLOEXEC));
  if (::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  // A file of the length that its header asks for, if that is short.
  if (check_layer_capacity(header.capacity, "layer") &&
      layer_shape(header.capacity).file_size <= kMax) {
    if (::ftruncate(file.get(), static_cast<off_t>(layer_shape(header.capacity).file_size)) != 0)
      std::abort();
  }
  auto layer = Layer::adopt(std::move(file), "layer", Lock::kExclusive);
  if (!layer) return 0;
  // What passed is all there: each cluster can be read and written.
  std::vector<std::byte> cluster(Layer::kClusterSize);
  const iovec buffer{cluster.data(), cluster.size()};
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < layer->clusters(); ++i) {
    if (!layer->has(i)) continue;
    ++count;
    if (!layer->read({&buffer, 1}, i * Layer::kClusterSize)) std::abort();
    if (!layer->write({&buffer, 1}, i * Layer::kClusterSize)) std::abort();
  }
  if (count != layer->count() || layer->clusters() * Layer::kClusterSize < layer->capacity())
    std::abort();
  if (!layer->flush()) std::abort();
  return 0;
}
