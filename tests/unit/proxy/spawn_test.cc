// A thread of the proxy's where there is no memory.
#include "proxy/core/spawn.h"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

namespace clonesafe::proxy {
namespace {

TEST(RunUntilStopped, GoesOnWhenSomethingEndedForWantOfMemory) {
  boost::asio::io_context io;
  int begun = 0;
  boost::asio::post(io, [] { throw std::bad_alloc(); });
  boost::asio::post(io, [&io] { io.stop(); });
  run_until_stopped(io, [&begun] { ++begun; });
  EXPECT_EQ(begun, 2) << "what serves was not looked at again";
}

TEST(Spawn, WhatItThrowsEndsNothingElse) {
  boost::asio::io_context io;
  bool other = false;
  spawn(io, []() -> boost::asio::awaitable<void> {
    throw std::bad_alloc();
    co_return;
  }());
  boost::asio::post(io, [&other] { other = true; });
  EXPECT_NO_THROW(io.run());
  EXPECT_TRUE(other);
}

}  // namespace
}  // namespace clonesafe::proxy
