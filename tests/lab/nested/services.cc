#include "tests/lab/nested/services.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "tests/lab/nested/lab_vm.h"
#include "vmm_device/net/namespace.h"

namespace clonesafe::lab {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr uid_t kUser = 65534;
const std::string kPrograms = "servers/bin/";
const std::string kPostgresPrograms = "servers/usr/lib/postgresql/15/bin/";

std::string output_of(const std::vector<std::string>& command) {
  const auto outcome = run(command, Seconds(60));
  EXPECT_TRUE(outcome) << command[0] << ": " << outcome.error().message();
  if (!outcome) return "";
  EXPECT_EQ(outcome->status, 0) << command[0] << ": " << outcome->output;
  return outcome->output.substr(0, outcome->output.find_last_not_of('\n') + 1);
}

std::vector<std::string> psql(const std::string& text) {
  return {kPostgresPrograms + "psql", "host=127.0.0.1 user=postgres password=owner dbname=postgres",
          "-XAtqc", text};
}

asio::awaitable<void> carry(tcp::socket& from, tcp::socket& to) {
  std::array<char, 16384> piece{};
  for (;;) {
    const auto [failed, count] = co_await from.async_read_some(asio::buffer(piece), kAwait);
    if (failed) break;
    const auto [lost, sent] =
        co_await asio::async_write(to, asio::buffer(piece.data(), count), kAwait);
    if (lost) break;
  }
  boost::system::error_code error;
  to.shutdown(tcp::socket::shutdown_send, error);
}

asio::awaitable<void> serve(tcp::socket client, int port) {
  tcp::socket server(client.get_executor());
  const auto [failed] = co_await server.async_connect(
      tcp::endpoint(asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)), kAwait);
  if (failed) co_return;
  co_await (carry(client, server) && carry(server, client));
}

asio::awaitable<void> accept_all(tcp::acceptor acceptor, int port) {
  for (;;) {
    auto [failed, client] = co_await acceptor.async_accept(kAwait);
    if (failed) co_return;
    asio::co_spawn(acceptor.get_executor(), serve(std::move(client), port), asio::detached);
  }
}

}  // namespace

Status Services::start_one(const std::string& name, std::vector<std::string> command) {
  const auto user = std::to_string(kUser);
  command.insert(command.begin(),
                 {kPrograms + "setpriv", "--reuid", user, "--regid", user, "--clear-groups"});
  auto process = Process::start(command);
  if (!process) return fail(std::move(process).error().within(name));
  servers_.push_back(std::move(*process));
  return {};
}

std::unique_ptr<Services> Services::start(const fs::path& folder) {
  fs::create_directories(folder / "nginx");
  const fs::path here = fs::current_path() / "servers";
  std::vector<fs::path> theirs = {folder / "nginx", here / "data"};
  for (const auto& entry : fs::recursive_directory_iterator(here / "data"))
    theirs.push_back(entry.path());
  for (const fs::path& path : theirs) EXPECT_EQ(::chown(path.c_str(), kUser, kUser), 0) << path;
  fs::permissions(here / "data", fs::perms::owner_all);
  for (fs::path way = folder; way.has_relative_path(); way = way.parent_path())
    fs::permissions(way, fs::perms::others_exec | fs::perms::group_exec, fs::perm_options::add);

  std::unique_ptr<Services> services(new Services);
  const std::string certificate = here / "services.pem", key = here / "services.key";
  const std::vector<std::pair<std::string, std::vector<std::string>>> all = {
      {"postgres",
       {kPostgresPrograms + "postgres", "-D", here / "data", "-h", "127.0.0.1", "-k", "", "-F",
        "-c", "autovacuum=off", "-c", "log_min_messages=warning"}},
      {"redis",
       {kPrograms + "redis-server", "--bind", "127.0.0.1", "--port", std::to_string(kRedis),
        "--tls-port", std::to_string(kRedisTls), "--tls-cert-file", certificate, "--tls-key-file",
        key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--save", "",
        "--loglevel", "warning"}},
      {"nginx", {kPrograms + "nginx", "-p", folder / "nginx", "-c", here / "nginx.conf"}}};
  for (const auto& [name, command] : all) {
    if (const Status started = services->start_one(name, command); !started) {
      ADD_FAILURE() << started.error().message();
      return nullptr;
    }
  }
  const bool serve = eventually(Seconds(120), [] {
    const auto rows = run(psql("SELECT 1"), Seconds(60));
    const auto pong = run({kPrograms + "redis-cli", "ping"}, Seconds(60));
    return rows && rows->output == "1\n" && pong && pong->output == "PONG\n";
  });
  EXPECT_TRUE(serve)
      << "PostgreSQL: " << run(psql("SELECT 1"), Seconds(60)).value_or(Outcome{}).output
      << "Redis: "
      << run({kPrograms + "redis-cli", "ping"}, Seconds(60)).value_or(Outcome{}).output;
  return serve ? std::move(services) : nullptr;
}

std::string Services::sql(const std::string& text) {
  return output_of(psql(text));
}

std::string Services::redis(const std::vector<std::string>& command) {
  std::vector<std::string> all = {kPrograms + "redis-cli"};
  all.insert(all.end(), command.begin(), command.end());
  return output_of(all);
}

std::string Services::certificate() {
  return read_file("servers/services.pem");
}

Result<std::unique_ptr<Relay>> Relay::start(const std::string& network_namespace,
                                            const std::vector<int>& ports) {
  std::unique_ptr<Relay> relay(new Relay);
  {
    const auto inside = network::InNamespace::enter(network_namespace);
    if (!inside) return fail(inside.error());
    for (const int port : ports) {
      boost::system::error_code error;
      tcp::acceptor acceptor(relay->io_);
      const tcp::endpoint everywhere(tcp::v4(), static_cast<std::uint16_t>(port));
      if (acceptor.open(everywhere.protocol(), error) || acceptor.bind(everywhere, error) ||
          acceptor.listen(16, error))
        return fail("port " + std::to_string(port) + ": " + error.message());
      asio::co_spawn(relay->io_, accept_all(std::move(acceptor), port), asio::detached);
    }
  }
  relay->thread_ = std::thread([raw = relay.get()] { raw->io_.run(); });
  return relay;
}

Relay::~Relay() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace clonesafe::lab
