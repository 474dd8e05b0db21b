#ifndef CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_
#define CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_

#include <cstddef>
#include <string_view>

#include "proxy/core/outgoing.h"

namespace clonesafe::proxy::redis {

// An input that goes on as it came, but for some pieces. Keeps no input: that must outlive it.
class Splice {
 public:
  explicit Splice(std::string_view input) : input_(input), out_(input) {}

  std::string_view input() const { return input_; }
  // In the order of the input.
  void replace(std::size_t at, std::size_t size, std::string_view instead) {
    out_.add(input_.substr(done_, at - done_));
    out_.add(instead);
    done_ = at + size;
  }
  // What the first `size` bytes have become; the last call.
  std::string_view until(std::size_t size) {
    out_.add(input_.substr(done_, size - done_));
    return out_.bytes();
  }

 private:
  const std::string_view input_;
  Outgoing out_;
  std::size_t done_ = 0;  // bytes of the input that are in `out_`, or were replaced
};

}  // namespace clonesafe::proxy::redis

#endif  // CLONESAFE_PROXY_PROTOCOLS_REDIS_SPLICE_H_
