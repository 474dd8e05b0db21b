#include "tests/audit/core/collection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

using Clock = std::chrono::steady_clock;
// A guest is not trusted: an answer has to end somewhere.
constexpr std::size_t kMaxAnswer = std::size_t{256} << 20;
constexpr std::size_t kMaxLine = 256;

// One step through an answer; false at `end`.
struct Parser {
  std::string_view rest;
  Collection collection;

  // Needs more bytes: nullopt-like `incomplete`. Ends: `done`.
  enum class Step { more, incomplete, done };

  Result<Step> step() {
    const std::size_t line_end = rest.find('\n');
    if (line_end == std::string_view::npos) {
      if (rest.size() > kMaxLine) return fail("the collector's answer has a line without an end");
      return Step::incomplete;
    }
    const std::string_view line = rest.substr(0, line_end);
    if (line == "end") return Step::done;
    if (line.starts_with("error "))
      return fail("the collector says: " + std::string(line.substr(6)));
    std::istringstream words{std::string(line)};
    std::string verb, name;
    std::size_t size = 0;
    words >> verb >> name >> size;
    if (!words || verb != "file" || size > kMaxAnswer) {
      return fail("the collector's answer has an unknown line '" + std::string(line) + "'");
    }
    // Names become paths.
    if (name.starts_with('/') || name.find("..") != std::string::npos) {
      return fail("the collector's answer names a file '" + name + "'");
    }
    if (rest.size() - line_end - 1 < size) return Step::incomplete;
    collection.files[name] = rest.substr(line_end + 1, size);
    rest.remove_prefix(line_end + 1 + size);
    return Step::more;
  }
};

Status send_all(int fd, std::string_view text, const std::string& where) {
  while (!text.empty()) {
    const ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (count < 0) return fail_errno("writing to " + where);
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

// Reads some bytes, or fails at the deadline.
Status receive_some(int fd, std::string& bytes, Clock::time_point until, const std::string& where) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
  pollfd wait{fd, POLLIN, 0};
  if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) == 0) {
    return fail(where + ": no whole answer in time (" + std::to_string(bytes.size()) +
                " bytes came)");
  }
  std::array<char, 65536> block;
  const ssize_t count = ::recv(fd, block.data(), block.size(), 0);
  if (count < 0) return fail_errno("reading from " + where);
  if (count == 0) return fail(where + " ended after " + std::to_string(bytes.size()) + " bytes");
  if (bytes.size() > kMaxAnswer) return fail(where + ": the answer is too long");
  bytes.append(block.data(), static_cast<std::size_t>(count));
  return {};
}

}  // namespace

Result<Collection> parse_collection(std::string_view bytes) {
  Parser parser{bytes, {}};
  for (;;) {
    const auto step = parser.step();
    if (!step) return fail(step.error());
    if (*step == Parser::Step::done) return std::move(parser.collection);
    if (*step == Parser::Step::incomplete) return fail("the collector's answer is cut off");
  }
}

Result<Collection> collect(const CollectorAddress& address, const CollectRequest& request) {
  const std::string where = "the collector at " + address.socket.string();
  const auto until = Clock::now() + request.limit;
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string path = address.socket.string();
  if (path.size() >= sizeof name.sun_path)
    return fail("the path " + path + " is too long for a socket");
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
    return fail_errno("connecting to " + where);
  }
  std::string bytes;
  if (address.port != 0) {
    if (auto sent = send_all(fd.get(), "CONNECT " + std::to_string(address.port) + "\n", where);
        !sent) {
      return fail(sent.error());
    }
    while (bytes.find('\n') == std::string::npos) {
      if (auto got = receive_some(fd.get(), bytes, until, where); !got) return fail(got.error());
    }
    if (!bytes.starts_with("OK ")) return fail(where + ": no port " + std::to_string(address.port));
    bytes.erase(0, bytes.find('\n') + 1);
  }
  const std::string line = "collect " + std::to_string(request.draws) + " " +
                           std::to_string(request.wait.count()) + "\n";
  if (auto sent = send_all(fd.get(), line, where); !sent) return fail(sent.error());

  // An answer ends with its own last line, so that a stream that broke is never taken for a short
  // log.
  while (!(bytes.size() >= 4 && bytes.ends_with("end\n")) && !bytes.starts_with("error ")) {
    if (auto got = receive_some(fd.get(), bytes, until, where); !got) return fail(got.error());
  }
  for (;;) {
    auto collection = parse_collection(bytes);
    if (collection || !collection.error().message().ends_with("cut off")) return collection;
    // "end\n" was part of a log.
    if (auto got = receive_some(fd.get(), bytes, until, where); !got) return fail(got.error());
  }
}

Status Collection::save(const std::filesystem::path& folder) const {
  for (const auto& [name, bytes] : files) {
    const auto path = folder / name;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    std::ofstream file(path, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) return fail_errno("writing " + path.string());
  }
  return {};
}

Result<Collection> Collection::load(const std::filesystem::path& folder) {
  Collection collection;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, error)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    if (!file) return fail_errno("reading " + entry.path().string());
    collection.files[std::filesystem::relative(entry.path(), folder).string()] = bytes.str();
  }
  if (error) return fail("reading " + folder.string() + ": " + error.message());
  return collection;
}

}  // namespace clonesafe::audit
