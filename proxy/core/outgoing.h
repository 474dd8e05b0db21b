#ifndef CLONESAFE_PROXY_CORE_OUTGOING_H_
#define CLONESAFE_PROXY_CORE_OUTGOING_H_

#include <functional>
#include <string>
#include <string_view>

namespace clonesafe::proxy {

// What goes on of an input that is cut into pieces, to be written at once: a view of the input
// where that is in one piece, and a copy elsewhere.
class Outgoing {
 public:
  explicit Outgoing(std::string_view input) : input_(input) {}

  void add(std::string_view bytes) {
    if (bytes.empty()) return;
    const bool inside = !std::less<>{}(bytes.data(), input_.data()) &&
                        !std::less<>{}(input_.data() + input_.size(), bytes.data() + bytes.size());
    if (copied_.empty() && inside) {
      if (run_.empty()) {
        run_ = bytes;
        return;
      }
      if (run_.data() + run_.size() == bytes.data()) {
        run_ = {run_.data(), run_.size() + bytes.size()};
        return;
      }
    }
    if (copied_.empty()) copied_ = run_;
    copied_ += bytes;
  }
  std::string_view bytes() const { return copied_.empty() ? run_ : std::string_view(copied_); }

 private:
  std::string_view input_;
  std::string_view run_;
  std::string copied_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_OUTGOING_H_
