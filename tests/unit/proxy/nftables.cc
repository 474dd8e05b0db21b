#include "tests/unit/proxy/nftables.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

std::string path_of(Transparent kind) {
  return std::string(CLONESAFE_NFTABLES_DIR) +
         (kind == Transparent::kRedirect ? "/redirect.nft" : "/tproxy.nft");
}

int run(const std::string& command) {
  auto program = support::ChildProcess::start({.command = {"sh", "-c", command}});
  return program ? program->wait(std::chrono::seconds(20)).value_or(-1) : -1;
}

// What is between a line's `begin` and its end.
std::vector<std::string> rests_of_lines(const std::string& path, const std::string& begin) {
  std::vector<std::string> rests;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(begin)) rests.push_back(line.substr(begin.size()));
  }
  return rests;
}

}  // namespace

void install(const Rules& rules) {
  std::string ports, listeners;
  for (const auto& [port, listener] : rules.ports) {
    const std::string comma = ports.empty() ? "" : ", ";
    ports += comma + std::to_string(port);
    listeners += comma + std::to_string(port) + " : " + std::to_string(listener);
  }
  const std::vector<std::pair<std::string, std::string>> values = {
      {"networks", "{ " + rules.networks + " }"},
      {"networks6", "{ " + rules.networks6 + " }"},
      {"ports", "{ " + ports + " }"},
      {"listeners", "{ " + listeners + " }"},
      {"own", std::to_string(rules.mark)}};
  const Folder folder;
  std::size_t changed = 0;
  {
    std::ifstream shipped(path_of(rules.kind));
    std::ofstream ours(folder / "rules");
    for (std::string line; std::getline(shipped, line);) {
      for (const auto& [name, value] : values) {
        const std::string begin = "define " + name + " = ";
        if (!line.starts_with(begin)) continue;
        line = begin + value;
        ++changed;
      }
      ours << line << "\n";
    }
  }
  ASSERT_EQ(changed, values.size());
  ASSERT_EQ(run("nft -f " + (folder / "rules")), 0);
  // Those that the file tells of.
  for (const std::string& command : rests_of_lines(path_of(rules.kind), "#   ip "))
    ASSERT_EQ(run("ip " + command), 0) << command;
}

void remove_rules(Transparent kind) {
  EXPECT_EQ(run("nft delete table inet clonesafe_proxy"), 0);
  for (std::string command : rests_of_lines(path_of(kind), "#   ip ")) {
    const std::size_t add = command.find("rule add");
    if (add == std::string::npos) continue;
    EXPECT_EQ(run("ip " + command.replace(add, 8, "rule del")), 0);
  }
}

}  // namespace clonesafe::proxy
