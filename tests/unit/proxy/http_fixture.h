// An HTTP service whose upstream is the test itself.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_HTTP_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_HTTP_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {

class HttpTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // `config` without addresses.
  void start(ServiceConfig config = {}, Protocol protocol = Protocol::kHttp) {
    int upstream_port = 0;
    upstream_ = listen_on(kFar, upstream_port);
    serve(std::move(config), protocol, upstream_port);
  }
  void serve(ServiceConfig config, Protocol protocol, int upstream_port) {
    config.name = "web";
    config.protocol = protocol;
    port_ = 0;
    worker_.start(std::move(config), kFar, upstream_port, listen_on("127.0.0.1", port_));
  }
  UniqueFd application() const { return connect_to("127.0.0.1", port_); }
  UniqueFd accepted() const { return accept_from(upstream_); }
  void clone() {
    clone_this_machine();
    worker_->fence();
  }

  // Exactly these bytes come; or what came instead.
  static void hear(const UniqueFd& fd, const std::string& expected) {
    EXPECT_EQ(receive(fd, expected.size()), expected);
  }
  // A response of the proxy's own, and the end.
  static void hear_error(const UniqueFd& fd, int status) {
    const std::string text = receive(fd, 4096);
    EXPECT_EQ(text.substr(0, 13), "HTTP/1.1 " + std::to_string(status) + " ") << text;
    EXPECT_THAT(text, testing::HasSubstr("\r\nConnection: close\r\n"));
  }

  // A request, as an application sends it and as it is sent on.
  static std::string request(const std::string& method = "GET", const std::string& fields = {},
                             const std::string& body = {}) {
    return method + " / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
  }
  static std::string with_length(const std::string& body) {
    return "Content-Length: " + std::to_string(body.size()) + "\r\n";
  }
  static std::string response(const std::string& body = "ok") {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  // One of each.
  static void exchange(const UniqueFd& application, const UniqueFd& upstream) {
    send_all(application, request());
    answer(application, upstream);
  }
  static void answer(const UniqueFd& application, const UniqueFd& upstream) {
    hear(upstream, request());
    send_all(upstream, response());
    hear(application, response());
  }

  UniqueFd upstream_;
  int port_ = 0;
  RunningService worker_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_HTTP_FIXTURE_H_
