#include "tests/unit/proxy/command_fixture.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

namespace clonesafe::proxy {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::filesystem::path folder_of(pid_t process) {
  return "/proc/" + std::to_string(process);
}

}  // namespace

std::string make_script(const Folder& folder, const std::string& name, const std::string& text) {
  const std::string path = folder / name;
  std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
  std::filesystem::permissions(path, std::filesystem::perms(0755));
  return path;
}

CommandConfig command_of(std::vector<std::string> words, Milliseconds timeout) {
  return {.words = std::move(words), .timeout = timeout};
}

std::shared_ptr<const Commands> start(std::vector<CommandConfig> commands,
                                      const std::string& user) {
  Config config{.user = user};
  for (CommandConfig& command : commands) {
    ServiceConfig& service = config.services.emplace_back();
    service.protocol = Protocol::kPostgres;
    service.postgres.users_command = std::move(command);
  }
  auto started = start_commands(config);
  EXPECT_TRUE(started) << started.error().message();
  return started ? std::move(*started) : nullptr;
}

std::string unique_sleep() {
  std::random_device device;
  return "sleep " + std::to_string(100'000 + device() % 1'000'000) + "." + std::to_string(device());
}

int running(const std::string& command_line) {
  std::string searched = command_line;
  std::ranges::replace(searched, ' ', '\0');
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc"))
    count += text_of(entry.path() / "cmdline").contains(searched) ? 1 : 0;
  return count;
}

bool is_alive(pid_t process) {
  const std::string state = status_of(process, "State");
  return !state.empty() && !state.starts_with("Z") && !state.starts_with("X");
}

std::string status_of(pid_t process, const std::string& name) {
  std::ifstream status(folder_of(process) / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
  }
  return {};
}

std::vector<std::string> descriptors_of(pid_t process) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(process) / "fd"))
    names.push_back(entry.path().filename());
  return names;
}

}  // namespace clonesafe::proxy
