#include "vmm_device/kvm/vcpu_state.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace clonesafe::kvm {
namespace {

VcpuState sample() {
  VcpuState state;
  state.cpuid.resize(3);
  state.cpuid[2].function = 7;
  state.tsc_khz = 2100000;
  state.run_state.mp_state = 3;
  state.registers.rip = 0xffffffff81000000;
  state.system_registers.cr3 = 0x1234000;
  state.extended_control.nr_xcrs = 1;
  state.xsave.assign(4096, std::byte{0x11});
  state.debug_registers.dr7 = 0x400;
  state.local_apic.regs[32] = 5;
  state.msrs = {{.index = 0x10, .reserved = 0, .data = 99}};
  state.events.nmi.masked = 1;
  return state;
}

std::vector<std::byte> encoded(const VcpuState& state) {
  StateEncoder encoder;
  encode(encoder, state);
  return encoder.take();
}

TEST(VcpuStateCodec, ComesBackAsItWas) {
  const auto bytes = encoded(sample());
  StateDecoder decoder("vcpu 0", bytes);
  const auto state = decode_vcpu(decoder);
  ASSERT_TRUE(state) << state.error().message();
  EXPECT_EQ(state->registers.rip, 0xffffffff81000000);
  EXPECT_EQ(state->cpuid.size(), 3u);
  EXPECT_EQ(state->msrs.front().data, 99u);
  EXPECT_EQ(encoded(*state), bytes);
}

TEST(VcpuStateCodec, RefusesEveryTruncation) {
  const auto bytes = encoded(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    StateDecoder decoder("vcpu 0", std::span(bytes).first(size));
    ASSERT_FALSE(decode_vcpu(decoder)) << size;
  }
}

TEST(VcpuStateCodec, RefusesCountsThatAreTooLarge) {
  auto bytes = encoded(sample());
  bytes[2] = std::byte{0xff};  // the CPUID entries' count
  StateDecoder decoder("vcpu 0", bytes);
  const auto state = decode_vcpu(decoder);
  ASSERT_FALSE(state);
  EXPECT_NE(state.error().message().find("CPUID entries"), std::string::npos);
}

TEST(OrderedMsrs, TscComesFirstAndItsDeadlineLast) {
  const std::vector<std::uint32_t> list = {0x6e0, 0x174, 0x10, 0x40000000, 0x4b564d01};
  const auto msrs = ordered_msrs(list);
  EXPECT_EQ(msrs.front(), 0x10u);
  EXPECT_EQ(msrs.back(), 0x6e0u);
  EXPECT_EQ(std::ranges::count(msrs, 0x4b564d01u), 1);
  for (std::uint32_t index = 0x4b564d00; index <= 0x4b564dff; ++index)
    EXPECT_EQ(std::ranges::count(msrs, index), 1) << std::hex << index;
  EXPECT_EQ(std::ranges::count(msrs, 0x40000000u), 0) << "Hyper-V's are not the guest's";
}

std::uint64_t value_of(const VcpuState& state, std::uint32_t index) {
  const auto found = std::ranges::find(state.msrs, index, &kvm_msr_entry::index);
  return found == state.msrs.end() ? ~std::uint64_t{0} : found->data;
}

VcpuState with_deadline(std::uint64_t deadline) {
  VcpuState state = sample();
  state.msrs.push_back({.index = 0x6e0, .reserved = 0, .data = deadline});
  return state;
}

TEST(SettleTime, TscIsThatOfTheCommonInstant) {
  VcpuState state = with_deadline(5000);
  settle_time(state, 1234);
  EXPECT_EQ(saved_tsc(state), 1234u);
  EXPECT_EQ(value_of(state, 0x6e0), 5000u) << "a deadline that is set stays";
}

TEST(SettleTime, WithoutACommonInstantTheTscStays) {
  VcpuState state = with_deadline(5000);
  settle_time(state, std::nullopt);
  EXPECT_EQ(saved_tsc(state), 99u);
}

TEST(SettleTime, AnExpiredDeadlineIsArmedAtTheTscItIsMeasuredIn) {
  VcpuState state = with_deadline(0);
  settle_time(state, 1234);
  EXPECT_EQ(value_of(state, 0x6e0), 1234u);
}

TEST(SettleTime, NoTscNoDeadlineNoHarm) {
  VcpuState state;
  settle_time(state, 1234);
  EXPECT_TRUE(state.msrs.empty());
  EXPECT_FALSE(saved_tsc(state));
}

}  // namespace
}  // namespace clonesafe::kvm
