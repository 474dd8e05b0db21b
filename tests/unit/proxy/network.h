#ifndef CLONESAFE_TESTS_UNIT_PROXY_NETWORK_H_
#define CLONESAFE_TESTS_UNIT_PROXY_NETWORK_H_

#include <chrono>
#include <string>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// An address that is another machine's to the proxy, and this one's in truth.
inline constexpr const char* kFar = "10.9.0.1";

// A network namespace with it and the loopback device alone, for this thread and those that it
// starts. Once in a process.
void enter_network();

// Blocking sockets of what is at the ends.
UniqueFd listen_on(const std::string& host, int& port);
UniqueFd connect_to(const std::string& host, int port);
UniqueFd accept_from(const UniqueFd& listener);
void send_all(const UniqueFd& fd, const std::string& text);
// What is accepted from it can neither be sent much that it doesn't read, nor send much itself.
void have_small_buffers(const UniqueFd& listener);
void give_up_sending_after(const UniqueFd& fd, std::chrono::seconds limit);
// Waits for so many bytes; fewer if there is an end or an error before.
std::string receive(const UniqueFd& fd, std::size_t count);

// What a peer sees of a connection: waits until it sees something.
enum class Seen { kBytes, kEnd, kReset };
Seen wait_for_news(const UniqueFd& fd);
// Whether it sees anything by now.
bool sees_nothing(const UniqueFd& fd);

int peer_port(const UniqueFd& fd);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_NETWORK_H_
