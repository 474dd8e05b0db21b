#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_H_

#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::proxy {

// A TCP segment as it was on the wire.
struct Segment {
  bool from_guest = false;
  std::string packet;  // with its IP header
  std::size_t tcp_at = 0;
  std::uint16_t source = 0;
  std::uint16_t destination = 0;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint8_t hops = 0;  // TTL
  std::string payload;

  bool fin() const { return (flags & 0x01) != 0; }
  bool syn() const { return (flags & 0x02) != 0; }
  bool rst() const { return (flags & 0x04) != 0; }
  std::uint16_t guest_port() const { return from_guest ? source : destination; }
  std::uint16_t peer_port() const { return from_guest ? destination : source; }
  std::uint32_t next_seq() const {
    return seq + static_cast<std::uint32_t>(payload.size()) + (syn() ? 1u : 0u) + (fin() ? 1u : 0u);
  }
};

// The only link between two network namespaces, the guest's and that of its peers: every packet
// goes through the test's hands.
class Wire {
 public:
  static constexpr const char* kGuest4 = "10.8.0.1";
  static constexpr const char* kPeer4 = "10.8.0.2";
  static constexpr const char* kGuest6 = "fd00:8::1";
  static constexpr const char* kPeer6 = "fd00:8::2";

  // This thread, and those that it starts, are in the guest from here on. One in a process.
  static Wire& get();
  ~Wire();

  // Sockets of peers are made by this.
  template <typename Make>
  auto at_peer(const Make& make) {
    go_to(peers_);
    auto made = make();
    go_to(guest_);
    return made;
  }

  // All that was seen so far: what the stacks answer at once is in it.
  std::size_t mark();
  std::vector<Segment> since(std::size_t mark);
  // As if nothing was seen.
  void forget();
  // Waits until there is such a segment.
  bool wait_for(const std::function<bool(const Segment&)>& what, std::size_t mark = 0);
  // These are seen, and do not arrive. nullptr: all arrive.
  void lose(std::function<bool(const Segment&)> what);
  // As if it came from the other end.
  void deliver(bool to_guest, const std::string& packet);

 private:
  Wire();
  void go_to(const UniqueFd& space) const;
  void carry();
  void pass(bool from_guest, const std::string& packet);

  UniqueFd guest_, peers_;  // namespaces
  UniqueFd guest_device_, peer_device_;
  UniqueFd guest_marker_, peer_marker_;

  std::mutex mutex_;
  std::condition_variable news_;
  std::vector<Segment> seen_;
  std::function<bool(const Segment&)> lost_;
  std::uint32_t marker_ = 0;
  std::uint32_t marker_from_guest_ = 0;
  std::uint32_t marker_from_peer_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

// The segment that the sender of `last` would send next.
std::string next_segment(const Segment& last, std::uint32_t seq, std::uint32_t ack,
                         const std::string& payload);

// Blocking sockets of either family, in the namespace of the thread.
UniqueFd listen_at_host(const std::string& host, int& port);
UniqueFd connect_to_host(const std::string& host, int port);
// In progress afterwards.
UniqueFd begin_connect(const std::string& host, int port);
std::uint16_t own_port(const UniqueFd& fd);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_H_
