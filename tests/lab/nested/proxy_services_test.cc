// Applications of others in front of clonesafe-proxy in a guest, and PostgreSQL, Redis and nginx on
// the host behind it. All are started before the snapshot; the source and four clones go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "tests/lab/nested/clone_fixture.h"
#include "tests/lab/nested/host_network.h"
#include "tests/lab/nested/segments.h"
#include "tests/lab/nested/services.h"

namespace clonesafe::lab {
namespace {

constexpr int kClones = 4;
const std::vector<int> kPorts = {Services::kPostgres, Services::kRedisTls, Services::kHttps};

const std::string kProxyConfig = [] {
  const auto service = [](const std::string& name, const std::string& protocol, int port, int to,
                          const std::string& more) {
    return "[[service]]\nname = \"" + name + "\"\nprotocol = \"" + protocol +
           "\"\nlisten = \"127.0.0.1:" + std::to_string(port) +
           "\"\nhold_ms = 60000\nupstream.address = \"" + HostNetwork::kHost + ":" +
           std::to_string(to) + "\"\nupstream.connect_timeout_ms = 30000\n" + more;
  };
  const std::string tls = std::string("[service.upstream.tls]\nca_file = \"/run/ca.pem\"\n") +
                          "server_name = \"" + Services::kName + "\"\n";
  // An emulated processor is slow.
  return "park_deadline_ms = 20000\n" +
         service("database", "postgres", 5432, Services::kPostgres,
                 "postgres.users_file = \"/run/users\"\n") +
         service("cache", "redis", 6379, Services::kRedisTls, tls) +
         service("web", "http", 8080, Services::kHttps, tls);
}();

// A guest's network, and who answers there.
struct Side {
  HostNetwork network;
  std::unique_ptr<Relay> relay;
};

// A condition of the guest's shell, which looks for it: each question from outside costs it more.
bool comes_true(const Guest& guest, const std::string& condition) {
  const auto seen = guest.run("until " + condition + "; do sleep 0.2; done", Seconds(120));
  return seen && seen->status == 0;
}

// What a program that reads commands prints, a command at a time.
class Dialogue {
 public:
  // `name` names the files; `mark` makes it print what it is given.
  Dialogue(const Guest& guest, std::string name, std::string mark)
      : guest_(guest), name_(std::move(name)), mark_(std::move(mark)) {}

  void start(const std::string& command) const {
    guest_.get("mkfifo /run/" + name_ + ".in");
    guest_.get("(exec 3<>/run/" + name_ + ".in; exec " + command + " <&3 >/run/" + name_ +
               ".out 2>&1) &");
  }
  // Without waiting for what it prints.
  void say(const std::string& line) const { guest_.put(line + "\n", "/run/" + name_ + ".in"); }
  // What it prints to it, a line each.
  std::string ask(const std::string& line) {
    static int marks = 100;
    const std::string mark = "mark-" + std::to_string(++marks);
    const std::size_t before = output().size();
    say(line + "\n" + mark_ + " " + mark);
    EXPECT_TRUE(comes_true(guest_, "grep -q " + mark + " /run/" + name_ + ".out")) << line;
    const std::string text = output().substr(before);
    // psql says between two commands what it was told meanwhile.
    std::string answer;
    std::istringstream lines(text.substr(0, text.find(mark)));
    for (std::string one; std::getline(lines, one);) {
      if (!one.starts_with("Asynchronous notification"))
        answer += (answer.empty() ? "" : "\n") + one;
    }
    return answer;
  }
  std::string output() const { return guest_.get("cat /run/" + name_ + ".out"); }
  // The same program in a clone.
  Dialogue in(const Guest& clone) const { return {clone, name_, mark_}; }

 private:
  Guest guest_;
  std::string name_;
  std::string mark_;
};

// A line of transactions.py.
struct Transaction {
  std::string who;
  int number = 0;
  int backend = 0;
  std::string outcome;
};

class ProxyServicesTest : public CloneTest {
 protected:
  std::optional<Side> side(const std::string& name) {
    std::filesystem::create_directories(scratch_ / "files");
    auto network = HostNetwork::make("services-" + name, scratch_ / "files");
    if (!network) return std::nullopt;
    auto relay = Relay::start(network->name(), kPorts);
    EXPECT_TRUE(relay) << relay.error().message();
    if (!relay) return std::nullopt;
    return Side{.network = std::move(*network), .relay = std::move(*relay)};
  }
  static std::vector<Transaction> transactions(const Guest& guest, const std::string& who) {
    std::vector<Transaction> all;
    std::istringstream text(guest.get("cat /run/transactions 2>/dev/null || true"));
    for (Transaction one; text >> one.who >> one.number >> one.backend >> one.outcome;) {
      if (one.who == who) all.push_back(one);
    }
    return all;
  }
  // The code and the number of connections that curl has opened for each reply since `lines`.
  static std::vector<std::string> replies(const Guest& guest) {
    std::vector<std::string> lines;
    std::istringstream text(guest.get("cat /run/curl.out"));
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }

  // Whoever is `guest`, all its applications go on, on the connections that they have.
  void expect_all_go_on(const Guest& guest, const std::string& who) {
    SCOPED_TRACE(who);
    guest.put(who, "/run/who.new");
    guest.get("mv /run/who.new /run/who");
    Dialogue psql = psql_.in(guest), redis = redis_.in(guest);

    EXPECT_EQ(psql.ask("EXECUTE next(41);"), "42") << "a prepared statement";
    EXPECT_EQ(psql.ask("SHOW work_mem;"), "7MB") << "a setting";
    backends_[who] = psql.ask("SELECT pg_backend_pid();");
    EXPECT_EQ(redis.ask("GET where"), "third") << "the database that was chosen";
    EXPECT_EQ(redis.ask("CLIENT GETNAME"), "register") << "the connection's name";
    // Nobody but they are still subscribed.
    Services::sql("NOTIFY news, 'for " + who + "'");
    EXPECT_TRUE(eventually(Seconds(60), [&] {
      psql.ask("SELECT 1;");
      return psql.output().find("payload \"for " + who + "\"") != std::string::npos;
    })) << "LISTEN";
    Services::redis({"publish", "news", "for " + who});
    EXPECT_TRUE(comes_true(guest, "grep -q 'for " + who + "' /run/subscriber.out")) << "SUBSCRIBE";
    EXPECT_TRUE(comes_true(guest, "[ $(grep -c '^" + who + " .* ok' /run/transactions) -ge 3 ]"))
        << guest.get("tail -n 5 /run/transactions");
    const std::size_t had = replies(guest).size();
    EXPECT_TRUE(
        comes_true(guest, "[ $(wc -l </run/curl.out) -ge " + std::to_string(had + 2) + " ]"))
        << "curl";
    const auto got = replies(guest);
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_EQ(got[i], i == 0 ? "200 1" : "200 0") << "curl, reply " << i;
    std::cout << who << ": all go on" << std::endl;
  }

  Dialogue psql_{Guest(0), "", ""}, redis_{Guest(0), "", ""};
  std::map<std::string, std::string> backends_;
};

TEST_F(ProxyServicesTest, ApplicationsOfOthersGoOnInTheSourceAndInEachClone) {
  const auto services = Services::start(scratch_ / "services");
  ASSERT_TRUE(services);
  Services::redis({"-n", "3", "set", "where", "third"});
  auto source = side("source");
  std::vector<Side> sides;
  for (int clone = 1; clone <= kClones; ++clone) {
    auto one = side("c" + std::to_string(clone));
    ASSERT_TRUE(one);
    sides.push_back(*std::move(one));
  }
  ASSERT_TRUE(source);
  BootOptions options{.cmdline = kNoProbes, .memory = "384M"};
  options.arguments = {"--disk", "clients.img,ro", "--net",
                       std::string("tap=") + HostNetwork::kTap +
                           ",mac=52:54:00:00:00:01,netns=" + source->network.name()};
  const auto vm = boot(options);
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  guest.get("ip link set lo up; " + HostNetwork::kGuestUp);
  guest.get(
      "for module in /lib/modules/disk/*; do insmod $module 2>/dev/null; done; mkdir /clients && "
      "mount -t ext4 -o ro,noload /dev/vda /clients");
  guest.put(Services::certificate(), "/run/ca.pem");
  guest.put("\"shop\" \"secret\"\n", "/run/users");
  guest.put(kProxyConfig, "/run/proxy.toml");
  guest.put("source", "/run/who");
  guest.get("chmod 600 /run/users; clonesafe-proxy --config /run/proxy.toml --check");
  guest.get("clonesafe-proxy --config /run/proxy.toml </dev/null >/run/proxy.log 2>&1 &");
  ASSERT_TRUE(eventually(Seconds(60), [&] {
    return guest.get("cat /run/proxy.log").find("serving") != std::string::npos;
  })) << guest.get("cat /run/proxy.log");

  const std::string with_libraries =
      "env LD_LIBRARY_PATH=/clients/lib/x86_64-linux-gnu:/clients/usr/lib/x86_64-linux-gnu "
      "PGPASSWORD=secret ";
  const std::string psql =
      with_libraries + "/clients/bin/psql -XAtq 'host=127.0.0.1 user=shop dbname=postgres'";
  psql_ = Dialogue(guest, "psql", "\\echo");
  psql_.start(psql);
  EXPECT_EQ(psql_.ask("PREPARE next (int) AS SELECT $1 + 1; SET work_mem = '7MB'; LISTEN news;"),
            "");
  redis_ = Dialogue(guest, "redis", "ECHO");
  redis_.start(with_libraries + "/clients/bin/redis-cli");
  EXPECT_EQ(redis_.ask("CLIENT SETNAME register"), "OK");
  EXPECT_EQ(redis_.ask("SELECT 3"), "OK");
  guest.get(with_libraries +
            "/clients/bin/redis-cli subscribe news </dev/null >/run/subscriber.out 2>&1 &");
  guest.get(with_libraries +
            "PYTHONPATH=/clients/python python3 /clients/transactions.py /run/transactions "
            "</dev/null >/run/transactions.log 2>&1 &");
  guest.get(
      with_libraries +
      "/clients/bin/curl -sS --keepalive-time 1 --rate 60/m -o /run/curl.body -w "
      "'%{stderr}%{http_code} %{num_connects}\\n' 'http://127.0.0.1:8080/[1-100000]' </dev/null "
      ">/run/curl.log 2>/run/curl.out &");
  expect_all_go_on(guest, "source");
  if (HasFailure()) {
    FAIL() << guest.get("cat /run/proxy.log /run/transactions.log /run/*.out");
  }

  // A COMMIT that the server takes long for.
  Dialogue slow(guest, "slow", "\\echo");
  slow.start(psql);
  slow.say("\\set VERBOSITY verbose\nBEGIN;\nINSERT INTO slow VALUES (1);\nCOMMIT;");
  const std::string committing =
      "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COMMIT%'";
  ASSERT_TRUE(eventually(Seconds(60), [&] { return Services::sql(committing) == "1"; }))
      << slow.output();

  ASSERT_EQ(guest.snapshot(scratch_ / "snapshot", {"--resume"})->status, 0);
  EXPECT_EQ(Services::sql(committing), "1") << "the COMMIT had ended before the snapshot";
  const std::string names =
      sides[0].network.name().substr(0, sides[0].network.name().size() - 1) + "%d";
  auto restored =
      Restored::restore(scratch_ / "snapshot", scratch_ / "clones", kClones,
                        {"--timeout", "300", "--wait", "safe", "--hold-network", "--net",
                         std::string("tap=") + HostNetwork::kTap + ",netns=" + names});
  ASSERT_TRUE(restored);
  expect_repaired(*restored);

  const std::vector<Segment> of_source = segments_of(source->network.captured());
  std::set<std::uint16_t> source_ports;
  for (const Segment& segment : of_source) source_ports.insert(segment.source);
  // What one machine sent again counts once.
  std::set<std::string> openings, ports, sequences, hellos, randoms;
  const auto note = [&](const std::string& who, const std::vector<Segment>& segments) {
    for (const Segment& segment : segments) {
      if (segment.opens) {
        const std::string port =
            std::to_string(segment.destination) + " " + std::to_string(segment.source);
        const std::string sequence = std::to_string(segment.sequence);
        openings.insert(who + " " + port + " " + sequence);
        ports.insert(port);
        sequences.insert(sequence);
      }
      if (const auto random = client_random(segment)) {
        hellos.insert(who + " " + *random);
        randoms.insert(*random);
      }
    }
  };
  note("source", of_source);
  for (int clone = 1; clone <= kClones; ++clone) {
    const Guest in_clone = restored->guest(clone);
    const std::string who = "clone-" + std::to_string(clone);
    expect_all_go_on(in_clone, who);
    EXPECT_TRUE(eventually(
        Seconds(60), [&] { return slow.in(in_clone).output().find("08007") != std::string::npos; }))
        << "a COMMIT under way: " << slow.in(in_clone).output();
    if (HasFailure())
      ADD_FAILURE() << in_clone.get("cat /run/proxy.log /run/transactions.log /run/*.out");
    const auto segments =
        segments_of(sides[static_cast<std::size_t>(clone - 1)].network.captured());
    note(who, segments);
    for (const Segment& segment : segments) {
      EXPECT_FALSE(source_ports.contains(segment.source))
          << who << " sent on the source's port " << segment.source;
    }
  }
  // The source is undisturbed: the same servers' processes, not one connection more.
  const std::string backend = backends_["source"];
  expect_all_go_on(guest, "source");
  EXPECT_EQ(backends_["source"], backend);
  for (const Segment& segment : segments_of(source->network.captured()))
    EXPECT_FALSE(segment.opens || segment.reset_or_end) << segment.source;

  std::set<std::string> distinct;
  for (const auto& [who, pid] : backends_) distinct.insert(pid);
  EXPECT_EQ(distinct.size(), std::size_t{kClones} + 1) << "two share a server process";
  EXPECT_EQ(ports.size(), openings.size())
      << "two connections to a service were opened by one port";
  EXPECT_EQ(sequences.size(), openings.size())
      << "two connections began with the same sequence number";
  EXPECT_GE(hellos.size(), std::size_t{2} * (kClones + 1));
  EXPECT_EQ(randoms.size(), hellos.size()) << "two sessions of TLS began alike";
  // What was acknowledged is there, once; what wasn't, at most once.
  for (int clone = 1; clone <= kClones; ++clone) {
    const std::string who = "clone-" + std::to_string(clone);
    for (const Transaction& one : transactions(restored->guest(clone), who)) {
      if (one.outcome != "ok") continue;
      EXPECT_EQ(Services::sql("SELECT count(*) FROM orders WHERE who = '" + who +
                              "' AND number = " + std::to_string(one.number)),
                "1")
          << who << " " << one.number;
    }
  }
  // And the one COMMIT was done once.
  EXPECT_TRUE(eventually(Seconds(150), [&] { return Services::sql(committing) == "0"; }));
  EXPECT_EQ(Services::sql("SELECT count(*) FROM slow"), "1");
  EXPECT_EQ(slow.output().find("08007"), std::string::npos) << "the source's own COMMIT";
}

}  // namespace
}  // namespace clonesafe::lab
