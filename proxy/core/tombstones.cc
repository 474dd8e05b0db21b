#include "proxy/core/tombstones.h"

#include <linux/sock_diag.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

namespace clonesafe::proxy {
namespace {

// Of the descriptors; the others are for connections that are used.
constexpr std::size_t kPart = 4;
constexpr std::size_t kMost = 16'384;

std::uint64_t dropped_by(const UniqueFd& socket) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_MEMINFO, info.data(), &size) != 0) return 0;
  return info[SK_MEMINFO_DROPS];
}

}  // namespace

std::size_t Tombstones::limit_for(std::size_t threads) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const auto all = static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, kMost * kPart));
  return all / kPart / std::max<std::size_t>(threads, 1);
}

Farewell Tombstones::bury(int fd, Opener opener) {
  // There is always a descriptor for the next one.
  if (limit_ == 0) return abandon_socket(fd);
  if (standing_.size() >= limit_) remove_oldest();
  // Its own descriptor is given back then.
  auto [how, tombstone] = replace_socket(fd, opener, [this] { spare_ = {}; });
  keep_spare();
  if (tombstone) standing_.push_back({.socket = std::move(tombstone), .since = Clock::now()});
  return how;
}

Farewell Tombstones::leave(int fd, Opener opener) {
  if (standing_.size() + left_.size() >= limit_ || !silence_socket(fd)) return bury(fd, opener);
  left_.push_back({.socket = UniqueFd(fd), .opener = opener});
  return Farewell::kSilent;
}

void Tombstones::bury_left(std::size_t most) {
  for (; most > 0 && !left_.empty(); --most) {
    bury(left_.front().socket.release(), left_.front().opener);
    left_.pop_front();
  }
}

void Tombstones::keep_spare() {
  if (limit_ == 0) return;
  for (UniqueFd& spare : spare_) {
    if (!spare) spare = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
}

void Tombstones::look(Clock::time_point now) {
  keep_spare();
  while (!standing_.empty() && now - standing_.front().since > kStand) remove_oldest();
}

void Tombstones::remove_oldest() {
  dropped_ += dropped_by(standing_.front().socket);
  standing_.pop_front();
}

Tombstones::Counts Tombstones::counts() const {
  Counts counts{.standing = standing_.size(), .dropped = dropped_};
  for (const Tombstone& tombstone : standing_) counts.dropped += dropped_by(tombstone.socket);
  return counts;
}

}  // namespace clonesafe::proxy
