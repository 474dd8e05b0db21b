// Snapshots at random moments of a guest in full motion. As many as CLONESAFE_LAB_SNAPSHOTS says;
// the soak takes 200.
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <iostream>
#include <random>
#include <thread>

#include "tests/lab/nested/state_fixture.h"

namespace clonesafe::lab {
namespace {

int snapshots_to_take() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets it
  const char* text = std::getenv("CLONESAFE_LAB_SNAPSHOTS");
  return text == nullptr ? 2 : std::atoi(text);
}

// How many parts of this test went wrong so far.
int wrong_parts() {
  const auto& result = *testing::UnitTest::GetInstance()->current_test_info()->result();
  int wrong = 0;
  for (int part = 0; part < result.total_part_count(); ++part)
    wrong += result.GetTestPartResult(part).failed() ? 1 : 0;
  return wrong;
}

// The number at the end of a line, 0 if there is none.
std::uint64_t number_of(std::string_view line, std::string_view before = "") {
  std::uint64_t number = 0;
  if (line.starts_with(before))
    std::from_chars(line.data() + before.size(), line.data() + line.size(), number);
  return number;
}

// The other end of `guest_state stream`: numbers from 1 on, none missing, none twice.
class NumberStream {
 public:
  explicit NumberStream(UniqueFd fd)
      : fd_(std::move(fd)), reader_([this](const std::stop_token& stop) { read_all(stop); }) {}

  std::uint64_t last() const { return last_; }
  bool broken() const { return broken_; }

 private:
  void read_all(const std::stop_token& stop) {
    std::string line;
    char buffer[65536];
    while (!stop.stop_requested()) {
      pollfd readable{.fd = fd_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&readable, 1, 100) == 0) continue;
      const ssize_t size = ::read(fd_.get(), buffer, sizeof buffer);
      if (size <= 0) break;
      for (const char c : std::string_view(buffer, static_cast<std::size_t>(size))) {
        if (c != '\n') {
          line.push_back(c);
          continue;
        }
        if (number_of(line) != last_ + 1) return void(broken_ = true);
        ++last_;
        line.clear();
      }
    }
    broken_ = !stop.stop_requested();
  }

  UniqueFd fd_;
  std::atomic<std::uint64_t> last_ = 0;
  std::atomic<bool> broken_ = false;
  std::jthread reader_;  // last, so that it ends first
};

// The whole lines among what a guest wrote to its serial line go on number by number.
void expect_consecutive(const std::string& written) {
  std::istringstream lines(written);
  std::string line;
  std::getline(lines, line);  // a clone's first may have begun before the snapshot
  std::uint64_t last = 0;
  while (std::getline(lines, line) && !lines.eof()) {
    const std::uint64_t number = number_of(line, "serial ");
    if (number == 0) continue;
    EXPECT_EQ(number, last == 0 ? number : last + 1);
    last = number;
  }
  EXPECT_GT(last, 0u) << "nothing on the serial line";
}

class MomentsTest : public StateTest {
 protected:
  static void check_clone(const std::filesystem::path& snapshot,
                          const std::filesystem::path& run_dir, const Counts& before) {
    auto restored = Restored::restore(snapshot, run_dir, 1);
    ASSERT_TRUE(restored);
    auto stream = restored->guest(1).start("guest_state stream");
    ASSERT_TRUE(stream) << stream.error().message();
    const NumberStream numbers(std::move(*stream));
    await_progress(restored->guest(1), before);
    EXPECT_TRUE(support::eventually(Seconds(60), [&] { return numbers.last() > 1000; }));
    EXPECT_FALSE(numbers.broken()) << "after " << numbers.last();
    expect_consecutive(read_file(run_dir / "1/serial.log"));
    restored->process().signal(SIGTERM);
    EXPECT_TRUE(restored->process().wait(Seconds(60)));
  }
};

TEST_F(MomentsTest, NothingIsLostWheneverASnapshotIsTaken) {
  const unsigned seed = std::random_device()();
  std::mt19937 moments(seed);
  auto vm = boot({.cmdline = kNoAgent, .cpus = kProcessors});
  ASSERT_TRUE(vm);
  vm->guest().get("guest_state run " + std::to_string(kProcessors) +
                  " </dev/null >/dev/null 2>&1 &");
  auto stream = vm->guest().start("guest_state stream");
  ASSERT_TRUE(stream) << stream.error().message();
  const NumberStream numbers(std::move(*stream));
  Counts counts = await_progress(vm->guest(), nothing_yet());
  ASSERT_FALSE(HasFailure());

  const int wanted = snapshots_to_take();
  int taken = 0, wrong = 0;
  for (; taken < wanted && !numbers.broken(); ++taken) {
    const int before = wrong_parts();
    const auto snapshot = scratch_ / std::to_string(taken);
    std::this_thread::sleep_for(std::chrono::microseconds(moments() % 500'000));
    ASSERT_NO_FATAL_FAILURE(take(vm->guest(), snapshot, "--resume"));
    const auto verified = lab::run({Lab::get().clonevm, "verify", snapshot.string()}, Seconds(60));
    ASSERT_TRUE(verified);
    EXPECT_EQ(verified->status, 0) << verified->output;
    // Each has the host's processors for itself.
    vm->guest().order("pause");
    check_clone(snapshot, scratch_ / (std::to_string(taken) + ".run"), counts);
    vm->guest().order("resume");
    // The source has gone on: its timers, its interrupts, and the stream that was open all the
    // time.
    const std::uint64_t streamed = numbers.last();
    counts = await_progress(vm->guest(), counts_of(vm->guest()));
    EXPECT_TRUE(support::eventually(Seconds(60), [&] { return numbers.last() > streamed; }));
    if (wrong_parts() != before) ++wrong;
    std::cout << "moments: " << taken + 1 << " of " << wanted << ", wrong: " << wrong << std::endl;
    std::filesystem::remove_all(snapshot);
    std::filesystem::remove_all(scratch_ / (std::to_string(taken) + ".run"));
  }
  EXPECT_FALSE(numbers.broken()) << "after " << numbers.last();
  expect_consecutive(vm->console());
  std::cout << "moments: " << taken << " snapshots, " << wrong << " wrong, seed " << seed
            << std::endl;
}

}  // namespace
}  // namespace clonesafe::lab
