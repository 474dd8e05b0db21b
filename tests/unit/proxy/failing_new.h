#ifndef CLONESAFE_TESTS_UNIT_PROXY_FAILING_NEW_H_
#define CLONESAFE_TESTS_UNIT_PROXY_FAILING_NEW_H_

#include <cstddef>

namespace clonesafe::proxy {

// This program's operator new, which throws from the allocation of that number on, so many times;
// not on the thread that asked for it.
class FailingNew {
 public:
  static constexpr std::size_t kForEver = static_cast<std::size_t>(-1);

  explicit FailingNew(std::size_t number, std::size_t times = 1);
  ~FailingNew();
  FailingNew(const FailingNew&) = delete;
  FailingNew& operator=(const FailingNew&) = delete;

  static void spare_this_thread();
  // How often it has.
  static std::size_t failures();
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_FAILING_NEW_H_
