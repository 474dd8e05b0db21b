#include "vmm_device/snapshot/key.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <cstring>

#include "vmm_device/snapshot/files.h"
#include "vmm_device/snapshot/mac.h"

namespace clonesafe::snapshot {

Result<Key> Key::read(const std::filesystem::path& file) {
  const std::string name = "key " + file.string();
  auto fd = open_file(AT_FDCWD, file.c_str(), name);
  if (!fd) return fail(std::move(fd).error());
  return read_open(fd->get(), name);
}

Result<Key> Key::read_open(int file, const std::string& name) {
  struct stat status = {};
  if (::fstat(file, &status) != 0) return fail_errno(name + ": fstat");
  if (!S_ISREG(status.st_mode)) return fail(name + ": not a regular file");
  if ((status.st_mode & 077) != 0)
    return fail(name + ": others than its owner have rights to it (chmod 600)");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size < kMinSize || size > kMaxSize)
    return fail(name + ": " + std::to_string(size) + " bytes, expected " +
                std::to_string(kMinSize) + " to " + std::to_string(kMaxSize));
  Key key(std::vector<std::byte>(size, std::byte{0}));
  if (auto done = read_exactly(file, key.bytes_, 0, name); !done)
    return fail(std::move(done).error());
  return key;
}

Key::~Key() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

Result<Digest> header_mac(const Key& key, format::Header header) {
  std::memset(header.mac, 0, sizeof header.mac);
  std::memset(header.header_digest, 0, sizeof header.header_digest);
  Digest mac;
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.bytes().data(), static_cast<int>(key.bytes().size()),
           reinterpret_cast<const unsigned char*>(&header), sizeof header,
           reinterpret_cast<unsigned char*>(mac.data()), &size) == nullptr ||
      size != mac.size())
    return fail("libcrypto: HMAC-SHA256 failed");
  return mac;
}

bool same_mac(const Digest& mac, const format::Header& header) {
  return CRYPTO_memcmp(mac.data(), header.mac, mac.size()) == 0;
}

}  // namespace clonesafe::snapshot
