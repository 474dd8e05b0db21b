#include "vmm_device/net/tcp_segment.h"

#include <gtest/gtest.h>

#include "tests/unit/net/tcp_frame.h"

namespace clonesafe::network {
namespace {

constexpr unsigned kIpv4 = 0x0800, kIpv6 = 0x86dd, kTcp = 6, kUdp = 17;

bool continues(const std::string& frame) {
  return continues_connection(std::as_bytes(std::span(frame)));
}

TEST(TcpSegment, OnlyASynWithoutAckOpensAConnection) {
  for (const unsigned more : {0x00u, 0x08u, 0xc0u}) {  // PSH; ECE and CWR
    const auto flags = [more](unsigned value) { return static_cast<std::uint8_t>(value | more); };
    EXPECT_FALSE(continues(tcp_frame(flags(kTcpSyn))));
    EXPECT_TRUE(continues(tcp_frame(flags(kTcpSyn | kTcpAck))));
    EXPECT_TRUE(continues(tcp_frame(flags(kTcpAck))));
    EXPECT_TRUE(continues(tcp_frame(flags(kTcpAck | kTcpFin))));
    EXPECT_TRUE(continues(tcp_frame(flags(kTcpReset))));
    EXPECT_TRUE(continues(tcp_frame(flags(0))));
  }
}

TEST(TcpSegment, IsFoundBehindTagsAndOptions) {
  const std::string tag = bytes({0x81, 0x00, 0, 7}), outer = bytes({0x88, 0xa8, 0, 7});
  for (const std::string& head :
       {ethernet(kIpv4, tag) + ipv4(kTcp), ethernet(kIpv4, outer + tag) + ipv4(kTcp),
        ethernet(kIpv4) + ipv4(kTcp, 0, 10), ethernet(kIpv6) + ipv6(kTcp),
        ethernet(kIpv6, tag) + ipv6(0) + extension(43) + extension(60, 2) + extension(kTcp, 1),
        ethernet(kIpv6) + ipv6(44) + extension(kTcp)}) {
    EXPECT_TRUE(continues(head + tcp_segment(kTcpAck)));
    EXPECT_FALSE(continues(head + tcp_segment(kTcpSyn)));
  }
}

TEST(TcpSegment, FragmentsBehindTheFirstAreNoSyn) {
  EXPECT_TRUE(continues(ethernet(kIpv4) + ipv4(kTcp, 5) + tcp_segment(kTcpSyn)));
  EXPECT_TRUE(continues(ethernet(kIpv6) + ipv6(44) + extension(kTcp, 0, 8) + tcp_segment(kTcpSyn)));
  EXPECT_FALSE(continues(ethernet(kIpv4) + ipv4(kUdp, 5) + tcp_segment(kTcpAck)));
  EXPECT_FALSE(continues(ethernet(kIpv6) + ipv6(44) + extension(kUdp, 0, 8) + "data"));
  // More fragments follow the first, and the reserved bits of an offset say nothing.
  EXPECT_FALSE(continues(ethernet(kIpv4) + ipv4(kTcp, 0x2000) + tcp_segment(kTcpSyn)));
  EXPECT_FALSE(
      continues(ethernet(kIpv6) + ipv6(44) + extension(kTcp, 0, 7) + tcp_segment(kTcpSyn)));
}

TEST(TcpSegment, EverythingElseIsNone) {
  EXPECT_FALSE(continues(ethernet(kIpv4) + ipv4(kUdp) + tcp_segment(kTcpAck)));
  EXPECT_FALSE(continues(ethernet(kIpv6) + ipv6(58) + tcp_segment(kTcpAck)));
  EXPECT_FALSE(continues(ethernet(kIpv6) + ipv6(59) + tcp_segment(kTcpAck)));
  EXPECT_FALSE(continues(ethernet(0x0806) + ipv4(kTcp) + tcp_segment(kTcpAck)));
  const std::string tag = bytes({0x81, 0x00, 0, 7});
  EXPECT_FALSE(continues(ethernet(kIpv4, tag + tag + tag) + ipv4(kTcp) + tcp_segment(kTcpAck)));
}

TEST(TcpSegment, CutShortIsWhatItBeganAs) {
  const std::string v4 = ethernet(kIpv4) + ipv4(kTcp) + tcp_segment(kTcpSyn);
  for (std::size_t size = 0; size < v4.size(); ++size) {
    // An IPv4 header tells of TCP, and 14 bytes of that of a SYN.
    EXPECT_EQ(continues(v4.substr(0, size)), size >= 34 && size < 48) << size;
  }
  const std::string v6 = ethernet(kIpv6) + ipv6(60) + extension(kTcp) + tcp_segment(kTcpSyn);
  for (std::size_t size = 0; size < v6.size(); ++size)
    EXPECT_EQ(continues(v6.substr(0, size)), size >= 62 && size < 76) << size;
}

}  // namespace
}  // namespace clonesafe::network
