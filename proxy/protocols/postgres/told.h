#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_TOLD_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_TOLD_H_

#include <map>
#include <string>
#include <string_view>

#include "proxy/protocols/postgres/shadow.h"
#include "proxy/protocols/postgres/shared.h"

namespace clonesafe::proxy::postgres {

// What an application was told of its servers, and so doesn't have to be told again. Not
// thread-safe.
class Told {
 public:
  using Settings = std::map<std::string, std::string>;

  // It outlives this.
  explicit Told(Shadow& shadow) : shadow_(shadow) {}

  // What there is to tell of a server with these settings: at the login, with the application's own
  // key, or afterwards.
  std::string news_of(const Settings& settings, const Shared::Key& own);
  // A server's ParameterStatus is passed on.
  void set(std::string_view name, std::string_view value);

  bool welcomed() const { return welcomed_; }
  const Settings& settings() const { return settings_; }
  // What the texts of statements mean by that.
  const SqlOptions& options() const { return options_; }

 private:
  std::string_view value(const char* name) const;
  void take_options();

  Shadow& shadow_;
  Settings settings_;
  SqlOptions options_;
  bool welcomed_ = false;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_TOLD_H_
