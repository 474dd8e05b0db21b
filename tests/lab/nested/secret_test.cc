// What cs_secret_alloc promises, on a real guest: the secret is in no file and in no clone.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

// A program that keeps a secret (secret_holder.cc), as `name`.
struct Holder {
  std::string name;

  void start(const Guest& guest, const std::string& kind, const std::string& environment) const {
    guest.get("mkfifo /tmp/" + name + ".ask /tmp/" + name + ".answer");
    guest.get(environment + " secret_holder /tmp/" + name + ".ask /tmp/" + name + ".answer " +
              kind + " </dev/null >/tmp/" + name + ".log 2>&1 &");
  }
  std::string ask(const Guest& guest, const std::string& question) const {
    return guest.get("echo " + question + " >/tmp/" + name + ".ask; cat /tmp/" + name +
                     ".answer || cat /tmp/" + name + ".log");
  }
};

std::string member(const std::string& state, const std::string& name) {
  const auto at = state.find(name + "=");
  if (at == std::string::npos) return "(no " + name + " in '" + state + "')";
  const auto start = at + name.size() + 1;
  return state.substr(start, state.find(' ', start) - start);
}

std::string bytes_of(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

// What `show` tells.
struct Values {
  std::string secret;
  std::string ordinary;
};
Values shown(const Holder& holder, const Guest& guest) {
  const std::string text = holder.ask(guest, "show");
  EXPECT_EQ(text.size(), 129u) << text;
  return {bytes_of(text.substr(0, 64)),
          bytes_of(text.substr(std::min<std::size_t>(65, text.size())))};
}

// Holes are left out: all that they could hold is zeros.
bool file_holds(const fs::path& path, std::string_view bytes) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto size = static_cast<off_t>(fs::file_size(path));
  void* mapped =
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, file.get(), 0);
  EXPECT_NE(mapped, MAP_FAILED) << path;
  if (mapped == MAP_FAILED) return false;
  bool found = false;
  for (off_t data = 0; !found && data < size;) {
    data = ::lseek(file.get(), data, SEEK_DATA);
    if (data < 0) break;
    const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    found = ::memmem(static_cast<const char*>(mapped) + data, static_cast<std::size_t>(hole - data),
                     bytes.data(), bytes.size()) != nullptr;
    data = hole;
  }
  ::munmap(mapped, static_cast<std::size_t>(size));
  return found;
}

// Half of the value is as bad as all of it.
bool holds(const fs::path& snapshot, const std::string& value) {
  EXPECT_EQ(value.size(), 32u);
  for (const auto& entry : fs::directory_iterator(snapshot))
    for (const std::size_t at : {0UZ, 16UZ})
      if (file_holds(entry.path(), std::string_view(value).substr(at, 16))) return true;
  return false;
}

class SecretTest : public CloneTest {
 protected:
  void take(const Guest& guest, const std::string& name, const std::vector<std::string>& options) {
    auto taken = guest.snapshot(scratch_ / name, options);
    ASSERT_TRUE(taken) << taken.error().message();
    ASSERT_EQ(taken->status, 0) << taken->output;
  }
  // The clone has what is ordinary, and of the secret nothing but the place for a new one.
  void expect_empty(const Guest& guest, const std::string& source_state) {
    const std::string state = covered_.ask(guest, "state");
    EXPECT_EQ(member(state, "covered"), "1");
    EXPECT_EQ(member(state, "zero"), "1");
    EXPECT_EQ(member(state, "ordinary"), member(source_state, "ordinary"));
    const std::string twin = twin_.ask(guest, "state");
    EXPECT_EQ(member(twin, "zero"), "0");
  }

  const Holder covered_{"covered"};
  // The twin: the same memory, but no agent and no VMM know of it.
  const Holder twin_{"twin"};
  const std::vector<std::string> wait_ = {"--timeout", "110", "--wait", "safe"};
};

TEST_F(SecretTest, NoSnapshotAndNoCloneHoldsASecret) {
  auto vm = boot({.arguments = {"--track-dirty"}, .cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  covered_.start(source, "covered", "");
  twin_.start(source, "any", "CLONESAFE_AGENT_SOCKET=/nowhere");
  const std::string state = covered_.ask(source, "state");
  EXPECT_EQ(member(state, "covered"), "1") << source.get("clonesafectl status --json");
  EXPECT_EQ(member(state, "zero"), "0");
  EXPECT_EQ(member(twin_.ask(source, "state"), "covered"), "0");
  take(source, "whole", {});
  take(source, "layer", {"--diff", scratch_ / "whole"});

  auto options = wait_;
  options.emplace_back("--track-dirty");
  auto restored = Restored::restore(scratch_ / "layer", scratch_ / "clones", 1, options);
  ASSERT_TRUE(restored);
  const Guest clone = restored->guest(1);
  expect_empty(clone, state);
  // The clone's own new secret is in none of its snapshots either.
  EXPECT_EQ(member(covered_.ask(clone, "renew"), "zero"), "0");
  take(clone, "clones_layer", {"--diff", scratch_ / "layer"});
  auto forked = Restored::fork(scratch_ / "source/api", scratch_ / "forks", 1, wait_);
  ASSERT_TRUE(forked);
  expect_empty(forked->guest(1), state);

  // The source has all of it still; only now is it told.
  EXPECT_EQ(covered_.ask(source, "state"), state);
  const Values old = shown(covered_, source);
  const Values twin = shown(twin_, source);
  const Values renewed = shown(covered_, clone);
  for (const char* name : {"whole", "layer", "clones_layer"}) {
    SCOPED_TRACE(name);
    EXPECT_FALSE(holds(scratch_ / name, old.secret));
    EXPECT_FALSE(holds(scratch_ / name, renewed.secret));
  }
  EXPECT_TRUE(holds(scratch_ / "whole", old.ordinary));
  EXPECT_TRUE(holds(scratch_ / "whole", twin.secret));
  EXPECT_TRUE(holds(scratch_ / "clones_layer", renewed.ordinary));
}

// A program that ends leaves nothing behind, and its page stops no snapshot: also not while no
// agent is there, and not once the next one is.
TEST_F(SecretTest, EndOfTheProgramOrTheAgentStopsNoSnapshotAndLeaksNothing) {
  auto vm = boot({.cmdline = kNoProbes});
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  const Holder gone{"gone"};
  covered_.start(source, "covered", "");
  gone.start(source, "covered", "");
  const std::string state = covered_.ask(source, "state");
  EXPECT_EQ(member(gone.ask(source, "state"), "covered"), "1");
  source.get("kill -9 $(pidof clonesafed)");
  source.get("kill -9 $(ps | grep 'secret_holder /tmp/gone' | grep -v grep | awk '{print $1}')");
  take(source, "no_agent", {});

  source.get("clonesafed --config /etc/clonesafe/agent.toml </dev/null >/run/again.log 2>&1 &");
  EXPECT_TRUE(eventually(Seconds(20), [&] {
    return source.get("ls /run/clonesafe/secrets | wc -l") == "1";
  })) << source.get("clonesafectl status --json; cat /run/again.log");
  take(source, "next_agent", {});
  EXPECT_EQ(covered_.ask(source, "state"), state);
  const Values values = shown(covered_, source);
  for (const char* name : {"no_agent", "next_agent"})
    EXPECT_FALSE(holds(scratch_ / name, values.secret)) << name;
  EXPECT_TRUE(holds(scratch_ / "next_agent", values.ordinary));
}

}  // namespace
}  // namespace clonesafe::lab
