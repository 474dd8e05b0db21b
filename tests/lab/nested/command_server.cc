// The lab guest's command server: runs a shell command for each vsock connection to port 5001, so
// that a test can look into a guest. A tool of the test images only; it gives whoever reaches the
// port a root shell.
//
// A connection sends one line, and receives the command's output (stdout and stderr), a zero byte,
// and the exit status in decimal.
#include <linux/vm_sockets.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "libclonesafe/base/unique_fd.h"

namespace {

constexpr unsigned kPort = 5001;

std::string read_line(int fd) {
  std::string line;
  char c = 0;
  while (line.size() < 65536 && read(fd, &c, 1) == 1 && c != '\n') line.push_back(c);
  return line;
}

void write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, size);
    if (written <= 0) return;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

void serve(int connection) {
  const std::string command = read_line(connection) + "\n";
  const pid_t child = fork();
  if (child == 0) {
    dup2(connection, STDOUT_FILENO);
    dup2(connection, STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const std::string trailer = std::string(1, '\0') + std::to_string(code);
  write_all(connection, trailer.data(), trailer.size());
}

}  // namespace

int main() {
  clonesafe::UniqueFd listener(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = kPort;
  if (!listener ||
      bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.get(), 16) != 0) {
    perror("command_server: vsock port 5001");
    return 1;
  }
  for (;;) {
    clonesafe::UniqueFd connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) continue;
    const pid_t child = fork();
    if (child == 0) {
      serve(connection.get());
      _exit(0);
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}
