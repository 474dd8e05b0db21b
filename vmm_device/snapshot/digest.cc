#include "vmm_device/snapshot/digest.h"

#include <openssl/evp.h>

#include <cstring>

#include "vmm_device/snapshot/format.h"

namespace clonesafe::snapshot {

namespace {

constexpr const char* kFailed = "libcrypto: SHA-256 failed";

std::span<const std::byte> zeros(std::size_t size) {
  static constexpr std::array<std::byte, format::kChunkSize> kZeros{};
  return std::span(kZeros).first(size);
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}
void Sha256::Free::operator()(evp_md_st* algorithm) const {
  EVP_MD_free(algorithm);
}

Result<Sha256> Sha256::create() {
  Sha256 sha256;
  sha256.algorithm_.reset(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  sha256.context_.reset(EVP_MD_CTX_new());
  if (!sha256.algorithm_ || !sha256.context_) return fail("libcrypto offers no SHA-256");
  return sha256;
}

Status Sha256::begin() {
  if (EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr) != 1) return fail(kFailed);
  return {};
}

Status Sha256::add(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) return fail(kFailed);
  return {};
}

Result<Digest> Sha256::end() {
  Digest digest;
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), &size) !=
          1 ||
      size != digest.size())
    return fail(kFailed);
  return digest;
}

Result<Digest> Sha256::of(std::span<const std::byte> bytes) {
  if (auto status = begin(); !status) return fail(std::move(status).error());
  if (auto status = add(bytes); !status) return fail(std::move(status).error());
  return end();
}

Result<Digest> sha256(std::span<const std::byte> bytes) {
  auto hash = Sha256::create();
  if (!hash) return fail(std::move(hash).error());
  return hash->of(bytes);
}

Result<ZeroDigests> ZeroDigests::create(Sha256& sha256) {
  auto whole = sha256.of(zeros(format::kChunkSize));
  if (!whole) return fail(std::move(whole).error());
  ZeroDigests digests;
  digests.whole_ = *whole;
  return digests;
}

Result<Digest> ZeroDigests::of(Sha256& sha256, std::size_t size) const {
  if (size == format::kChunkSize) return whole_;
  return sha256.of(zeros(size));
}

bool all_zero(std::span<const std::byte> bytes) {
  while (bytes.size() > format::kChunkSize) {
    if (!all_zero(bytes.first(format::kChunkSize))) return false;
    bytes = bytes.subspan(format::kChunkSize);
  }
  return std::memcmp(bytes.data(), zeros(bytes.size()).data(), bytes.size()) == 0;
}

}  // namespace clonesafe::snapshot
