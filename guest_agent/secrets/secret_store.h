#ifndef CLONESAFE_GUEST_AGENT_SECRETS_SECRET_STORE_H_
#define CLONESAFE_GUEST_AGENT_SECRETS_SECRET_STORE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest_agent/control/host_messages.h"
#include "guest_agent/core/agent.h"
#include "guest_agent/secrets/secret_files.h"
#include "guest_agent/secrets/secret_pins.h"

namespace clonesafe::agent {

struct SecretStatus {
  std::size_t pages = 0;     // that the host keeps out of snapshots
  bool host_covers = false;  // whether the host that is connected does so
  std::string problem;       // why none can be had; empty if they can
};

// The agent's secret pages. One is given to a program only when the host has answered that it keeps
// it out of every snapshot, and the host forgets it only when no program has it and it is zeros.
//
// The host always gets the whole list, so that whatever went astray between the two (a restore in
// the middle of a message, an agent that died) is right again with the next list. Single-threaded.
class SecretStore {
 public:
  static constexpr std::size_t kMostOfUser = 64;  // root may have all
  static constexpr std::chrono::milliseconds kLook{5000};
  static constexpr std::chrono::milliseconds kPatience{10'000};

  struct Parts {
    std::string folder;
    Result<std::unique_ptr<SecretPins>> pins;
    HostLink& host;
    Timers& timers;
  };
  enum class Refusal { kNotCovered, kLimit };
  struct Refused {
    Refusal why;
    std::string text;
  };
  // The open page, for the program alone.
  using Answer = std::function<void(std::expected<UniqueFd, Refused>)>;

  // Takes over what an earlier agent has left. What keeps it from its work is in the status.
  explicit SecretStore(Parts parts);

  // Once the host has answered, or after kPatience.
  void allocate(uid_t user, Answer answer);

  // Before the agent hears of them: its answer to `prepare` must come after the list.
  void host_said(const HostMessage& message);
  void host_lost();
  // Takes back what no program has any more, and sends the list, with each page as it must be.
  void look();

  SecretStatus status() const;

 private:
  enum class State { kNew, kHeld, kLeaving };
  struct Secret {
    SecretName name;
    State state = State::kNew;
    std::optional<std::size_t> slot;  // none: not pinned, and leaving
    std::uint64_t address = 0;
    Answer waiting;  // of a new one
  };

  void take_over(const SecretName& name);
  Status pin(Secret& secret, int file);
  std::optional<Refused> refuses(uid_t user) const;
  Result<Secret> make(uid_t user);
  bool take_back_unused();
  void send_list();
  void list_is_registered(const SecretsRegistered& answer);
  void give(Secret& secret);
  void release(const Secret& secret);
  // A new secret that will not be given to anybody: it leaves.
  static void give_up(Secret& secret, std::string why);
  void expire(const Id16& nonce);
  void keep_looking();

  std::string problem_;
  std::optional<SecretFiles> files_;
  std::unique_ptr<SecretPins> pins_;
  HostLink& host_;
  Timers& timers_;
  std::vector<Secret> secrets_;
  std::vector<bool> slots_;  // in use

  std::uint64_t host_most_ = 0;  // how many the connected host takes; 0: none
  // The list that the host has not answered yet, and what it held.
  std::uint64_t lists_ = 0;
  std::optional<std::vector<Id16>> sent_;
  bool changed_meanwhile_ = false;
  std::string refused_by_host_;
  bool looking_ = false;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SECRETS_SECRET_STORE_H_
