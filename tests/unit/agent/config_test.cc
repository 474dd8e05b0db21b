#include "guest_agent/config/config.h"

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

std::string refusal(std::string_view text) {
  const auto config = parse_config(text, "agent.toml");
  return config ? "(accepted)" : config.error().message();
}

TEST(Config, NothingGivesTheDefaults) {
  const auto config = parse_config("", "agent.toml");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->poll_interval, std::chrono::milliseconds(100));
  EXPECT_EQ(config->host.port, 17228U);
  EXPECT_TRUE(config->host.enabled);
  EXPECT_EQ(config->page_path, "/run/clonesafe/generation");
}

TEST(Config, EveryKeyIsTaken) {
  const auto config = parse_config(R"(
log_level = "debug"
page = "/p"
control_socket = "/s"
[sources]
poll_ms = 7
memory = ""
iomem = "/i"
acpi_tables = "/a"
vmclock_device = "/v"
kmsg = "/k"
restore_file = "/r"
[host]
enabled = false
cid = 3
port = 9
socket = "/h"
[identity]
machine_id = "/m"
dbus_machine_id = ""
boot_id = "/b"
boot_id_file = "/f"
hostname = "{generation}"
[network]
by_document = false
[snapshot]
freeze = ["/one", "/two"]
[metrics]
socket = "/x"
)",
                                   "agent.toml");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->page_path, "/p");
  EXPECT_EQ(config->control_socket, "/s");
  EXPECT_EQ(config->poll_interval.count(), 7);
  EXPECT_EQ(config->sources.memory, "");
  EXPECT_EQ(config->sources.iomem, "/i");
  EXPECT_EQ(config->sources.acpi_tables, "/a");
  EXPECT_EQ(config->sources.vmclock_device, "/v");
  EXPECT_EQ(config->sources.kmsg, "/k");
  EXPECT_EQ(config->sources.restore_file, "/r");
  EXPECT_FALSE(config->host.enabled);
  EXPECT_EQ(config->host.cid, 3U);
  EXPECT_EQ(config->host.port, 9U);
  EXPECT_EQ(config->host.socket, "/h");
  EXPECT_EQ(config->identity.machine_id, "/m");
  EXPECT_EQ(config->identity.dbus_machine_id, "");
  EXPECT_EQ(config->identity.boot_id, "/b");
  EXPECT_EQ(config->identity.boot_id_file, "/f");
  EXPECT_EQ(config->identity.hostname, "{generation}");
  EXPECT_FALSE(config->set_network);
  EXPECT_EQ(config->snapshot.freeze, (std::vector<std::string>{"/one", "/two"}));
  EXPECT_EQ(config->metrics.socket, "/x");
}

TEST(Config, ErrorsNameKeyAndPlaceInOneLine) {
  EXPECT_EQ(refusal("\nwhat = 1\n"), "agent.toml:2:1: unknown key 'what'");
  EXPECT_EQ(refusal("[host]\nprot = 1\n"), "agent.toml:2:1: unknown key 'host.prot'");
  EXPECT_EQ(refusal("[host]\nport = \"x\"\n"),
            "agent.toml:2:8: 'host.port' is not a whole number from 1 to 4294967295");
  EXPECT_EQ(refusal("[sources]\npoll_ms = 0\n"),
            "agent.toml:2:11: 'sources.poll_ms' is not a whole number from 1 to 60000");
  EXPECT_EQ(refusal("page = 5"), "agent.toml:1:8: 'page' is not a string");
  EXPECT_EQ(refusal("[host]\nenabled = 1"), "agent.toml:2:11: 'host.enabled' is not true or false");
  EXPECT_EQ(refusal("[snapshot]\nfreeze = [\"one\"]"),
            "agent.toml:2:10: 'snapshot.freeze' is not a list of absolute folders");
  EXPECT_EQ(refusal("host = 1"), "agent.toml:1:8: 'host' is not a table");
}

TEST(Config, BrokenTomlIsOneLineWithItsPlace) {
  for (const char* const text : {"[host", "[=nds5a", "a = ", "a = \"\n", "= 1", "a = 1\na = 2",
                                 "a = [}", "page = \"/p\"\n\xef\xbb\xbf = 1"}) {
    const std::string message = refusal(text);
    EXPECT_EQ(message.rfind("agent.toml:", 0), 0U) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Config, CharacterBeyondAsciiIsRefusedWithItsPlace) {
  EXPECT_EQ(refusal("page = \"/p\"\n\xef\xbb\xbf = 1"),
            "agent.toml:2:1: a character that is not ASCII");
}

TEST(Config, HttpHooksAreAListOfTables) {
  const auto config = parse_config(
      "[[hooks.http]]\nport = 80\nafter_restore = \"/a\"\n"
      "[[hooks.http]]\nname = \"app\"\nport = 81\nbefore_snapshot = \"/b?c=1\"\ndeadline_ms = 5\n",
      "agent.toml");
  ASSERT_TRUE(config) << config.error().message();
  ASSERT_EQ(config->hooks.http.size(), 2U);
  EXPECT_EQ(config->hooks.http[0].name, "80");
  EXPECT_EQ(config->hooks.http[0].after_restore, "/a");
  EXPECT_EQ(config->hooks.http[1].name, "app");
  EXPECT_EQ(config->hooks.http[1].before_snapshot, "/b?c=1");
  EXPECT_EQ(config->hooks.http[1].deadline, std::chrono::milliseconds(5));

  EXPECT_EQ(refusal("[hooks]\nhttp = 1"), "agent.toml:2:8: 'hooks.http' is not a list of tables");
  EXPECT_EQ(refusal("[hooks]\nhttp = [1]"), "agent.toml:2:8: 'hooks.http' is not a list of tables");
  const std::string table = "[[hooks.http]]\nport = 80\n";
  EXPECT_EQ(refusal(table),
            "agent.toml:1:1: 'hooks.http' has neither 'before_snapshot' nor 'after_restore'");
  EXPECT_EQ(refusal("[[hooks.http]]\nafter_restore = \"/a\""),
            "agent.toml:1:1: 'hooks.http' has no 'port'");
  EXPECT_EQ(refusal(table + "prot = 1"), "agent.toml:1:1: 'hooks.http' has an unknown key 'prot'");
  for (const char* const path : {"a", "/a b", "/a\\r\\nX: y", "http://elsewhere/"}) {
    EXPECT_EQ(refusal(table + "after_restore = \"" + path + "\""),
              "agent.toml:1:1: 'hooks.http' has 'after_restore', which is not a path like "
              "\"/after-restore\"");
  }
}

TEST(Config, PolicyIsOneOfThree) {
  EXPECT_EQ(parse_config("on_failure = \"hold\"", "agent.toml")->on_failure, FailurePolicy::kHold);
  EXPECT_EQ(parse_config("on_failure = \"poweroff\"", "agent.toml")->on_failure,
            FailurePolicy::kPowerOff);
  EXPECT_EQ(refusal("on_failure = \"reboot\""),
            "agent.toml:1:14: 'on_failure' is none of \"continue\", \"hold\", \"poweroff\"");
}

TEST(Config, MissingFileIsNamed) {
  const auto config = load_config("/nowhere/agent.toml");
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message().find("/nowhere/agent.toml"), std::string::npos);
}

TEST(Config, ShippedExampleHoldsTheDefaults) {
  const auto example = load_config(CLONESAFE_EXAMPLE_CONFIG);
  ASSERT_TRUE(example) << example.error().message();
  const Config defaults;
  EXPECT_EQ(example->page_path, defaults.page_path);
  EXPECT_EQ(example->control_socket, defaults.control_socket);
  EXPECT_EQ(example->poll_interval, defaults.poll_interval);
  EXPECT_EQ(example->sources.memory, defaults.sources.memory);
  EXPECT_EQ(example->sources.vmclock_device, defaults.sources.vmclock_device);
  EXPECT_EQ(example->host.port, defaults.host.port);
  EXPECT_EQ(example->host.cid, defaults.host.cid);
  EXPECT_EQ(example->identity.machine_id, defaults.identity.machine_id);
  EXPECT_EQ(example->identity.boot_id_file, defaults.identity.boot_id_file);
  EXPECT_EQ(example->identity.hostname, defaults.identity.hostname);
  EXPECT_EQ(example->identity.metadata_file, defaults.identity.metadata_file);
  EXPECT_EQ(example->step_clock, defaults.step_clock);
  EXPECT_EQ(example->snapshot.freeze, defaults.snapshot.freeze);
  EXPECT_EQ(example->metrics.socket, defaults.metrics.socket);
}

}  // namespace
}  // namespace clonesafe::agent
