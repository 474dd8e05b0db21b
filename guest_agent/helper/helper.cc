#include "guest_agent/helper/helper.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "guest_agent/base/elapsed.h"
#include "guest_agent/base/log.h"
#include "guest_agent/helper/messages.h"
#include "guest_agent/helper/run_program.h"
#include "guest_agent/helper/trim_memory.h"
#include "guest_agent/hooks/hook_folder.h"

namespace clonesafe::agent {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kLongestPacket = std::size_t{64} * 1024;

bool answer(int socket, const HelperAnswer& answer) {
  const std::string packet = to_packet(answer);
  return ::send(socket, packet.data(), packet.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(packet.size());
}

std::string detail_of(const ProgramEnd& end) {
  if (end.error.empty()) return end.last_line;
  return end.last_line.empty() ? end.error : end.error + ": " + end.last_line;
}

std::vector<std::string> environment_of(const RunHooks& run) {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "LANG=C.UTF-8",
          "CLONESAFE_PHASE=" + std::string(name_of(run.phase)),
          "CLONESAFE_CAUSE=" + run.cause,
          "CLONESAFE_GENERATION=" + run.generation,
          "CLONESAFE_RESEED_EPOCH=" + run.reseed_epoch,
          "CLONESAFE_RESTORE_ID=" + run.restore_id};
}

RepairResult run_hook(const HookProgram& hook, const RunHooks& run, Clock::time_point end_of_all,
                      int socket) {
  RepairResult result = {.name = "hook " + hook.name, .outcome = Outcome::kFailed};
  if (!hook.refused.empty()) {
    result.detail = hook.path + " " + hook.refused;
    return result;
  }
  const auto start = Clock::now();
  if (start >= end_of_all) {
    result.detail = "not started: the time for all hooks is over";
    return result;
  }
  const ProgramEnd end = run_program({.path = hook.path,
                                      .environment = environment_of(run),
                                      .deadline = std::min(start + run.each, end_of_all),
                                      .cancel_fd = socket});
  if (end.error.empty()) result.outcome = Outcome::kOk;
  result.us = microseconds_since(start);
  result.detail = detail_of(end);
  return result;
}

// Whether the agent has something to say, or is gone: what runs is not wanted any more.
bool agent_calls(int socket) {
  char first = 0;
  const ssize_t size = ::recv(socket, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT);
  return size >= 0 || (errno != EAGAIN && errno != EINTR);
}

void run_hooks(int socket, const std::string& folder, std::uint64_t id, const RunHooks& run) {
  const auto end_of_all = Clock::now() + run.all;
  const auto programs = list_hook_programs(folder, run.phase);
  if (!programs) {
    (void)answer(socket, {.id = id,
                          .result = RepairResult{.name = "hooks",
                                                 .outcome = Outcome::kFailed,
                                                 .detail = programs.error().message()}});
    return;
  }
  for (const HookProgram& program : *programs) {
    const RepairResult result = run_hook(program, run, end_of_all, socket);
    if (agent_calls(socket) || !answer(socket, {.id = id, .result = result})) return;
  }
}

// False: the agent wants something else.
bool sleep_unless_called(int socket, std::chrono::milliseconds time) {
  pollfd wait = {.fd = socket, .events = POLLIN, .revents = 0};
  const auto end = Clock::now() + time;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return true;
    const int ready = ::poll(&wait, 1, static_cast<int>(left));
    if (ready > 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

void trim(int socket, std::uint64_t id, const TrimMemory& request) {
  trim_memory(
      request, {},
      [&](const RepairResult& result) {
        return answer(socket, {.id = id, .result = result}) && !agent_calls(socket);
      },
      [socket](std::chrono::milliseconds time) { return sleep_unless_called(socket, time); });
}

// Until the agent is gone.
void serve_agent(int socket, const std::string& hook_folder) {
  std::vector<char> packet(kLongestPacket);
  for (;;) {
    const ssize_t size = ::recv(socket, packet.data(), packet.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    const auto request = parse_helper_request({packet.data(), static_cast<std::size_t>(size)});
    if (!request) return log_error(request.error().message());
    if (std::holds_alternative<CancelRun>(request->what)) continue;
    if (const auto* const run = std::get_if<RunHooks>(&request->what))
      run_hooks(socket, hook_folder, request->id, *run);
    if (const auto* const memory = std::get_if<TrimMemory>(&request->what))
      trim(socket, request->id, *memory);
    if (std::holds_alternative<PowerOff>(request->what) && ::reboot(RB_POWER_OFF) != 0)
      log_error(Error::from_errno("power off").message());
    if (!answer(socket, {.id = request->id, .result = {}})) return;
  }
}

}  // namespace

Result<UniqueFd> start_helper(const std::string& hook_folder) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno("socketpair for the helper process");
  UniqueFd ours(ends[0]);
  UniqueFd helpers(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork of the helper process");
  if (pid > 0) return ours;

  ours.reset();
  ::prctl(PR_SET_NAME, "clonesafed-help");
  // Asked to stop, the agent's end is what tells this process.
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) std::signal(signal, SIG_IGN);
  serve_agent(helpers.get(), hook_folder);
  ::_exit(0);
}

}  // namespace clonesafe::agent
