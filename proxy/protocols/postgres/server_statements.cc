#include "proxy/protocols/postgres/server_statements.h"

#include <utility>

namespace clonesafe::proxy::postgres {

ServerStatements::Known ServerStatements::use(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return Known::kNo;
  const auto entry = found->second;
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->confirmed || entry->group == group_ ? Known::kYes : Known::kMaybe;
}

bool ServerStatements::use_unnamed(const std::shared_ptr<const Statement>& statement) const {
  return unnamed_ == statement && (unnamed_confirmed_ || unnamed_group_ == group_);
}

void ServerStatements::parse(const std::string& name) {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    entries_.push_front({.name = name});
    found = by_name_.emplace(name, entries_.begin()).first;
  }
  found->second->group = group_;
  found->second->confirmed = false;
}

void ServerStatements::parse_unnamed(std::shared_ptr<const Statement> statement) {
  unnamed_ = std::move(statement);
  unnamed_group_ = group_;
  unnamed_confirmed_ = false;
}

void ServerStatements::parsed(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) found->second->confirmed = true;
}

void ServerStatements::parsed_unnamed(const std::shared_ptr<const Statement>& statement) {
  if (unnamed_ == statement) unnamed_confirmed_ = true;
}

void ServerStatements::doubt_all() {
  unnamed_.reset();
  for (Entry& entry : entries_) {
    entry.confirmed = false;
    entry.group = 0;
  }
}

void ServerStatements::doubt(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  found->second->confirmed = false;
  found->second->group = 0;
}

std::optional<std::string> ServerStatements::evict() {
  if (entries_.size() <= kLimit) return std::nullopt;
  std::string name = std::move(entries_.back().name);
  by_name_.erase(name);
  entries_.pop_back();
  return name;
}

}  // namespace clonesafe::proxy::postgres
