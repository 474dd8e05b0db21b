#include "guest_agent/network/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>

namespace clonesafe::agent {
namespace {

// The kernel fills no more than this with one answer.
constexpr std::size_t kAnswerSize = 64U << 10;
constexpr int kMostTries = 5;

std::optional<std::span<const std::uint8_t>> find_attribute(std::span<const std::uint8_t> bytes,
                                                            std::uint16_t type) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr attribute = {};
    std::memcpy(&attribute, bytes.data(), sizeof(attribute));
    if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > bytes.size()) return std::nullopt;
    if ((attribute.nla_type & NLA_TYPE_MASK) == type)
      return bytes.subspan(NLA_HDRLEN, attribute.nla_len - NLA_HDRLEN);
    bytes = bytes.subspan(std::min<std::size_t>(NLA_ALIGN(attribute.nla_len), bytes.size()));
  }
  return std::nullopt;
}

// An acknowledgement of zero is success.
Status outcome_of(const nlmsghdr& header, std::span<const std::uint8_t> payload,
                  std::string_view what) {
  nlmsgerr answer = {};
  if (payload.size() < sizeof(answer)) return fail(std::string(what) + ": an answer cut short");
  std::memcpy(&answer, payload.data(), sizeof(answer));
  if (answer.error == 0) return {};
  std::string place(what);
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
    const auto text = find_attribute(payload.subspan(sizeof(answer)), NLMSGERR_ATTR_MSG);
    if (text && !text->empty())
      place += " (" + std::string(text->begin(), text->end() - 1) + ")";  // without its zero byte
  }
  return fail_errno(place, -answer.error);
}

}  // namespace

void NetlinkRequest::append(const void* data, std::size_t size) {
  const auto* const bytes = static_cast<const std::uint8_t*>(data);
  payload_.insert(payload_.end(), bytes, bytes + size);
  payload_.resize(NLMSG_ALIGN(payload_.size()));
}

void NetlinkRequest::add(std::uint16_t attribute, std::span<const std::uint8_t> value) {
  const nlattr header = {.nla_len = static_cast<std::uint16_t>(NLA_HDRLEN + value.size()),
                         .nla_type = attribute};
  append(&header, sizeof(header));
  append(value.data(), value.size());
}

void NetlinkRequest::add(std::uint16_t attribute, std::uint32_t value) {
  add(attribute, {reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)});
}

std::optional<std::span<const std::uint8_t>> NetlinkMessage::attribute(std::size_t header_size,
                                                                       std::uint16_t which) const {
  const std::size_t at = NLMSG_ALIGN(header_size);
  if (payload.size() < at) return std::nullopt;
  return find_attribute(std::span(payload).subspan(at), which);
}

std::optional<std::uint32_t> NetlinkMessage::number(std::size_t header_size,
                                                    std::uint16_t which) const {
  const auto bytes = attribute(header_size, which);
  std::uint32_t number = 0;
  if (!bytes || bytes->size() < sizeof(number)) return std::nullopt;
  std::memcpy(&number, bytes->data(), sizeof(number));
  return number;
}

Result<Netlink> Netlink::open() {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return fail_errno("rtnetlink socket");
  // Refusals with the kernel's explanation, and without the request.
  const int on = 1;
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK}) {
    if (::setsockopt(fd.get(), SOL_NETLINK, option, &on, sizeof(on)) != 0)
      return fail_errno("rtnetlink socket: option " + std::to_string(option));
  }
  return Netlink(std::move(fd));
}

Status Netlink::order(const NetlinkRequest& request, std::string_view what) {
  auto done = exchange(request, NLM_F_ACK, what);
  if (!done) return fail(std::move(done.error()));
  return {};
}

Result<std::vector<NetlinkMessage>> Netlink::list(const NetlinkRequest& request,
                                                  std::string_view what) {
  for (int tries = 1;; ++tries) {
    auto messages = exchange(request, NLM_F_DUMP, what);
    if (messages || messages.error().error_number() != EINTR || tries == kMostTries)
      return messages;
  }
}

Result<std::vector<NetlinkMessage>> Netlink::exchange(const NetlinkRequest& request,
                                                      std::uint16_t more_flags,
                                                      std::string_view what) {
  const nlmsghdr header = {
      .nlmsg_len = static_cast<std::uint32_t>(NLMSG_HDRLEN + request.payload().size()),
      .nlmsg_type = request.type(),
      .nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | more_flags | request.flags()),
      .nlmsg_seq = ++sequence_};
  std::vector<std::uint8_t> bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  bytes.insert(bytes.end(), request.payload().begin(), request.payload().end());
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return fail_errno(what);

  std::vector<NetlinkMessage> messages;
  bool changed_meanwhile = false;
  bytes.resize(kAnswerSize);
  for (;;) {
    const ssize_t received = ::recv(fd_.get(), bytes.data(), bytes.size(), MSG_TRUNC);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return fail_errno(what);
    if (static_cast<std::size_t>(received) > bytes.size())
      return fail(std::string(what) + ": an answer of " + std::to_string(received) + " bytes");
    std::span<const std::uint8_t> rest(bytes.data(), static_cast<std::size_t>(received));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr answer = {};
      std::memcpy(&answer, rest.data(), sizeof(answer));
      if (answer.nlmsg_len < NLMSG_HDRLEN || answer.nlmsg_len > rest.size())
        return fail(std::string(what) + ": an answer cut short");
      const auto payload = rest.subspan(NLMSG_HDRLEN, answer.nlmsg_len - NLMSG_HDRLEN);
      rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(answer.nlmsg_len), rest.size()));
      if (answer.nlmsg_seq != sequence_) continue;
      changed_meanwhile = changed_meanwhile || (answer.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (answer.nlmsg_type == NLMSG_ERROR) {
        if (auto outcome = outcome_of(answer, payload, what); !outcome)
          return fail(std::move(outcome.error()));
        return messages;
      }
      if (answer.nlmsg_type == NLMSG_DONE) {
        if (changed_meanwhile) return fail_errno(what, EINTR);
        return messages;
      }
      messages.push_back({.type = answer.nlmsg_type, .payload = {payload.begin(), payload.end()}});
    }
  }
}

}  // namespace clonesafe::agent
