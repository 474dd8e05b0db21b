// std::format of the identifiers, and the public headers, with clang's C++ library: GCC 12's has no
// <format>. Built by format_libcxx_test.sh.
#include <cstdio>
#include <format>
#include <string>

#include "clonesafe/clonesafe.hpp"
#include "clonesafe/hooks.hpp"
#include "clonesafe/ids.hpp"
#include "clonesafe/values.hpp"

namespace {

int failures = 0;

void expect(const std::string& is, const std::string& should_be) {
  if (is == should_be) return;
  std::fprintf(stderr, "'%s', not '%s'\n", is.c_str(), should_be.c_str());
  ++failures;
}

}  // namespace

int main() {
  const std::string uuid_text = "0190163d-8694-739b-aea5-966c26f8ad91";
  const auto uuid = clonesafe::Uuid::from_string(uuid_text).value();
  expect(std::format("{}", uuid), uuid_text);
  expect(std::format("<{:>40}>", uuid), "<    " + uuid_text + ">");
  expect(std::format("{:.8}", uuid), "0190163d");
  const std::string ulid_text = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const auto ulid = clonesafe::Ulid::from_string(ulid_text).value();
  expect(std::format("{:*^30}", ulid), "**" + ulid_text + "**");
  const auto made = clonesafe::Uuid::v7();
  expect(std::format("{}", made), made.to_string());
  return failures == 0 ? 0 : 1;
}
