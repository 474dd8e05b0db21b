// Disks of guests: an unmodified kernel's driver and file system on them, clones that share no
// write, and what a crash of the VMM leaves.
#include <signal.h>

#include <fstream>

#include "tests/lab/nested/clone_fixture.h"

namespace clonesafe::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMiB = std::size_t{1} << 20;

const std::string kLoadDrivers =
    "while read -r module; do insmod /lib/modules/disk/$module; done </lib/modules/disk/load";

class DiskTest : public CloneTest {
 protected:
  // An image whose sectors hold `byte`.
  fs::path image(const std::string& name, char byte, std::size_t size = kMiB) {
    const fs::path path = scratch_ / name;
    std::ofstream(path, std::ios::binary) << std::string(size, byte);
    return path;
  }
  std::unique_ptr<BootedVm> boot_with(const std::string& folder,
                                      const std::vector<std::string>& disks) {
    BootOptions options{.cmdline = kNoAgent};
    for (const std::string& disk : disks) {
      options.arguments.emplace_back("--disk");
      options.arguments.push_back(disk);
    }
    auto vm = BootedVm::boot(scratch_ / folder, options);
    if (vm) vm->guest().get(kLoadDrivers);
    return vm;
  }
  static Outcome clonevm(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Lab::get().clonevm);
    auto outcome = lab::run(arguments, Seconds(60));
    EXPECT_TRUE(outcome);
    return outcome.value_or(Outcome{});
  }
};

// 256 KiB of one letter at an offset of some KiB, past the guest's cache.
std::string write_letter(const std::string& disk, char letter, int at_kib, bool flush = true) {
  return std::string("head -c 262144 /dev/zero | tr '\\000' '") + letter +
         "' >/tmp/letter && dd if=/tmp/letter of=/dev/" + disk +
         " bs=64k seek=" + std::to_string(at_kib) + "k oflag=direct,seek_bytes " +
         (flush ? "conv=notrunc,fsync" : "conv=notrunc");
}
std::string read_letters(const std::string& disk, int at_kib) {
  return "dd if=/dev/" + disk + " bs=64k count=4 skip=" + std::to_string(at_kib) +
         "k iflag=direct,skip_bytes 2>/dev/null | fold -w 1 | sort -u | tr -d '\\n'";
}

TEST_F(DiskTest, GuestSeesItsDisksInOrderAndWritesWhereItMay) {
  const fs::path direct = image("direct", 'd');
  const fs::path fixed = image("fixed", 'f', 2 * kMiB);
  const fs::path base = image("base", 'b', 3 * kMiB);
  auto vm = boot_with("source", {direct.string() + ",serial=root-1", fixed.string() + ",ro",
                                 base.string() + ",layer=" + (scratch_ / "layer").string(),
                                 base.string() + ",layer=temporary"});
  ASSERT_TRUE(vm);
  const Guest guest = vm->guest();
  EXPECT_EQ(
      guest.get("cd /sys/block; for d in vda vdb vdc vdd; do echo $(cat $d/size $d/ro); done"),
      "2048 0\n4096 1\n6144 0\n6144 0");
  EXPECT_EQ(guest.get("cat /sys/block/vda/serial"), "root-1");
  EXPECT_EQ(guest.get(read_letters("vdb", 100)), "f");
  EXPECT_NE(guest.run(write_letter("vdb", 'X', 0))->status, 0) << "a disk that is only read";
  for (const char* disk : {"vda", "vdc", "vdd"}) {
    guest.get(write_letter(disk, 'W', 512));
    EXPECT_EQ(guest.get(read_letters(disk, 512)), "W") << disk;
  }
  EXPECT_EQ(read_file(direct).substr(512 * 1024, 262144), std::string(262144, 'W'));
  EXPECT_EQ(read_file(fixed), std::string(2 * kMiB, 'f'));
  EXPECT_EQ(read_file(base), std::string(3 * kMiB, 'b')) << "the layers' base was written";
  EXPECT_EQ(guest.get(read_letters("vdd", 1024)), "b");
  // Through the page cache, with many requests at once and out of order.
  guest.get(
      "head -c 1m /dev/urandom >/tmp/random; dd if=/tmp/random of=/dev/vdc bs=4k seek=512; sync;"
      "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vdc bs=4k skip=512 count=256 | cmp - "
      "/tmp/random");
  guest.get("blkdiscard -o 1048576 -l 1048576 /dev/vdc");
  EXPECT_EQ(guest.get("dd if=/dev/vdc bs=4k skip=256 count=256 iflag=direct 2>/dev/null | tr -d "
                      "'\\000' | wc -c"),
            "0");
  // Who else wants to write to it is told so.
  const Outcome second = clonevm({"run", "--kernel", Lab::get().kernel, "--disk", direct.string()});
  EXPECT_EQ(second.status, 1);
  EXPECT_EQ(second.output, "clonevm: disk 0: " + direct.string() + ": in use by another process\n");
  EXPECT_NE(clonevm({"metrics", "--api", (scratch_ / "source" / "api").string()})
                .output.find("clonevm_disk_errors_total{disk=\"2\"} 0"),
            std::string::npos);
}

// What the guest flushed is there after the VMM was killed, in an image and in a layer.
TEST_F(DiskTest, WhatWasFlushedSurvivesTheDeathOfTheVmm) {
  const fs::path direct = image("direct", 'd');
  const fs::path base = image("base", 'b');
  const std::vector<std::string> disks = {
      direct.string(), base.string() + ",layer=" + (scratch_ / "layer").string()};
  auto vm = boot_with("source", disks);
  ASSERT_TRUE(vm);
  for (const char* disk : {"vda", "vdb"}) vm->guest().get(write_letter(disk, 'S', 256));
  vm->process().signal(SIGKILL);
  ASSERT_TRUE(vm->process().wait(Seconds(20)));
  vm = boot_with("again", disks);
  ASSERT_TRUE(vm);
  for (const char* disk : {"vda", "vdb"})
    EXPECT_EQ(vm->guest().get(read_letters(disk, 256)), "S") << disk;
  EXPECT_EQ(vm->guest().get(read_letters("vdb", 0)), "b");
  EXPECT_EQ(read_file(base), std::string(kMiB, 'b'));
}

}  // namespace
}  // namespace clonesafe::lab
