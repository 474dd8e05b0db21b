// HTTP services between real programs: curl in front, nginx behind.
#include <fcntl.h>
#include <sys/socket.h>

#include <fstream>
#include <iterator>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/http_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

class HttpNginxTest : public HttpTest {
 protected:
  HttpNginxTest() {
    for (int* const port : {&plain_port_, &header_port_, &tls_port_})
      listen_on(kFar, *port).reset();
    std::filesystem::create_directory(folder_ / "www");
    write("www/small.txt", "small\n");
    write("www/large.txt", std::string(5'000'000, 'l'));
    make_certificate(folder_, "web.test");
    write("conf", configuration());
    auto server = support::ChildProcess::start(
        {.command = {"nginx", "-e", folder_ / "error", "-c", folder_ / "conf"}});
    EXPECT_TRUE(server) << server.error().message();
    if (server) server_.emplace(std::move(*server));
    EXPECT_TRUE(support::eventually(std::chrono::seconds(20), [this] {
      return std::filesystem::exists(folder_ / "pid");
    })) << read("error");
  }

  // What it says on its output.
  std::string curl(std::vector<std::string> arguments) const {
    const UniqueFd output(
        ::open((folder_ / "output").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    arguments.insert(arguments.begin(), {"curl", "--silent", "--show-error", "--max-time", "60"});
    auto program = support::ChildProcess::start({.command = arguments, .output = output.get()});
    EXPECT_TRUE(program && program->wait(std::chrono::seconds(60)).value_or(-1) == 0);
    return read("output");
  }
  // Which one of nginx's connections a request comes by.
  static std::string connection(const UniqueFd& application) {
    send_all(application, "HEAD /small.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    std::string text;
    while (!text.ends_with("\r\n\r\n")) {
      const std::string more = receive(application, 1);
      if (more.empty()) break;
      text += more;
    }
    const std::string name = "X-Connection: ";
    const std::size_t at = text.find(name);
    EXPECT_NE(at, text.npos) << text;
    if (at == text.npos) return {};
    return text.substr(at + name.size(), text.find('\r', at) - at - name.size());
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string configuration() const {
    const auto listen = [](int port) {
      return "listen " + std::string(kFar) + ":" + std::to_string(port);
    };
    std::string text = "daemon off; master_process off; user root; pid " + (folder_ / "pid") +
                       "; error_log " + (folder_ / "error") + "; events {} http { access_log off;";
    for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
      text += std::string(kind) + "_temp_path " + (folder_ / kind) + ";";
    text += "server { " + listen(plain_port_) + "; root " + (folder_ / "www") +
            "; gzip on; gzip_min_length 1; gzip_types text/plain; default_type text/plain;"
            " client_max_body_size 0; add_header X-Connection $connection;"
            " location = /upload { return 200 \"$content_length\"; } }";
    text += "server { " + listen(tls_port_) + " ssl; ssl_certificate " +
            (folder_ / "web.test.pem") + "; ssl_certificate_key " + (folder_ / "web.test.key") +
            "; add_header X-Connection $connection; root " + (folder_ / "www") + "; }";
    text += "server { " + listen(header_port_) +
            " proxy_protocol; return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }";
    return text + "}\n";
  }

  Folder folder_;
  int plain_port_ = 0, header_port_ = 0, tls_port_ = 0;
  std::optional<support::ChildProcess> server_;
};

TEST_F(HttpNginxTest, CurlGetsFilesOverOneConnection) {
  serve({}, Protocol::kHttp, plain_port_);
  EXPECT_EQ(curl({"--output", folder_ / "a", "--output", folder_ / "b", "--write-out",
                  "%{http_code} %{num_connects}\n", url("/large.txt"), url("/small.txt")}),
            "200 1\n200 0\n");
  EXPECT_TRUE(read("a") == read("www/large.txt"));
  EXPECT_EQ(read("b"), "small\n");
  EXPECT_THAT(curl({"--head", url("/large.txt")}), HasSubstr("Content-Length: 5000000\r\n"));
  EXPECT_EQ(curl({"--http1.0", url("/small.txt")}), "small\n");
}

TEST_F(HttpNginxTest, CurlGetsChunks) {
  serve({}, Protocol::kHttp, plain_port_);
  EXPECT_THAT(
      curl({"--compressed", "--dump-header", "-", "--output", folder_ / "a", url("/large.txt")}),
      HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_TRUE(read("a") == read("www/large.txt"));
}

// It waits for "100 Continue" first.
TEST_F(HttpNginxTest, CurlSendsFiles) {
  serve({}, Protocol::kHttp, plain_port_);
  EXPECT_EQ(curl({"--data-binary", "@" + (folder_ / "www/large.txt"), url("/upload")}), "5000000");
  EXPECT_EQ(curl({"--header", "Transfer-Encoding: chunked", "--data-binary",
                  "@" + (folder_ / "www/large.txt"), "--output", folder_ / "a", "--write-out",
                  "%{http_code}", url("/upload")}),
            "200");
}

TEST_F(HttpNginxTest, NginxReadsTheHeaderInFront) {
  for (const int version : {1, 2}) {
    ServiceConfig config;
    config.upstream.send_proxy_protocol = version;
    serve(config, Protocol::kHttp, header_port_);
    EXPECT_EQ(curl({url("/")}), "127.0.0.1 " + std::to_string(port_));
  }
}

TEST_F(HttpNginxTest, CloneHasConnectionsOfItsOwn) {
  serve({}, Protocol::kHttp, plain_port_);
  const UniqueFd application = this->application();
  const std::string parents = connection(application);
  EXPECT_EQ(connection(application), parents);
  clone();
  EXPECT_NE(connection(application), parents);
}

TEST_F(HttpNginxTest, TlsSessionIsUsedAgainUntilTheMachineIsCloned) {
  ServiceConfig config;
  config.upstream.tls =
      ClientTlsOptions{.ca_file = folder_ / "web.test.pem", .server_name = "web.test"};
  serve(config, Protocol::kHttp, tls_port_);
  const UniqueFd application = this->application();
  const std::string parents = connection(application);
  EXPECT_NE(parents, "");
  EXPECT_EQ(connection(application), parents);
  clone();
  EXPECT_NE(connection(application), parents);
}

}  // namespace
}  // namespace clonesafe::proxy
