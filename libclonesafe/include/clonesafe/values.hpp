// The C++ view of values.h: PerGeneration<T>, Unique<T> and steps that belong together, with
// exceptions for errors. Header only, C++17.
//
// Thread-, fork- and clone-safety are those of values.h. A PerGeneration may be used by any number
// of threads at a time; a Handle or a Unique is a plain value.
#ifndef CLONESAFE_VALUES_HPP_
#define CLONESAFE_VALUES_HPP_

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "clonesafe/clonesafe.hpp"
#include "clonesafe/values.h"

namespace clonesafe {

// Use of a value of another generation or process: CS_E_STALE.
class StaleValue : public LibraryError {
 public:
  StaleValue() : LibraryError(CS_E_STALE) {}
};

// A T that is made at its first use, and again at the first use in a clone, after a restore or in a
// child of fork: a connection pool, a seeded generator, a key, a worker id, a client.
//
//   clonesafe::PerGeneration<Pool> pool([] { return Pool("db.example"); });
//   auto handle = pool.get();   // keeps this very Pool alive, as a shared_ptr does
//   handle->query(...);
//
// All threads share one T: it must be fit for that, or be in a thread_local PerGeneration.
template <typename T>
class PerGeneration {
 public:
  // Makes a T. May throw; then get() throws that, and the next get() tries again. May use this
  // library, other cells too, but not the same cell (LibraryError with CS_E_BUSY).
  using Factory = std::function<T()>;
  // Ends a T once the last handle on it is gone, on whichever thread that is. `stale`: CS_CHANGED_
  // bits, 0 if it is not. A stale connection must be closed without a word to the peer, who takes
  // it for the source's. Must not throw. By default the T is deleted.
  using Retirement = std::function<void(std::unique_ptr<T> value, int stale)>;

 private:
  struct Box {
    std::shared_ptr<Retirement> retirement;  // may be needed after the PerGeneration is gone
    std::unique_ptr<T> value;
  };

 public:
  // Keeps one T alive, stale or not. A moved-from Handle is empty.
  class Handle {
   public:
    Handle() = default;
    Handle(const Handle& other) noexcept
        : handle_(other.handle_ == nullptr ? nullptr : cs_handle_copy(other.handle_)) {}
    Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Handle& operator=(Handle other) noexcept {
      std::swap(handle_, other.handle_);
      return *this;
    }
    ~Handle() { cs_handle_release(handle_); }

    T* get() const noexcept {
      return handle_ == nullptr ? nullptr
                                : static_cast<Box*>(cs_handle_value(handle_))->value.get();
    }
    T& operator*() const noexcept { return *get(); }
    T* operator->() const noexcept { return get(); }
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    // Whether the next PerGeneration::get() would make another T.
    bool stale() const noexcept { return handle_ != nullptr && cs_handle_stale(handle_) != 0; }
    // The same T for what wants a shared_ptr.
    std::shared_ptr<T> share() const {
      return std::shared_ptr<T>(std::make_shared<Handle>(*this), get());
    }

   private:
    friend class PerGeneration;
    explicit Handle(cs_handle* handle) : handle_(handle) {}
    cs_handle* handle_ = nullptr;
  };

  // `changes`: which changes make a T stale, a sum of CS_CHANGED_ bits.
  explicit PerGeneration(Factory factory, Retirement retirement = nullptr,
                         unsigned changes = CS_CHANGED_GENERATION | CS_CHANGED_FORK)
      : factory_(std::move(factory)),
        retirement_(retirement ? std::make_shared<Retirement>(std::move(retirement)) : nullptr) {
    cell_.changes = changes;
    cell_.release = &release;
  }
  PerGeneration(const PerGeneration&) = delete;
  PerGeneration& operator=(const PerGeneration&) = delete;
  // Handles stay good.
  ~PerGeneration() { cs_cell_clear(&cell_); }

  // The T of this generation. Throws what the factory throws, or LibraryError.
  Handle get() {
    Call call{this, nullptr};
    cs_handle* handle = nullptr;
    const int result = cs_once_per_generation(&cell_, &build, &call, &handle);
    if (call.thrown) std::rethrow_exception(call.thrown);
    if (result != 0) throw LibraryError(result);
    return Handle(handle);
  }
  // Forgets the T: the next get() makes one.
  void reset() noexcept { cs_cell_clear(&cell_); }

 private:
  struct Call {
    PerGeneration* self;
    std::exception_ptr thrown;
  };

  static int build(void* argument, void** value) {
    auto* call = static_cast<Call*>(argument);
    try {
      auto box = std::make_unique<Box>();
      box->retirement = call->self->retirement_;
      box->value.reset(new T(call->self->factory_()));
      *value = box.release();
      return 0;
    } catch (...) {
      call->thrown = std::current_exception();
      return CS_E_INVALID;
    }
  }
  static void release(void* value, int stale, void*) {
    const std::unique_ptr<Box> box(static_cast<Box*>(value));
    if (box->retirement) (*box->retirement)(std::move(box->value), stale);
  }

  Factory factory_;
  std::shared_ptr<Retirement> retirement_;
  cs_cell cell_ = {};
};

// A T that must not be used twice by machines that are clones of each other: a nonce, a token, a
// sequence number, an id that was handed out ahead of time. Its use after a clone, restore or fork
// is an error.
template <typename T>
class Unique {
 public:
  // Calls `make` until nothing changed meanwhile. Throws what it throws, or LibraryError.
  template <typename Make>
  static Unique make(Make&& make) {
    for (int i = 0; i < kTries; ++i) {
      const GenerationStamp since;
      T value = make();
      if (!is_stale(since)) return Unique(std::move(value), since);
    }
    throw LibraryError(CS_E_UNSTABLE);
  }
  // `since` was taken before the value was made.
  Unique(T value, const GenerationStamp& since) : since_(since), value_(std::move(value)) {}
  Unique(Unique&&) = default;
  Unique& operator=(Unique&&) = default;
  Unique(const Unique&) = delete;
  Unique& operator=(const Unique&) = delete;

  bool stale() const noexcept { return is_stale(since_); }
  // The value. Throws StaleValue.
  const T& use() const {
    if (stale()) throw StaleValue();
    return value_;
  }
  // Gives `use` the value and then looks once more, since a snapshot may have fallen into it.
  // Throws StaleValue; if it was thrown after `use` ran, what `use` did must be undone or not be
  // published.
  template <typename Use>
  auto use(Use&& use) const {
    if (stale()) throw StaleValue();
    if constexpr (std::is_void_v<decltype(use(value_))>) {
      use(value_);
      if (stale()) throw StaleValue();
    } else {
      auto result = use(value_);
      if (stale()) throw StaleValue();
      return result;
    }
  }

 private:
  static constexpr int kTries = 8;
  static bool is_stale(const GenerationStamp& since) noexcept {
    return cs_commit(&since.fields()) != 0;
  }

  GenerationStamp since_;
  T value_;
};

// Runs `steps` until a run falls into one generation and process, and returns what that returned.
// `steps` may be run several times, so it publishes nothing: do that with the result. Throws what
// it throws, or LibraryError with CS_E_UNSTABLE after `tries` runs.
template <typename Steps>
auto in_one_generation(Steps&& steps, int tries = 8) {
  for (int i = 0; i < tries; ++i) {
    const GenerationStamp since;
    if constexpr (std::is_void_v<decltype(steps())>) {
      steps();
      if (cs_commit(&since.fields()) == 0) return;
    } else {
      auto result = steps();
      if (cs_commit(&since.fields()) == 0) return result;
    }
  }
  throw LibraryError(CS_E_UNSTABLE);
}

// As cs_instance_id. Throws LibraryError.
inline Uuid instance_id() {
  std::array<unsigned char, 16> id = {};
  if (const int result = cs_instance_id(id.data()); result != 0) throw LibraryError(result);
  return Uuid(id);
}

// As cs_fencing_epoch. Throws LibraryError.
inline std::uint64_t fencing_epoch(std::uint64_t after = 0) {
  std::uint64_t epoch = 0;
  if (const int result = cs_fencing_epoch(after, &epoch); result != 0) throw LibraryError(result);
  return epoch;
}

}  // namespace clonesafe

#endif  // CLONESAFE_VALUES_HPP_
