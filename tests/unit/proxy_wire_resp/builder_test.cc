#include "proxy/wire/resp/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/proxy_wire_resp/framing.h"

namespace clonesafe::wire::resp {
namespace {

std::string every_value(Protocol protocol) {
  std::string out;
  append_simple_string(out, "OK");
  append_error(out, "ERR a\r\nb");
  append_integer(out, std::numeric_limits<std::int64_t>::min());
  append_bulk_string(out, "a\r\nb");
  append_null(out, protocol);
  append_boolean(out, protocol, true);
  append_double(out, protocol, 1.5);
  append_double(out, protocol, -std::numeric_limits<double>::infinity());
  append_double(out, protocol, std::numeric_limits<double>::quiet_NaN());
  append_big_number(out, protocol, "-123456789012345678901234567890");
  append_verbatim(out, protocol, "txt", "hi");
  append_array(out, 1);
  append_set(out, protocol, 0);
  append_map(out, protocol, 1);
  append_integer(out, 1);
  append_integer(out, 2);
  append_push(out, protocol, 1);
  append_bulk_string(out, "invalidate");
  return out;
}

TEST(Builder, WritesResp3) {
  EXPECT_EQ(every_value(Protocol::kResp3),
            "+OK\r\n-ERR a  b\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n_\r\n#t\r\n,1.5\r\n"
            ",-inf\r\n,nan\r\n(-123456789012345678901234567890\r\n=6\r\ntxt:hi\r\n*1\r\n~0\r\n"
            "%1\r\n:1\r\n:2\r\n>1\r\n$10\r\ninvalidate\r\n");
}

TEST(Builder, WritesResp2WhereItHasNoType) {
  EXPECT_EQ(
      every_value(Protocol::kResp2),
      "+OK\r\n-ERR a  b\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n$-1\r\n:1\r\n$3\r\n1.5\r\n"
      "$4\r\n-inf\r\n$3\r\nnan\r\n$31\r\n-123456789012345678901234567890\r\n$2\r\nhi\r\n*1\r\n*0"
      "\r\n*2\r\n:1\r\n:2\r\n*1\r\n$10\r\ninvalidate\r\n");
}

TEST(Builder, FramersReadWhatItWrites) {
  for (const Protocol protocol : {Protocol::kResp2, Protocol::kResp3}) {
    const auto seen = replies(every_value(protocol), 1);
    EXPECT_EQ(seen.size(), 14u);
    EXPECT_THAT(seen, testing::Not(testing::Contains(testing::StartsWith("reply:"))));
  }
}

}  // namespace
}  // namespace clonesafe::wire::resp
