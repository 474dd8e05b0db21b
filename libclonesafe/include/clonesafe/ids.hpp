// The C++ view of ids.h: UUIDs, ULIDs and Snowflakes. Header only, C++17.
//
// Uuid and Ulid are plain values: they compare, hash, stream and format as one expects, and one of
// them must not be changed by two threads at a time. A Snowflake serves all threads at once. Fork-
// and clone-safety are those of the C functions underneath. What can fail throws LibraryError; text
// that is no identifier is not an error but std::nullopt.
#ifndef CLONESAFE_IDS_HPP_
#define CLONESAFE_IDS_HPP_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <ratio>
#include <string>
#include <string_view>
#include <utility>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_format
#include <format>
#endif

#include "clonesafe/error.hpp"
#include "clonesafe/ids.h"

namespace clonesafe {

namespace detail {

inline std::size_t hash_of(const std::array<unsigned char, 16>& bytes) noexcept {
  // Either half alone may be equal in all identifiers of a thread.
  std::uint64_t halves[2];
  std::memcpy(halves, bytes.data(), sizeof(halves));
  return static_cast<std::size_t>((halves[0] ^ halves[0] >> 32) * 0x9e3779b97f4a7c15U ^ halves[1]);
}

// Reads the letters, digits, hyphens and colons that follow, at most `most` of them.
inline std::string read_word(std::istream& in, std::size_t most) {
  std::string word;
  const std::istream::sentry ready(in);
  while (ready && word.size() <= most) {
    const int next = in.peek();
    const bool part = (next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') ||
                      (next >= 'A' && next <= 'Z') || next == '-' || next == ':';
    if (!part) break;
    word.push_back(static_cast<char>(in.get()));
  }
  return word;
}

}  // namespace detail

class Uuid {
 public:
  // In the 100 ns of versions 1 and 6: std::chrono::system_clock may not reach back to 1582.
  using TimePoint =
      std::chrono::time_point<std::chrono::system_clock,
                              std::chrono::duration<std::int64_t, std::ratio<1, 10'000'000>>>;

  constexpr Uuid() = default;  // the nil UUID
  explicit constexpr Uuid(const std::array<unsigned char, 16>& bytes) : bytes_(bytes) {}

  // As cs_uuid4. Throws LibraryError, as do the next ones.
  static Uuid random() { return make(cs_uuid4); }
  static Uuid v1() { return make(cs_uuid1); }
  static Uuid v4() { return make(cs_uuid4); }
  static Uuid v6() { return make(cs_uuid6); }
  static Uuid v7() { return make(cs_uuid7); }
  // As cs_uuid_parse.
  static std::optional<Uuid> from_string(std::string_view text) noexcept {
    Uuid uuid;
    if (cs_uuid_parse(text.data(), text.size(), uuid.bytes_.data()) != 0) return std::nullopt;
    return uuid;
  }

  constexpr const std::array<unsigned char, 16>& bytes() const noexcept { return bytes_; }
  std::string to_string() const {
    char text[37];
    cs_uuid_text(bytes_.data(), text);
    return std::string(text, 36);
  }
  // As cs_uuid_version.
  int version() const noexcept { return cs_uuid_version(bytes_.data()); }
  // Of versions 1, 6 and 7.
  std::optional<TimePoint> time() const noexcept {
    timespec time = {};
    if (cs_uuid_time(bytes_.data(), &time) != 0) return std::nullopt;
    return TimePoint(TimePoint::duration(std::int64_t{time.tv_sec} * 10'000'000 +
                                         std::int64_t{time.tv_nsec} / 100));
  }

  friend bool operator==(const Uuid& a, const Uuid& b) noexcept { return a.bytes_ == b.bytes_; }
  friend bool operator!=(const Uuid& a, const Uuid& b) noexcept { return a.bytes_ != b.bytes_; }
  friend bool operator<(const Uuid& a, const Uuid& b) noexcept { return a.bytes_ < b.bytes_; }
  friend bool operator>(const Uuid& a, const Uuid& b) noexcept { return b < a; }
  friend bool operator<=(const Uuid& a, const Uuid& b) noexcept { return !(b < a); }
  friend bool operator>=(const Uuid& a, const Uuid& b) noexcept { return !(a < b); }
  friend std::ostream& operator<<(std::ostream& out, const Uuid& uuid) {
    return out << uuid.to_string();
  }
  // Sets failbit and leaves `uuid` as it was if what follows is no UUID.
  friend std::istream& operator>>(std::istream& in, Uuid& uuid) {
    const auto read = from_string(detail::read_word(in, 45));
    if (read) {
      uuid = *read;
    } else {
      in.setstate(std::ios::failbit);
    }
    return in;
  }

 private:
  static Uuid make(int (*source)(unsigned char*)) {
    Uuid uuid;
    if (const int result = source(uuid.bytes_.data()); result != 0) throw LibraryError(result);
    return uuid;
  }

  std::array<unsigned char, 16> bytes_ = {};
};

class Ulid {
 public:
  using TimePoint = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

  constexpr Ulid() = default;  // all zeros
  explicit constexpr Ulid(const std::array<unsigned char, 16>& bytes) : bytes_(bytes) {}

  // As cs_ulid. Throws LibraryError.
  static Ulid make() {
    Ulid ulid;
    if (const int result = cs_ulid(ulid.bytes_.data()); result != 0) throw LibraryError(result);
    return ulid;
  }
  // As cs_ulid_parse.
  static std::optional<Ulid> from_string(std::string_view text) noexcept {
    Ulid ulid;
    if (cs_ulid_parse(text.data(), text.size(), ulid.bytes_.data()) != 0) return std::nullopt;
    return ulid;
  }

  constexpr const std::array<unsigned char, 16>& bytes() const noexcept { return bytes_; }
  std::string to_string() const {
    char text[27];
    cs_ulid_text(bytes_.data(), text);
    return std::string(text, 26);
  }
  TimePoint time() const noexcept {
    return TimePoint(
        std::chrono::milliseconds(static_cast<std::int64_t>(cs_ulid_time(bytes_.data()))));
  }

  friend bool operator==(const Ulid& a, const Ulid& b) noexcept { return a.bytes_ == b.bytes_; }
  friend bool operator!=(const Ulid& a, const Ulid& b) noexcept { return a.bytes_ != b.bytes_; }
  friend bool operator<(const Ulid& a, const Ulid& b) noexcept { return a.bytes_ < b.bytes_; }
  friend bool operator>(const Ulid& a, const Ulid& b) noexcept { return b < a; }
  friend bool operator<=(const Ulid& a, const Ulid& b) noexcept { return !(b < a); }
  friend bool operator>=(const Ulid& a, const Ulid& b) noexcept { return !(a < b); }
  friend std::ostream& operator<<(std::ostream& out, const Ulid& ulid) {
    return out << ulid.to_string();
  }
  // Sets failbit and leaves `ulid` as it was if what follows is no ULID.
  friend std::istream& operator>>(std::istream& in, Ulid& ulid) {
    const auto read = from_string(detail::read_word(in, 26));
    if (read) {
      ulid = *read;
    } else {
      in.setstate(std::ios::failbit);
    }
    return in;
  }

 private:
  std::array<unsigned char, 16> bytes_ = {};
};

// Who gives worker ids, see cs_lessor. An exception counts as CS_E_NO_LEASE.
class Lessor {
 public:
  Lessor() = default;
  Lessor(const Lessor&) = delete;
  Lessor& operator=(const Lessor&) = delete;
  virtual ~Lessor() = default;
  // A worker id below `workers` that nobody else has; std::nullopt: none is free now.
  virtual std::optional<cs_lease> acquire(std::uint64_t workers) = 0;
  // `lost`: it isn't ours any more. Free what belongs to it here, and give nothing back.
  virtual void release(const cs_lease& /*lease*/, bool /*lost*/, std::uint64_t /*last_ms*/) {}
};

// A source of Snowflakes, see cs_snowflake_new. It owns its lessor.
class Snowflake {
 public:
  using Config = cs_snowflake_config;
  using Parts = cs_snowflake_parts;
  static constexpr Config default_config() noexcept {
    return {CS_SNOWFLAKE_EPOCH_MS, 41, 10, 12, CS_TIER_NONE, 0};
  }

  // The lessor is a program's own. Throws LibraryError.
  explicit Snowflake(std::unique_ptr<Lessor> lessor, const Config& config = default_config()) {
    if (lessor == nullptr) throw LibraryError(CS_E_INVALID);
    const cs_lessor functions = {lessor.get(), acquire, release, nullptr,
                                 [](void* context) { delete static_cast<Lessor*>(context); }};
    take(functions, config);
    (void)lessor.release();
  }
  // The lessor is a folder of this machine's, see cs_file_lessor. Throws LibraryError.
  explicit Snowflake(const std::string& folder, unsigned flags = 0,
                     const Config& config = default_config()) {
    cs_lessor functions = {};
    adopt(cs_file_lessor(folder.c_str(), flags, &functions), functions, config);
  }
  // The lessor is the operator's document, see cs_metadata_lessor. Throws LibraryError.
  static Snowflake with_metadata(const std::string& folder, const Config& config = default_config(),
                                 const char* document = nullptr) {
    Snowflake snowflake;
    cs_lessor functions = {};
    snowflake.adopt(cs_metadata_lessor(document, folder.c_str(), &functions), functions, config);
    return snowflake;
  }
  Snowflake(Snowflake&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  Snowflake& operator=(Snowflake&& other) noexcept {
    std::swap(source_, other.source_);
    return *this;
  }
  Snowflake(const Snowflake&) = delete;
  Snowflake& operator=(const Snowflake&) = delete;
  ~Snowflake() { cs_snowflake_free(source_); }

  // As cs_snowflake_next. Throws LibraryError, with CS_E_NO_LEASE or CS_E_CLOCK when time is up.
  std::uint64_t next(std::chrono::milliseconds timeout) {
    std::uint64_t id = 0;
    if (const int result = cs_snowflake_next(source_, timeout.count(), &id); result != 0) {
      throw LibraryError(result);
    }
    return id;
  }
  // As cs_snowflake_try: std::nullopt for CS_E_NO_LEASE and CS_E_CLOCK. Throws LibraryError.
  std::optional<std::uint64_t> try_next() {
    std::uint64_t id = 0;
    const int result = cs_snowflake_try(source_, &id);
    if (result == CS_E_NO_LEASE || result == CS_E_CLOCK) return std::nullopt;
    if (result != 0) throw LibraryError(result);
    return id;
  }
  // As cs_snowflake_split.
  static std::optional<Parts> split(std::uint64_t id,
                                    const Config& config = default_config()) noexcept {
    Parts parts = {};
    if (cs_snowflake_split(&config, id, &parts) != 0) return std::nullopt;
    return parts;
  }

 private:
  Snowflake() = default;
  // One of the library's lessors, which is given back if it isn't taken.
  void adopt(int made, const cs_lessor& functions, const Config& config) {
    if (made != 0) throw LibraryError(made);
    try {
      take(functions, config);
    } catch (...) {
      functions.destroy(functions.context);
      throw;
    }
  }
  void take(const cs_lessor& functions, const Config& config) {
    if (const int result = cs_snowflake_new(&config, &functions, &source_); result != 0) {
      throw LibraryError(result);
    }
  }
  static int acquire(void* context, std::uint64_t workers, cs_lease* lease) noexcept {
    try {
      const auto given = static_cast<Lessor*>(context)->acquire(workers);
      if (!given) return CS_E_NO_LEASE;
      *lease = *given;
      return 0;
    } catch (...) {
      return CS_E_NO_LEASE;
    }
  }
  static void release(void* context, const cs_lease* lease, int lost,
                      std::uint64_t last_ms) noexcept {
    try {
      static_cast<Lessor*>(context)->release(*lease, lost != 0, last_ms);
    } catch (...) {
      return;
    }
  }

  cs_snowflake* source_ = nullptr;
};

}  // namespace clonesafe

template <>
struct std::hash<clonesafe::Uuid> {
  std::size_t operator()(const clonesafe::Uuid& uuid) const noexcept {
    return clonesafe::detail::hash_of(uuid.bytes());
  }
};

template <>
struct std::hash<clonesafe::Ulid> {
  std::size_t operator()(const clonesafe::Ulid& ulid) const noexcept {
    return clonesafe::detail::hash_of(ulid.bytes());
  }
};

#ifdef __cpp_lib_format
// With the width, fill and alignment of a string.
template <>
struct std::formatter<clonesafe::Uuid> : std::formatter<std::string_view> {
  template <typename Context>
  auto format(const clonesafe::Uuid& uuid, Context& context) const {
    char text[37];
    cs_uuid_text(uuid.bytes().data(), text);
    return std::formatter<std::string_view>::format(std::string_view(text, 36), context);
  }
};

template <>
struct std::formatter<clonesafe::Ulid> : std::formatter<std::string_view> {
  template <typename Context>
  auto format(const clonesafe::Ulid& ulid, Context& context) const {
    char text[27];
    cs_ulid_text(ulid.bytes().data(), text);
    return std::formatter<std::string_view>::format(std::string_view(text, 26), context);
  }
};
#endif

#endif  // CLONESAFE_IDS_HPP_
