// network: gives the interfaces of a running machine other addresses, by rtnetlink and without
// taking a link down, which would cost it its routes and neighbours.
#ifndef CLONESAFE_GUEST_AGENT_NETWORK_NETLINK_H_
#define CLONESAFE_GUEST_AGENT_NETWORK_NETLINK_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

// One message to the kernel: a header of its type, then attributes.
class NetlinkRequest {
 public:
  template <typename Header>
  NetlinkRequest(std::uint16_t type, std::uint16_t flags, const Header& header)
      : type_(type), flags_(flags) {
    append(&header, sizeof(header));
  }
  void add(std::uint16_t attribute, std::span<const std::uint8_t> value);
  void add(std::uint16_t attribute, std::uint32_t value);

  std::uint16_t type() const { return type_; }
  std::uint16_t flags() const { return flags_; }
  const std::vector<std::uint8_t>& payload() const { return payload_; }

 private:
  // With the padding that the next part needs.
  void append(const void* data, std::size_t size);

  std::uint16_t type_;
  std::uint16_t flags_;
  std::vector<std::uint8_t> payload_;
};

// One message of the kernel's.
struct NetlinkMessage {
  std::uint16_t type = 0;
  std::vector<std::uint8_t> payload;

  // Zeros, if the message is too short for one.
  template <typename Header>
  Header header() const {
    Header header = {};
    if (payload.size() >= sizeof(header)) std::memcpy(&header, payload.data(), sizeof(header));
    return header;
  }
  // Behind a header of `header_size` bytes.
  std::optional<std::span<const std::uint8_t>> attribute(std::size_t header_size,
                                                         std::uint16_t which) const;
  std::optional<std::uint32_t> number(std::size_t header_size, std::uint16_t which) const;
};

// A socket to the kernel's rtnetlink, of the network namespace of the thread that opens it. What
// changes anything needs CAP_NET_ADMIN.
class Netlink {
 public:
  static Result<Netlink> open();

  // Has the kernel do it. An error begins with `what` and has the kernel's own explanation.
  Status order(const NetlinkRequest& request, std::string_view what);
  // A list of the kernel's, whole: one that changed while it was read is read again.
  Result<std::vector<NetlinkMessage>> list(const NetlinkRequest& request, std::string_view what);

 private:
  explicit Netlink(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<std::vector<NetlinkMessage>> exchange(const NetlinkRequest& request,
                                               std::uint16_t more_flags, std::string_view what);

  UniqueFd fd_;
  std::uint32_t sequence_ = 0;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_NETWORK_NETLINK_H_
