#include "vmm_device/supervisor/clone_process.h"

#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <ctime>

#include "vmm_device/supervisor/text.h"

namespace clonesafe::supervisor {

namespace json = boost::json;

std::uint64_t monotonic_us() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // can't fail with this clock
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

void CloneEvents::loaded(std::span<const std::byte, 16> vm_generation_id, std::uint64_t generation,
                         std::uint64_t at_us) {
  send(json::serialize(json::object{{"event", "loaded"},
                                    {"vm_generation_id", hex(vm_generation_id)},
                                    {"generation", hex(generation)},
                                    {"at_us", at_us}}));
}

void CloneEvents::running(std::uint64_t at_us) {
  send(json::serialize(json::object{{"event", "running"}, {"at_us", at_us}}));
}

void CloneEvents::first_exit(std::uint64_t at_us) {
  send(json::serialize(json::object{{"event", "first_exit"}, {"at_us", at_us}}));
}

void CloneEvents::safe(const std::string& state, const std::vector<Repair>& repairs,
                       std::uint64_t at_us, std::optional<HeldByClone> held) {
  json::array list;
  for (const Repair& repair : repairs)
    list.push_back(json::object{{"name", printable(repair.name)},
                                {"result", printable(repair.result)},
                                {"us", repair.us},
                                {"detail", printable(repair.detail)}});
  json::object event{{"event", "safe"},
                     {"state", printable(state)},
                     {"repairs", std::move(list)},
                     {"at_us", at_us}};
  if (held) {
    for (const auto& [name, count] : held->named()) event[name] = *count;
  }
  send(json::serialize(event));
}

void CloneEvents::ended(bool ok, const std::string& reason) {
  send(
      json::serialize(json::object{{"event", "ended"}, {"ok", ok}, {"reason", printable(reason)}}));
}

void CloneEvents::send(const std::string& line) {
  const std::string text = line + "\n";
  // Lines may be longer than what a pipe takes in one piece.
  const std::lock_guard lock(mutex_);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t put = ::write(fd_, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return;
    done += static_cast<std::size_t>(put);
  }
}

}  // namespace clonesafe::supervisor
