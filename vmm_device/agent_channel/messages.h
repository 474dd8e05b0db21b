#ifndef CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_MESSAGES_H_
#define CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_MESSAGES_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "clonesafe/abi/host_protocol.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/restore_kind.h"
#include "vmm_device/core/guest_memory.h"

// The lines of the host protocol (docs/protocols/host.md), apart from how they travel. What a guest
// sends is checked member by member: lengths, counts and depth are bounded, and text that may reach
// a terminal holds no control characters.
namespace clonesafe::agent_channel {

using RestoreId = std::array<std::uint8_t, 16>;
using Nonce = std::array<std::uint8_t, 16>;

struct Hello {
  std::uint64_t version = 0;
  std::string agent;
  std::string kernel;
};

struct RegisterPage {
  GuestAddress address;
  Nonce nonce{};
};

// The whole list of the guest's secret pages.
struct RegisterSecrets {
  std::string id;
  std::vector<RegisterPage> pages;
};

// One repair, or one step of `prepare`.
struct RepairResult {
  std::string name;
  std::string result;  // "ok", "failed" or "skipped"
  std::string detail;
  std::uint64_t us = 0;
};

struct Prepared {
  std::string id;
  bool ok = false;
  std::string error;
  std::vector<RepairResult> steps;
};

struct SafeReport {
  RestoreId restore_id{};
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  std::string state;  // "safe" or "degraded"
  std::vector<std::string> sources;
  std::vector<RepairResult> repairs;
};

using GuestMessage = std::variant<Hello, RegisterPage, RegisterSecrets, Prepared, SafeReport>;

// A line without its newline. The error says which member is wrong.
Result<GuestMessage> parse_guest_message(std::string_view line);

// What a host tells a machine that has no restore page to read it from.
struct HostFacts {
  std::uint64_t realtime_ns = 0;        // CLOCK_REALTIME now; 0: not told
  std::optional<std::string> metadata;  // the operator's document for this machine, UTF-8
};

// Lines of the host, with their newline. `secret_pages`: how many it keeps out of snapshots; 0:
// none.
std::string welcome_line(std::uint64_t version, std::string_view host, const RestoreId& restore_id,
                         RestoreKind kind, std::uint64_t secret_pages, const HostFacts& facts = {});
std::string registered_line(const Status& status);
std::string secrets_registered_line(std::string_view id, const Status& status);
std::string check_secrets_line();
std::string prepare_line(std::string_view id, std::chrono::milliseconds deadline);
std::string resumed_line(const RestoreId& restore_id, RestoreKind kind);
std::string abort_line(std::string_view id);

// Cuts a stream into lines of at most CLONESAFE_HOST_LINE_MAX bytes with the newline.
class LineReader {
 public:
  void add(std::string_view bytes);
  // The next line, nothing if none is whole yet, or an error if it is too long already. The line
  // is valid until the next call of any function.
  Result<std::optional<std::string_view>> next();

 private:
  std::string buffer_;
  std::size_t start_ = 0;
};

}  // namespace clonesafe::agent_channel

#endif  // CLONESAFE_VMM_DEVICE_AGENT_CHANNEL_MESSAGES_H_
