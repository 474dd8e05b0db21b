#include "tests/audit/guest/collector.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// After sys/socket.h.
#include <linux/vm_sockets.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

bool write_part(int fd, std::string_view name, std::string_view bytes) {
  return write_all(fd, "file " + std::string(name) + " " + std::to_string(bytes.size()) + "\n") &&
         write_all(fd, bytes);
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string output_of(const char* command) {
  std::string output;
  FILE* pipe = ::popen(command, "re");
  if (pipe == nullptr) return output;
  std::array<char, 4096> block;
  for (std::size_t count; (count = std::fread(block.data(), 1, block.size(), pipe)) > 0;) {
    output.append(block.data(), count);
  }
  ::pclose(pipe);
  return output;
}

bool answer(int fd, Workload& workload, const std::string& request) {
  std::istringstream words(request);
  std::string verb;
  std::uint64_t draws = 0;
  long limit_ms = -1;
  words >> verb >> draws >> limit_ms;
  if (verb != "collect" || !words || limit_ms < 0 || limit_ms > 600'000) {
    return write_all(fd, "error not `collect DRAWS LIMIT_MS`\n");
  }
  // A probe that drew less than it should says so: a comparison of too few values proves little.
  if (const auto status = workload.wait_advanced(draws, std::chrono::milliseconds(limit_ms));
      !status) {
    return write_all(fd, "error " + status.error().message() + "\n");
  }
  if (const auto status = workload.freeze(); !status) {
    (void)workload.thaw();
    return write_all(fd, "error " + status.error().message() + "\n");
  }
  bool sent = true;
  for (std::size_t i = 0; sent && i < workload.size(); ++i) {
    sent = write_part(fd, "log/" + workload.name(i), workload.log(i));
  }
  (void)workload.thaw();
  std::string gone;
  for (const std::string& line : workload.ended()) gone += line + "\n";
  return sent && write_part(fd, "identity/machine-id", first_line("/etc/machine-id")) &&
         write_part(fd, "identity/boot-id", first_line("/proc/sys/kernel/random/boot_id")) &&
         write_part(fd, "identity/hostname", first_line("/proc/sys/kernel/hostname")) &&
         write_part(fd, "identity/uuid", first_line("/proc/sys/kernel/random/uuid")) &&
         write_part(fd, "agent.json", output_of("clonesafectl status --json 2>/dev/null")) &&
         write_part(fd, "ended", gone) && write_all(fd, "end\n");
}

// One request from a stream; false when the stream has ended.
bool serve_one(int fd, Workload& workload) {
  std::string request;
  for (char byte = 0; request.size() < 128;) {
    const ssize_t count = ::read(fd, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    if (byte == '\n') return answer(fd, workload, request);
    request.push_back(byte);
  }
  return false;
}

UniqueFd listen_on_vsock() {
  UniqueFd fd(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = kCollectorPort;
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 4) != 0) {
    fd.reset();
  }
  return fd;
}

UniqueFd open_serial_port() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/virtio-ports", error)) {
    if (first_line((entry.path() / "name").c_str()) == kCollectorDevice) {
      return UniqueFd(
          ::open(("/dev/" + entry.path().filename().string()).c_str(), O_RDWR | O_CLOEXEC));
    }
  }
  return UniqueFd();
}

}  // namespace

Status serve_collections(Workload& workload) {
  const UniqueFd listener = listen_on_vsock();
  const UniqueFd port = open_serial_port();
  if (!listener && !port) {
    return fail("neither vsock nor a virtio-serial port named " + std::string(kCollectorDevice));
  }
  for (;;) {
    std::array<pollfd, 2> waits{pollfd{listener.get(), POLLIN, 0}, pollfd{port.get(), POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return fail_errno("poll");
    if (waits[0].revents != 0) {
      const UniqueFd stream(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      while (stream && serve_one(stream.get(), workload)) {
      }
    }
    if ((waits[1].revents & POLLIN) != 0) {
      serve_one(port.get(), workload);
    } else if (waits[1].revents != 0) {
      // Nobody is at the other end of the port: it says so without pause, so don't ask without
      // pause.
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

}  // namespace clonesafe::audit
