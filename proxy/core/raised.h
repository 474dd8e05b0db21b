#ifndef CLONESAFE_PROXY_CORE_RAISED_H_
#define CLONESAFE_PROXY_CORE_RAISED_H_

namespace clonesafe::proxy {

// A flag that is true as long as this lives, however it ends.
class Raised {
 public:
  explicit Raised(bool& flag) : flag_(flag) { flag_ = true; }
  ~Raised() { flag_ = false; }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

 private:
  bool& flag_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_RAISED_H_
