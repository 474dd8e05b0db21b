#include "guest_agent/secrets/secret_store.h"

#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "clonesafe/abi/secret_page.h"
#include "guest_agent/base/log.h"

namespace clonesafe::agent {
namespace {

bool contains(const std::vector<Id16>& nonces, const Id16& nonce) {
  return std::ranges::find(nonces, nonce) != nonces.end();
}

}  // namespace

SecretStore::SecretStore(Parts parts)
    : host_(parts.host), timers_(parts.timers), slots_(CLONESAFE_SECRET_PAGES_MAX) {
  auto files = SecretFiles::open(parts.folder);
  if (files) files_ = std::move(*files);
  if (!files) problem_ = files.error().message();
  if (!parts.pins) problem_ = parts.pins.error().message();
  if (parts.pins) pins_ = std::move(*parts.pins);
  if (files_) {
    auto names = files_->list();
    if (!names) problem_ = names.error().message();
    if (names) std::ranges::for_each(*names, [this](const auto& name) { take_over(name); });
  }
  if (!problem_.empty()) log_warning("no secret memory: " + problem_);
  keep_looking();
}

// Whoever used it when the earlier agent died may have gone since.
void SecretStore::take_over(const SecretName& name) {
  Secret secret = {.name = name, .state = State::kHeld};
  const auto unused = files_->take_back(name);
  Status taken;
  if (!unused) {
    taken = fail(unused.error());
  } else if (*unused) {
    secret.state = State::kLeaving;
  } else if (pins_ == nullptr) {
    taken = fail("nothing pins a page");
  } else {
    auto file = files_->open_page(name);
    taken = file ? pin(secret, file->get()) : Status(fail(std::move(file).error()));
  }
  // Then no list is sent: in the host's old one the page is still there, by name if it has moved.
  if (!taken) problem_ = "a secret page of an earlier agent: " + taken.error().message();
  secrets_.push_back(std::move(secret));
}

Status SecretStore::pin(Secret& secret, int file) {
  const auto free = std::ranges::find(slots_, false);
  if (free == slots_.end()) return fail("no slot is free");
  const auto slot = static_cast<std::size_t>(free - slots_.begin());
  auto address = pins_->pin(slot, file);
  if (!address) return fail(std::move(address).error());
  slots_[slot] = true;
  secret.slot = slot;
  secret.address = *address;
  return {};
}

std::optional<SecretStore::Refused> SecretStore::refuses(uid_t user) const {
  if (!problem_.empty()) return Refused{Refusal::kNotCovered, problem_};
  if (host_most_ == 0)
    return Refused{Refusal::kNotCovered,
                   "no host is connected that keeps secrets out of snapshots"};
  if (secrets_.size() >= std::min<std::uint64_t>(host_most_, CLONESAFE_SECRET_PAGES_MAX))
    return Refused{Refusal::kLimit,
                   fmt::format("the machine has {} secret pages, which is all", secrets_.size())};
  const auto of_user = std::ranges::count_if(
      secrets_, [user](const Secret& secret) { return secret.name.user == user; });
  if (user != 0 && static_cast<std::size_t>(of_user) >= kMostOfUser)
    return Refused{Refusal::kLimit,
                   fmt::format("this user has {} secret pages, which is all", of_user)};
  return std::nullopt;
}

Result<SecretStore::Secret> SecretStore::make(uid_t user) {
  Secret secret = {.name = {.user = user}};
  Id16& nonce = secret.name.nonce;
  if (::getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size()))
    return fail_errno("getrandom");
  auto file = files_->create(secret.name);
  if (!file) return fail(std::move(file).error());
  if (auto pinned = pin(secret, file->get()); !pinned) {
    files_->remove(secret.name);
    return fail(std::move(pinned).error());
  }
  return secret;
}

void SecretStore::allocate(uid_t user, Answer answer) {
  auto refused = refuses(user);
  if (refused && refused->why == Refusal::kLimit && take_back_unused()) send_list();
  if (refused) return answer(std::unexpected(std::move(*refused)));
  auto secret = make(user);
  if (!secret) {
    log_warning("secret page: " + secret.error().message());
    return answer(std::unexpected(Refused{Refusal::kNotCovered, secret.error().message()}));
  }
  secret->waiting = std::move(answer);
  const Id16 nonce = secret->name.nonce;
  secrets_.push_back(std::move(*secret));
  timers_.after(kPatience, [this, nonce] { expire(nonce); });
  keep_looking();
  send_list();
}

void SecretStore::expire(const Id16& nonce) {
  const auto secret =
      std::ranges::find(secrets_, nonce, [](const Secret& each) { return each.name.nonce; });
  if (secret == secrets_.end() || secret->state != State::kNew) return;
  give_up(*secret, "the host did not answer in time");
  send_list();
}

void SecretStore::give_up(Secret& secret, std::string why) {
  secret.state = State::kLeaving;
  std::exchange(secret.waiting, {})(std::unexpected(Refused{Refusal::kNotCovered, std::move(why)}));
}

void SecretStore::host_said(const HostMessage& message) {
  if (const auto* const welcome = std::get_if<Welcome>(&message)) {
    host_most_ = welcome->secret_pages;
    sent_.reset();
    look();
  } else if (const auto* const answer = std::get_if<SecretsRegistered>(&message)) {
    list_is_registered(*answer);
  } else if (std::holds_alternative<CheckSecrets>(message) ||
             (std::holds_alternative<Prepare>(message) && !secrets_.empty())) {
    look();
  }
}

// What the host holds it holds still, in a clone as well. Who waits for an answer goes on waiting.
void SecretStore::host_lost() {
  host_most_ = 0;
  sent_.reset();
}

void SecretStore::look() {
  take_back_unused();
  send_list();
}

bool SecretStore::take_back_unused() {
  bool any = false;
  for (Secret& secret : secrets_) {
    if (secret.state != State::kHeld) continue;
    const auto unused = files_->take_back(secret.name);
    if (!unused) log_error(unused.error().message());
    if (!unused || !*unused) continue;
    secret.state = State::kLeaving;
    any = true;
  }
  return any;
}

void SecretStore::send_list() {
  if (host_most_ == 0 || !problem_.empty()) return;
  if (sent_) {
    changed_meanwhile_ = true;
    return;
  }
  changed_meanwhile_ = false;
  std::vector<Id16> nonces;
  std::vector<PageRegistration> pages;
  for (const Secret& secret : secrets_) {
    if (secret.state == State::kLeaving) continue;
    if (auto written = files_->write_header(secret.name); !written)
      log_error(written.error().message());
    nonces.push_back(secret.name.nonce);
    pages.push_back({.address = secret.address, .nonce = secret.name.nonce});
  }
  sent_ = std::move(nonces);
  host_.send(register_secrets_line(std::to_string(++lists_), pages));
}

void SecretStore::list_is_registered(const SecretsRegistered& answer) {
  if (!sent_ || answer.id != std::to_string(lists_)) return;
  const std::vector<Id16> sent = std::move(*sent_);
  sent_.reset();
  refused_by_host_ = answer.ok ? "" : answer.error;
  if (!answer.ok) log_warning("the host refuses the list of secret pages: " + answer.error);
  for (Secret& secret : secrets_) {
    const bool listed = contains(sent, secret.name.nonce);
    if (secret.state == State::kNew && listed && answer.ok) give(secret);
    if (secret.state == State::kNew && listed && !answer.ok) {
      // It may be what the host refused: the next list is without it.
      give_up(secret, "the host refuses: " + answer.error);
      changed_meanwhile_ = true;
    }
  }
  if (answer.ok) {
    std::erase_if(secrets_, [&](const Secret& secret) {
      const bool forgotten = secret.state == State::kLeaving && !contains(sent, secret.name.nonce);
      if (forgotten) release(secret);
      return forgotten;
    });
  }
  if (changed_meanwhile_) send_list();
}

void SecretStore::release(const Secret& secret) {
  if (secret.slot) {
    pins_->unpin(*secret.slot);
    slots_[*secret.slot] = false;
  }
  files_->remove(secret.name);
}

void SecretStore::give(Secret& secret) {
  auto file = files_->open_for_program(secret.name);
  if (!file) {
    give_up(secret, file.error().message());
    changed_meanwhile_ = true;
    return;
  }
  secret.state = State::kHeld;
  std::exchange(secret.waiting, {})(std::move(*file));
}

// Nothing tells of a program's end, and nothing is lost until it is noticed: the page is covered
// all the while.
void SecretStore::keep_looking() {
  if (looking_ || secrets_.empty()) return;
  looking_ = true;
  timers_.after(kLook, [this] {
    looking_ = false;
    if (take_back_unused() || !refused_by_host_.empty()) send_list();
    keep_looking();
  });
}

SecretStatus SecretStore::status() const {
  const auto held = std::ranges::count(secrets_, State::kHeld, &Secret::state);
  return {.pages = static_cast<std::size_t>(held),
          .host_covers = host_most_ != 0,
          .problem = problem_.empty() ? refused_by_host_ : problem_};
}

}  // namespace clonesafe::agent
