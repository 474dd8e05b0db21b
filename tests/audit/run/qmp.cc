#include "tests/audit/run/qmp.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json.hpp>
#include <chrono>
#include <thread>

namespace clonesafe::audit {
namespace {

namespace json = boost::json;
constexpr int kAnswerLimitMs = 60'000;

// Major and minor, from QEMU's greeting.
Result<std::pair<std::int64_t, std::int64_t>> parse_version(const std::string& greeting) {
  boost::system::error_code error;
  const json::value value = json::parse(greeting, error);
  const json::value* qemu = error ? nullptr : value.find_pointer("/QMP/version/qemu", error);
  if (qemu == nullptr) return fail("QEMU's greeting names no version: " + greeting);
  const json::value* major = qemu->find_pointer("/major", error);
  const json::value* minor = qemu->find_pointer("/minor", error);
  if (major == nullptr || minor == nullptr || !major->is_int64() || !minor->is_int64())
    return fail("QEMU's greeting names no version: " + greeting);
  return std::pair(major->as_int64(), minor->as_int64());
}

}  // namespace

Result<Qmp> Qmp::connect(const std::filesystem::path& socket) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() >= sizeof name.sun_path) return fail("the path " + path + " is too long");
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    return fail_errno("connecting to " + path);
  }
  Qmp qmp(std::move(fd));
  auto greeting = qmp.read_line();
  if (!greeting) return fail(greeting.error());
  auto version = parse_version(*greeting);
  if (!version) return fail(version.error());
  qmp.has_file_migration_ = *version >= std::pair<std::int64_t, std::int64_t>(8, 2);
  if (auto ready = qmp.execute("qmp_capabilities"); !ready) return fail(ready.error());
  return qmp;
}

Result<std::string> Qmp::execute(const std::string& command, const std::string& arguments) {
  const std::string line = R"({"execute":")" + command + R"(","arguments":)" + arguments + "}\n";
  if (::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    return fail_errno("writing to QEMU");
  }
  for (;;) {
    const auto answer = read_line();
    if (!answer) return fail(answer.error());
    boost::system::error_code error;
    const json::value value = json::parse(*answer, error);
    if (error || !value.is_object()) return fail("QEMU's answer is not JSON: " + *answer);
    if (const json::value* result = value.as_object().if_contains("return"))
      return json::serialize(*result);
    if (value.as_object().contains("error"))
      return fail("QEMU refuses " + command + ": " + *answer);
    // An event: not for us.
  }
}

Status Qmp::migrate(const std::string& command, const std::string& uri) {
  if (uri.find_first_of("\"'\\`$&;|()* ", uri.find('/')) != std::string::npos)
    return fail(uri + ": a path that a shell would take apart");
  std::string arguments = R"({"uri":")" + uri + R"("})";
  if (auto asked = execute(command, arguments); !asked) return fail(asked.error());
  return {};
}

Status Qmp::migrate_to(const std::filesystem::path& file) {
  return migrate("migrate", (has_file_migration_ ? "file:" : "exec:cat >") + file.string());
}

Status Qmp::migrate_from(const std::filesystem::path& file) {
  return migrate("migrate-incoming",
                 (has_file_migration_ ? "file:" : "exec:cat <") + file.string());
}

Status Qmp::wait_migrated() {
  for (int turn = 0; turn < 6000; ++turn) {
    const auto answer = execute("query-migrate");
    if (!answer) return fail(answer.error());
    if (answer->find(R"("status":"completed")") != std::string::npos) {
      const auto machine = execute("query-status");
      if (!machine) return fail(machine.error());
      if (machine->find(R"("status":"finish-migrate")") == std::string::npos) return {};
    }
    if (answer->find(R"("status":"failed")") != std::string::npos)
      return fail("the migration failed: " + *answer);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return fail("the migration has not ended in 60 s");
}

Result<std::string> Qmp::read_line() {
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd wait{fd_.get(), POLLIN, 0};
    char block[4096];
    if (::poll(&wait, 1, kAnswerLimitMs) <= 0) return fail("QEMU does not answer");
    const ssize_t count = ::recv(fd_.get(), block, sizeof block, 0);
    if (count <= 0) return fail("QEMU hung up");
    buffer_.append(block, static_cast<std::size_t>(count));
  }
}

}  // namespace clonesafe::audit
