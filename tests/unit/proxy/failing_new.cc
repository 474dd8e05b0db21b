#include "tests/unit/proxy/failing_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace clonesafe::proxy {
namespace {

std::atomic<bool> fails = false;
std::atomic<std::size_t> to_pass = 0, to_fail = 0, failed = 0;
thread_local bool spared = false;

// Of a count that is not negative.
bool take(std::atomic<std::size_t>& count) {
  std::size_t now = count;
  while (now != 0) {
    if (count.compare_exchange_weak(now, now - 1)) return true;
  }
  return false;
}

bool shall_fail() {
  if (!fails || spared || take(to_pass) || !take(to_fail)) return false;
  ++failed;
  return true;
}

}  // namespace

FailingNew::FailingNew(std::size_t number, std::size_t times) {
  spare_this_thread();
  to_pass = number;
  to_fail = times;
  failed = 0;
  fails = true;
}
FailingNew::~FailingNew() {
  fails = false;
}
void FailingNew::spare_this_thread() {
  spared = true;
}
std::size_t FailingNew::failures() {
  return failed;
}

}  // namespace clonesafe::proxy

void* operator new(std::size_t size, const std::nothrow_t& /*unused*/) noexcept {
  return clonesafe::proxy::shall_fail() ? nullptr : std::malloc(size);
}
void* operator new(std::size_t size) {
  void* const memory = ::operator new(size, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  void* const memory = clonesafe::proxy::shall_fail()
                           ? nullptr
                           : std::aligned_alloc(align, (size + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t& /*unused*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
