// What clonevm is given that it must refuse, as far as no machine is needed: run in the unit lane
// too. All with the program itself, started as a user would.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "tests/lab/nested/refusal.h"
#include "tests/lab/nested/snapshot_edit.h"
#include "tests/unit/machine/kernel_image.h"
#include "vmm_device/core/guest_memory.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

void write_bytes(const fs::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

// Everything a case may need lies in one folder: a kernel that is one, and a snapshot that is whole
// as far as it can be checked without a machine.
void furnish(const fs::path& folder) {
  const auto kernel = make_kernel_image();
  write_bytes(folder / "vmlinuz", kernel);
  std::ofstream(folder / "empty");
  std::ofstream(folder / "text") << "#!/bin/sh\necho no kernel\n";
  write_bytes(folder / "cut", std::span(kernel).first(600));
  fs::create_directories(folder / "full/of/things");

  std::vector<std::byte> memory(34 * 4096);
  for (std::size_t i = 0; i < 4096; ++i) memory[i] = memory[33 * 4096 + i] = std::byte{0x5a};
  const auto written = snapshot::write(
      folder / "snapshot", {.memory = GuestMemory({{GuestAddress(0), std::span(memory)}}),
                            .sections = {{.tag = snapshot::Tag::serial, .bytes = {}}}});
  ASSERT_TRUE(written) << written.error().message();
}

struct Case {
  std::string name;
  Arguments arguments;  // a word that begins with '@' is a path below the folder
  std::vector<std::string> says;
  std::function<void(const fs::path& folder)> prepare = {};
  std::function<void()> in_child = {};
};
void PrintTo(const Case& of, std::ostream* out) {
  *out << of.name;
}

void cut(const fs::path& file, std::uintmax_t by) {
  fs::resize_file(file, fs::file_size(file) - by);
}
void flip(const fs::path& file, std::streamoff at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(at);
  const char byte = static_cast<char>(stream.get() ^ 0x10);
  stream.seekp(at);
  stream.put(byte);
}

const std::vector<Case>& cases() {
  static const Arguments kRun = {"run", "--kernel"};
  static const auto run = [](Arguments more) {
    Arguments all = kRun;
    all.insert(all.end(), more.begin(), more.end());
    for (const char* word : {"--vsock", "cid=3,path=@vsock", "--api", "@api", "--serial", "@log"})
      all.emplace_back(word);
    return all;
  };
  static const Arguments kRestore = {"restore", "@snapshot", "--run-dir", "@clones"};
  static const Arguments kVerify = {"verify", "@snapshot"};
  const auto shorter = [](const fs::path& folder) { cut(folder / "snapshot/memory.img", 4096); };
  const auto damaged = [](const fs::path& folder) { flip(folder / "snapshot/memory.img", 17); };
  const auto newer = [](const fs::path& folder) {
    edit_header(folder / "snapshot", [](auto& header) { header.major = 2; });
  };
  const auto foreign = [](const fs::path& folder) {
    edit_header(folder / "snapshot", [](auto& header) { header.architecture = 2; });
  };
  static const std::vector<Case> list = {
      {"KernelThatIsMissing", run({"@nowhere"}), {"@nowhere", "No such file"}},
      {"KernelThatIsText", run({"@text"}), {"@text"}},
      {"KernelThatIsEmpty", run({"@empty"}), {"@empty"}},
      {"KernelThatIsCut", run({"@cut"}), {"@cut"}},
      {"KernelThatIsAFolder", run({"@full"}), {"@full", "not a regular file"}},
      {"InitrdThatIsMissing",
       run({"@vmlinuz", "--initrd", "@nowhere"}),
       {"@nowhere", "No such file"}},
      {"InitrdThatIsEmpty", run({"@vmlinuz", "--initrd", "@empty"}), {"@empty", "empty"}},
      {"NoKvm", run({"@vmlinuz"}), {"/dev/kvm", "No such file"}, {}, hide_kvm},
      {"SnapshotOfNoMachine",
       {"snapshot", "--api", "@nowhere", "--out", "@new"},
       {"@nowhere", "No such file"}},
      {"SnapshotThatIsMissing", {"restore", "@nowhere"}, {"@nowhere", "No such file"}},
      {"SnapshotThatIsAFile", {"restore", "@text"}, {"@text", "Not a directory"}},
      {"SnapshotWithoutState",
       kRestore,
       {"state.csn", "No such file"},
       [](const fs::path& folder) { fs::remove(folder / "snapshot/state.csn"); }},
      {"SnapshotWithoutMemory",
       kRestore,
       {"memory.img", "No such file"},
       [](const fs::path& folder) { fs::remove(folder / "snapshot/memory.img"); }},
      {"RestoreOfShortMemory", kRestore, {"memory.img"}, shorter},
      {"VerifyOfShortMemory", kVerify, {"memory.img"}, shorter},
      {"RestoreOfDamagedMemory", kRestore, {"memory.img", "chunk 0"}, damaged},
      {"VerifyOfDamagedMemory", kVerify, {"memory.img", "chunk 0"}, damaged},
      {"RestoreOfANewerFormat", kRestore, {"state.csn", "format 2.0"}, newer},
      {"VerifyOfANewerFormat", kVerify, {"state.csn", "format 2.0"}, newer},
      {"InspectOfANewerFormat", {"inspect", "@snapshot"}, {"state.csn", "format 2.0"}, newer},
      {"RestoreOfAnotherArchitecture", kRestore, {"state.csn", "architecture 2"}, foreign},
      {"RestoreToAFullFolder", {"restore", "@snapshot", "--run-dir", "@full"}, {"@full", "exists"}},
      {"MetadataThatAreMissing",
       {"restore", "@snapshot", "--run-dir", "@clones", "--metadata", "@nowhere"},
       {"@nowhere", "No such file"}},
      {"TapThatIsNoInterface", run({"@vmlinuz", "--net", "tap=."}), {"'.' is not the name"}},
      {"NamespaceThatIsMissing",
       run({"@vmlinuz", "--net", "tap=vm0,netns=no-such-one"}),
       {"net 0: /run/netns/no-such-one", "No such file"}},
      {"HoldOfNoNetwork",
       run({"@vmlinuz", "--hold-network"}),
       {"--hold-network", "no network device"}},
      {"HoldOfNoDisk", run({"@vmlinuz", "--hold-disk", "1"}), {"--hold-disk", "no disk 1"}},
      {"HoldOfTheAgent", run({"@vmlinuz", "--hold-vsock", "17228"}), {"--hold-vsock", "agent"}},
      {"HoldOfAWord", run({"@vmlinuz", "--hold-vsock", "ssh"}), {"--hold-vsock", "'ssh'"}},
      {"TwoLimits",
       run({"@vmlinuz", "--hold-network=2", "--hold-limit", "3"}),
       {"--hold-limit", "has the limit already"}},
      {"HoldUntilAWord",
       run({"@vmlinuz", "--hold-network=abc"}),
       {"--hold-network", "'abc'", "seconds"}},
      {"HoldForEver",
       run({"@vmlinuz", "--hold-network=forever"}),
       {"--hold-network", "no network device"}},
      {"BalloonOfAWord", run({"@vmlinuz", "--balloon=abc"}), {"--balloon", "'abc'"}},
      {"OneTapForTwo",
       {"restore", "@snapshot", "--run-dir", "@clones", "--count", "2", "--net", "tap=vm0"},
       {"net 0: one tap for 2 clones"}},
      {"MoveToTwo",
       {"restore", "@snapshot", "--run-dir", "@clones", "--move", "--count", "2"},
       {"--move", "--count"}},
      {"VerifyOfAFolderWithMore",
       kVerify,
       {"@snapshot/note", "no part"},
       [](const fs::path& folder) { std::ofstream(folder / "snapshot/note"); }},
  };
  return list;
}

class BadInput : public RefusalTest, public testing::WithParamInterface<Case> {
 protected:
  // '@' stands for the folder, in the command as in what it says.
  std::string placed(std::string text) const {
    const auto at = text.find('@');
    if (at != std::string::npos) text.replace(at, 1, path("").string());
    return text;
  }
};

TEST_P(BadInput, IsRefused) {
  ASSERT_NO_FATAL_FAILURE(furnish(path("")));
  if (GetParam().prepare) GetParam().prepare(path(""));
  Refusal refusal{.in_child = GetParam().in_child, .may_stay = {"log"}};
  for (const auto& word : GetParam().arguments) refusal.arguments.push_back(placed(word));
  for (const auto& text : GetParam().says) refusal.says.push_back(placed(text));
  expect_refused(refusal);
}

INSTANTIATE_TEST_SUITE_P(Cases, BadInput, testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

class DamagedState : public RefusalTest {
 protected:
  void expect_state_refused(const std::string& state, std::size_t turn) const {
    const fs::path damaged = path("damaged");
    set_state(damaged, state);
    const Arguments verbs[] = {
        {"inspect", damaged}, {"verify", damaged}, {"restore", damaged, "--run-dir", path("run")}};
    expect_refused({.arguments = verbs[turn % std::size(verbs)], .says = {"state.csn"}});
  }
};

// The unit test of the parser does this with every byte; here it is the program, so a part of them
// must do, in steps that share no factor with the format's.
TEST_F(DamagedState, FlippedOrCutAnywhereIsRefused) {
  ASSERT_NO_FATAL_FAILURE(furnish(path("")));
  copy_snapshot(path("snapshot"), path("damaged"));
  const std::string good = state_of(path("snapshot"));
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < 0xf0; at += 7) places.push_back(at);
  for (std::size_t at = 0xf0; at < good.size(); at += 61) places.push_back(at);
  places.push_back(good.size() - 1);
  for (std::size_t turn = 0; turn < places.size(); ++turn) {
    std::string flipped = good;
    flipped[places[turn]] = static_cast<char>(flipped[places[turn]] ^ (1 << turn % 8));
    expect_state_refused(flipped, turn);
    expect_state_refused(good.substr(0, places[turn]), turn + 1);
    if (HasFailure()) FAIL() << "at byte " << places[turn];
  }
  expect_state_refused(good + '\0', 0);
}

}  // namespace
}  // namespace clonesafe::lab
