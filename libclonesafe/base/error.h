// base: the error type and the owners of file descriptors and mappings that every part uses.
// Nothing here knows of guests, hosts or clones; it needs only libc and the C++ library.
#ifndef CLONESAFE_BASE_ERROR_H_
#define CLONESAFE_BASE_ERROR_H_

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace clonesafe {

// What went wrong, in one line that names what was tried and on which object. Errors from outside
// (guest, host, file, peer, configuration, command line) are values of this type, never assertions.
class [[nodiscard]] Error {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}

  // "<what>: <text of `error_number`>".
  static Error from_errno(std::string_view what, int error_number = errno) {
    Error error(std::string(what) + ": " + std::generic_category().message(error_number));
    error.error_number_ = error_number;
    return error;
  }

  const std::string& message() const { return message_; }
  // The errno behind the error, 0 if there is none.
  int error_number() const { return error_number_; }

  // The same error seen from one level higher: "<context>: <message>".
  Error within(std::string_view context) && {
    message_.insert(0, std::string(context) + ": ");
    return std::move(*this);
  }

 private:
  std::string message_;
  int error_number_ = 0;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

// `return fail("memory of 3 MiB is too small");`
inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected<Error>(Error(std::move(message)));
}
inline std::unexpected<Error> fail_errno(std::string_view what, int error_number = errno) {
  return std::unexpected<Error>(Error::from_errno(what, error_number));
}
// Passes a lower error on, optionally with the context it happened in.
inline std::unexpected<Error> fail(Error error) {
  return std::unexpected<Error>(std::move(error));
}
inline std::unexpected<Error> fail(Error error, std::string_view context) {
  return std::unexpected<Error>(std::move(error).within(context));
}

}  // namespace clonesafe

#endif  // CLONESAFE_BASE_ERROR_H_
