#include "proxy/tls/sealed_bio.h"

#include <algorithm>
#include <cstring>

namespace clonesafe::proxy {
namespace {

SealedBytes& bytes_of(BIO* bio) {
  return *static_cast<SealedBytes*>(BIO_get_data(bio));
}

int put(BIO* bio, const char* from, std::size_t size, std::size_t* written) {
  const auto bytes = std::as_bytes(std::span(from, size));
  auto& to = bytes_of(bio).to_peer;
  to.insert(to.end(), bytes.begin(), bytes.end());
  *written = size;
  return 1;
}

int get(BIO* bio, char* to, std::size_t size, std::size_t* count) {
  auto& from = bytes_of(bio).from_peer;
  BIO_clear_retry_flags(bio);
  *count = std::min(size, from.size());
  if (*count == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(to, from.data(), *count);
  from = from.subspan(*count);
  return 1;
}

long control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* method() {
  static BIO_METHOD* const made = [] {
    BIO_METHOD* const fresh =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sealed bytes");
    if (fresh == nullptr) return fresh;
    BIO_meth_set_write_ex(fresh, put);
    BIO_meth_set_read_ex(fresh, get);
    BIO_meth_set_ctrl(fresh, control);
    return fresh;
  }();
  return made;
}

}  // namespace

BIO* make_bio(SealedBytes& bytes) {
  if (method() == nullptr) return nullptr;
  BIO* const bio = BIO_new(method());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, &bytes);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace clonesafe::proxy
