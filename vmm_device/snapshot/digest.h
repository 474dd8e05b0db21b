#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_DIGEST_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_DIGEST_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "libclonesafe/base/error.h"
#include "vmm_device/snapshot/snapshot.h"

struct evp_md_ctx_st;
struct evp_md_st;

namespace clonesafe::snapshot {

// SHA-256 of many buffers, one after the other. One thread at a time.
class Sha256 {
 public:
  static Result<Sha256> create();
  Result<Digest> of(std::span<const std::byte> bytes);
  // The same in pieces.
  Status begin();
  Status add(std::span<const std::byte> bytes);
  Result<Digest> end();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
    void operator()(evp_md_st* algorithm) const;
  };
  std::unique_ptr<evp_md_st, Free> algorithm_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Result<Digest> sha256(std::span<const std::byte> bytes);

// SHA-256 of whole and partial chunks of zeros, which are most of a guest's memory.
class ZeroDigests {
 public:
  static Result<ZeroDigests> create(Sha256& sha256);
  Result<Digest> of(Sha256& sha256, std::size_t size) const;

 private:
  Digest whole_ = {};
};

bool all_zero(std::span<const std::byte> bytes);

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_DIGEST_H_
