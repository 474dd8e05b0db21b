// Programs that give secrets, and what becomes of their processes.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_COMMAND_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_COMMAND_FIXTURE_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "proxy/program/start_commands.h"
#include "tests/unit/proxy/process_memory.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {

// For what has to come.
inline constexpr std::chrono::seconds kLong{20};

// A shell script; gives its path.
std::string make_script(const Folder& folder, const std::string& name, const std::string& text);

CommandConfig command_of(std::vector<std::string> words,
                         Milliseconds timeout = Milliseconds(20'000));
// The process that runs these.
std::shared_ptr<const Commands> start(std::vector<CommandConfig> commands,
                                      const std::string& user = {});

// "sleep" of a time that no other process sleeps for.
std::string unique_sleep();
// How many processes have this in their command line; those that have ended have none.
int running(const std::string& command_line);
// One that has ended, waited for or not, is not alive.
bool is_alive(pid_t process);
// A line of /proc/PID/status.
std::string status_of(pid_t process, const std::string& name);
std::vector<std::string> descriptors_of(pid_t process);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_COMMAND_FIXTURE_H_
