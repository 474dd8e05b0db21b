#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace clonesafe::proxy::redis {

// An input that goes on as it came, but for some pieces. Copies only if there are such. Keeps no
// input: that must outlive it.
class Splice {
 public:
  explicit Splice(std::string_view input) : input_(input) {}

  std::string_view input() const { return input_; }
  // In the order of the input.
  void replace(std::size_t at, std::size_t size, std::string_view instead) {
    altered_ = true;
    text_ += input_.substr(copied_, at - copied_);
    text_ += instead;
    copied_ = at + size;
  }
  // What the first `size` bytes have become; the last call.
  std::string_view until(std::size_t size) {
    if (!altered_) return input_.substr(0, size);
    text_ += input_.substr(copied_, size - copied_);
    return text_;
  }

 private:
  const std::string_view input_;
  bool altered_ = false;
  std::string text_;
  std::size_t copied_ = 0;  // bytes of the input that are in `text_`, or were replaced
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_
