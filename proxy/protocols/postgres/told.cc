#include "proxy/protocols/postgres/told.h"

#include "proxy/protocols/postgres/conversation.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/server_messages.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace pg = wire::postgres;

}  // namespace

std::string Told::news_of(const Settings& settings, const Shared::Key& own) {
  std::string news;
  if (!welcomed_) pg::append_authentication_ok(news);
  for (const auto& [name, value] : settings) {
    std::string& told = settings_[name];
    if (welcomed_ && told == value) continue;
    told = value;
    const pg::Parameter parameter{.name = name, .value = value};
    static_cast<void>(pg::append_parameter_status(news, parameter));
  }
  take_options();
  if (!welcomed_) {
    const pg::BackendKeyData key{.process = own.process, .key = own.key};
    static_cast<void>(pg::append_backend_key_data(news, key));
    pg::append_ready_for_query(news, TransactionStatus::kIdle);
    welcomed_ = true;
  }
  return news;
}

void Told::set(std::string_view name, std::string_view value) {
  settings_[std::string(name)] = value;
  take_options();
}

std::string_view Told::value(const char* name) const {
  const auto found = settings_.find(name);
  return found == settings_.end() ? std::string_view() : std::string_view(found->second);
}

void Told::take_options() {
  options_.standard_conforming_strings = value("standard_conforming_strings") != "off";
  options_.encoding = pg::sql_encoding(value("client_encoding"), value("server_encoding"));
  shadow_.reports_date_style(value("DateStyle"));
}

}  // namespace clonesafe::proxy::postgres
