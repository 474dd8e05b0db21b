#ifndef CLONESAFE_PROXY_SECRETS_WIPED_BUFFER_H_
#define CLONESAFE_PROXY_SECRETS_WIPED_BUFFER_H_

#include <openssl/crypto.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string_view>

namespace clonesafe::proxy {

// What is read from a descriptor, up to a limit. Wiped when it goes, and never anywhere else.
class WipedBuffer {
 public:
  explicit WipedBuffer(std::size_t capacity)
      : capacity_(capacity), bytes_(std::make_unique_for_overwrite<char[]>(capacity)) {}
  ~WipedBuffer() { OPENSSL_cleanse(bytes_.get(), size_); }
  WipedBuffer(const WipedBuffer&) = delete;
  WipedBuffer& operator=(const WipedBuffer&) = delete;

  // One read(2), behind what is there.
  ssize_t read(int fd) {
    const ssize_t count = ::read(fd, bytes_.get() + size_, capacity_ - size_);
    if (count > 0) size_ += static_cast<std::size_t>(count);
    return count;
  }
  bool full() const { return size_ == capacity_; }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  const std::size_t capacity_;
  const std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SECRETS_WIPED_BUFFER_H_
