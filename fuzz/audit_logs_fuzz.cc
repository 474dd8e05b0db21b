// What a guest under audit hands out, and its memory, as any guest might: the collector's answer,
// the cut in the memory image, and the logs. The input is split at its first "CUT\n".
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "tests/audit/core/analysis.h"
#include "tests/audit/core/collection.h"
#include "tests/audit/core/cut.h"

using namespace clonesafe::audit;

namespace {

void check(const Collection& collection, std::string_view answer) {
  std::size_t total = 0;
  for (const auto& [name, bytes] : collection.files) {
    total += bytes.size();
    // Names become paths below the audit's folder.
    if (name.starts_with('/') || name.find("..") != std::string::npos) std::abort();
  }
  if (total > answer.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kCut = "CUT\n";
  const std::size_t split = input.find(kCut);
  const std::string_view answer = input.substr(0, split);
  const std::string_view memory =
      split == std::string_view::npos ? std::string_view() : input.substr(split + kCut.size());

  const auto collection = parse_collection(answer);
  if (collection) check(*collection, answer);
  const auto cuts = find_cuts(std::as_bytes(std::span(memory)));
  if (!collection || !cuts) return 0;
  const std::vector<Machine> machines = {{"parent", false, *collection},
                                         {"clone 1", true, *collection}};
  const auto findings = analyse(*cuts, machines);
  if (!findings) return 0;
  for (const ProbeFinding& finding : *findings) {
    if (finding.duplicates > finding.samples) std::abort();
  }
  return 0;
}
