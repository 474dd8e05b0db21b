#include "proxy/secrets/commands.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <charconv>

#include "proxy/core/within.h"
#include "proxy/secrets/command_helper.h"
#include "proxy/secrets/request.h"
#include "proxy/secrets/wiped_buffer.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;
using wire::scram::SecretText;

// For its turn, and its end: beyond the command's own time.
constexpr Milliseconds kMargin{2'000};

struct SocketPair {
  UniqueFd mine, theirs;
};
Result<SocketPair> make_pair(int type) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno("socketpair");
  return SocketPair{.mine = UniqueFd(ends[0]), .theirs = UniqueFd(ends[1])};
}

Status wait_until_ready(const UniqueFd& socket) {
  std::array<char, 512> text{};
  ssize_t count = 0;
  do {
    count = ::recv(socket.get(), text.data(), text.size(), 0);
  } while (count < 0 && errno == EINTR);
  const std::string_view told(text.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
  if (told == kCommandsReady) return {};
  return fail(told.empty() ? "it has ended" : std::string(told));
}

Result<SecretText> parse_answer(std::string_view answer) {
  const std::size_t end = answer.substr(0, kMaxAnswerLine).find('\n');
  if (end == std::string_view::npos) return fail("the process that runs it gave no answer");
  const std::string_view line = answer.substr(0, end);
  if (!line.starts_with(kAnswered)) return fail(std::string(line));
  const std::string_view output = answer.substr(end + 1);
  std::size_t size = 0;
  const auto [last, error] =
      std::from_chars(line.data() + kAnswered.size(), line.data() + line.size(), size);
  if (error != std::errc() || last != line.data() + line.size() || size != output.size())
    return fail("the process that runs it gave half an answer");
  return SecretText(output);
}

Awaitable<Result<SecretText>> receive(Loop& loop, UniqueFd from) {
  asio::posix::stream_descriptor descriptor(loop.io(), from.release());
  boost::system::error_code error;
  descriptor.non_blocking(true, error);
  WipedBuffer answer(kMaxAnswerLine + kMaxCommandOutput);
  while (!error && !answer.full()) {
    const ssize_t count = answer.read(descriptor.native_handle());
    if (count == 0) co_return parse_answer(answer.view());
    if (count > 0 || errno == EINTR) continue;
    if (errno != EAGAIN) co_return fail_errno("the process that runs it");
    const auto [failed] = co_await descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                                         asio::as_tuple(asio::use_awaitable));
    error = failed;
  }
  co_return fail(error ? error.message() : "the process that runs it gave too much");
}

}  // namespace

Result<std::unique_ptr<Commands>> Commands::start(std::vector<CommandConfig> commands,
                                                  const std::function<Status()>& give_up) {
  auto pair = make_pair(SOCK_SEQPACKET);
  if (!pair) return fail(pair.error());
  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) return fail_errno("fork");
  if (process == 0) {
    pair->mine.reset();
    serve_commands(std::move(pair->theirs), commands, give_up, parent);
  }
  pair->theirs.reset();
  std::unique_ptr<Commands> started(
      new Commands(std::move(commands), std::move(pair->mine), process));
  if (auto ready = wait_until_ready(started->socket_); !ready)
    return fail(ready.error(), "the process that runs commands");
  return started;
}

Commands::~Commands() {
  socket_.reset();
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Commands::knows(const CommandConfig& command) const {
  return std::ranges::find(commands_, command) != commands_.end();
}

Result<UniqueFd> Commands::ask(const CommandConfig& command) const {
  const auto known = std::ranges::find(commands_, command);
  if (known == commands_.end()) return fail("it wasn't there when the proxy was started");
  auto pair = make_pair(SOCK_STREAM);
  if (!pair) return fail(pair.error());
  const auto number = static_cast<std::uint32_t>(known - commands_.begin());
  if (auto sent = send_request(socket_.get(), number, pair->theirs.get()); !sent)
    return fail(sent.error());
  return std::move(pair->mine);
}

Awaitable<Result<SecretText>> Commands::run(Loop& loop, const CommandConfig& command) const {
  auto answer = ask(command);
  if (!answer) co_return fail(answer.error());
  co_return co_await within(loop, command.timeout + kMargin, receive(loop, std::move(*answer)));
}

}  // namespace clonesafe::proxy
