#include "vmm_device/machine/snapshot_writer.h"

#include <gmock/gmock.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <latch>

#include "tests/unit/snapshot/fixture.h"

namespace clonesafe {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using testing::IsEmpty;

class SnapshotWriterTest : public snapshot::SnapshotTest {
 protected:
  // A request that stops in the middle of memory until it is let go.
  snapshot::WriteRequest stopped_request() {
    auto request = guest_.request();
    request.progress = [this, first = true](std::uint64_t, std::uint64_t) mutable {
      if (!std::exchange(first, false)) return;
      reached_.count_down();
      go_on_.wait();
    };
    return request;
  }
  // What the io_context does, one thing after the other, until nothing is left.
  void run_until(const bool& flag) {
    io_.restart();  // it stops when there is nothing left to do
    const auto work = asio::make_work_guard(io_);
    while (!flag) io_.run_one();
  }

  asio::io_context io_;
  std::latch reached_{1};
  std::latch go_on_{1};
  SnapshotWriter writer_{io_};
};

TEST_F(SnapshotWriterTest, LeavesTheEventLoopFreeWhileItWrites) {
  bool done = false, answered = false;
  writer_.start(dir(), stopped_request(), [&](const auto& written) {
    EXPECT_TRUE(answered) << "the loop had to wait";
    EXPECT_TRUE(written) << written.error().message();
    done = true;
  });
  reached_.wait();
  EXPECT_TRUE(writer_.busy());
  const auto progress = writer_.progress();
  EXPECT_GT(progress.done, 0u);
  EXPECT_EQ(progress.total, snapshot::SmallGuest::kSize);
  asio::post(io_, [&] { answered = true; });
  run_until(answered);
  EXPECT_FALSE(done);
  go_on_.count_down();
  run_until(done);
  EXPECT_FALSE(writer_.busy());
  EXPECT_TRUE(snapshot::verify(dir()));
}

TEST_F(SnapshotWriterTest, LeavesTheEventLoopFreeWhileItCaptures) {
  bool done = false, answered = false;
  writer_.capture(stopped_request(), [&](const auto& image) {
    EXPECT_TRUE(answered) << "the loop had to wait";
    ASSERT_TRUE(image) << image.error().message();
    EXPECT_TRUE(snapshot::read_image(image->state.get(), image->memory.get()));
    done = true;
  });
  reached_.wait();
  EXPECT_TRUE(writer_.busy());
  EXPECT_GT(writer_.progress().done, 0u);
  asio::post(io_, [&] { answered = true; });
  run_until(answered);
  EXPECT_FALSE(done);
  go_on_.count_down();
  run_until(done);
  EXPECT_THAT(entries(), IsEmpty());
}

TEST_F(SnapshotWriterTest, LeavesNothingOfWhatIsGivenUp) {
  writer_.start(dir(), stopped_request(), [](const auto&) { FAIL() << "it was given up"; });
  reached_.wait();
  writer_.give_up();
  go_on_.count_down();
  writer_.cancel();
  EXPECT_FALSE(writer_.busy());
  io_.poll();
  EXPECT_THAT(entries(), IsEmpty());
}

TEST_F(SnapshotWriterTest, TellsWhyItFailed) {
  std::filesystem::create_directory(dir());
  bool done = false;
  writer_.start(dir(), guest_.request(), [&](const auto& written) {
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().message(), HasSubstr("already exists"));
    done = true;
  });
  run_until(done);
  // And is ready for the next.
  done = false;
  std::filesystem::remove(dir());
  writer_.start(dir(), guest_.request(), [&](const auto& written) {
    EXPECT_TRUE(written);
    done = true;
  });
  run_until(done);
}

}  // namespace
}  // namespace clonesafe
