#include "vmm_device/machine/serial.h"

#include <gtest/gtest.h>

#include <string>

namespace clonesafe {
namespace {

struct CountingLine : InterruptLine {
  void raise() override { ++raised; }
  int raised = 0;
};

class SerialTest : public testing::Test {
 protected:
  std::uint8_t in(std::uint64_t offset) {
    std::byte value{0xff};
    serial_.read(offset, {&value, 1});
    return std::to_integer<std::uint8_t>(value);
  }
  void out(std::uint64_t offset, std::uint8_t value) {
    const std::byte byte{value};
    serial_.write(offset, {&byte, 1});
  }
  static std::vector<std::byte> bytes(const std::string& text) {
    const auto view = std::as_bytes(std::span(text));
    return {view.begin(), view.end()};
  }

  CountingLine line_;
  std::string sent_;
  Serial serial_{line_, [this](std::span<const std::byte> data) {
                   sent_.append(reinterpret_cast<const char*>(data.data()), data.size());
                 }};
};

TEST_F(SerialTest, SendsWhatTheGuestWrites) {
  for (const char c : std::string("hello")) out(0, static_cast<std::uint8_t>(c));
  EXPECT_EQ(sent_, "hello");
  EXPECT_EQ(line_.raised, 0) << "no interrupt was enabled";
}

TEST_F(SerialTest, TransmitterIsAlwaysEmpty) {
  EXPECT_EQ(in(5) & 0x60, 0x60);
}

TEST_F(SerialTest, EnablingTheTransmitInterruptRaisesIt) {
  out(1, 2);
  EXPECT_EQ(line_.raised, 1);
  EXPECT_EQ(in(2) & 0x0f, 2);
  EXPECT_EQ(in(2) & 0x0f, 1) << "reading the id clears it";
}

TEST_F(SerialTest, ReceivesBytesWithAnInterrupt) {
  out(1, 1);
  EXPECT_EQ(serial_.receive(bytes("ab")), 2u);
  EXPECT_EQ(line_.raised, 1);
  EXPECT_EQ(in(2) & 0x0f, 4);
  EXPECT_EQ(in(5) & 1, 1);
  EXPECT_EQ(in(0), 'a');
  EXPECT_EQ(line_.raised, 2) << "an edge for what is left";
  EXPECT_EQ(in(0), 'b');
  EXPECT_EQ(in(5) & 1, 0);
}

TEST_F(SerialTest, TakesNoMoreThanItHasRoomFor) {
  EXPECT_EQ(serial_.receive(std::vector<std::byte>(100)), 64u);
  EXPECT_EQ(serial_.receive(std::vector<std::byte>(1)), 0u);
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterruptEnable) {
  out(3, 0x83);
  out(0, 1);
  out(1, 0);
  EXPECT_EQ(in(0), 1);
  out(3, 0x03);
  EXPECT_EQ(sent_, "");
  EXPECT_EQ(in(1), 0);
}

TEST_F(SerialTest, LoopbackReturnsDataAndModemLines) {
  out(4, 0x1a);  // loopback, out2, request to send
  EXPECT_EQ(in(6) & 0xf0, 0x90) << "as the kernel's probe expects it";
  out(0, 'x');
  EXPECT_EQ(sent_, "");
  EXPECT_EQ(in(0), 'x');
}

TEST_F(SerialTest, WideAccessesAreIgnored) {
  std::byte wide[4] = {};
  serial_.write(0, wide);
  EXPECT_EQ(sent_, "");
}

TEST_F(SerialTest, RestoredLineRaisesWhatWasPending) {
  out(1, 1);
  serial_.receive(bytes("q"));
  const auto state = serial_.save();

  CountingLine line;
  Serial restored(line, [](auto) {});
  ASSERT_TRUE(restored.restore(state));
  EXPECT_EQ(line.raised, 1);
  std::byte value{};
  restored.read(0, {&value, 1});
  EXPECT_EQ(value, std::byte{'q'});
  EXPECT_EQ(restored.save().size(), state.size() - 1);
}

TEST_F(SerialTest, RefusesEveryTruncationOfItsState) {
  serial_.receive(bytes("abc"));
  auto state = serial_.save();
  for (std::size_t size = 0; size < state.size(); ++size)
    EXPECT_FALSE(serial_.restore(std::span(state).first(size))) << size;
  state.push_back(std::byte{0});
  EXPECT_FALSE(serial_.restore(state));
}

}  // namespace
}  // namespace clonesafe
