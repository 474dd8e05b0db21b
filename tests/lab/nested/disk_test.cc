// Disks of guests: an unmodified kernel's driver and file system on them, clones that share no
// write, and what a crash of the VMM leaves.
#include <signal.h>
#include <sys/mount.h>

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

// The guest sees an I/O error, the VMM says which disk and why, and the other disks go on.
TEST_F(DiskTest, TroubleOfTheHostIsAnIoErrorOfThatDisk) {
  const fs::path cut = image("cut", 'c');
  const fs::path base = image("base", 'b', 3 * kMiB);
  const fs::path small = scratch_ / "small";
  fs::create_directory(small);
  ASSERT_EQ(::mount("small", small.c_str(), "tmpfs", 0, "size=1m"), 0);
  {
    auto vm =
        boot_with("source", {cut.string(), base.string() + ",layer=" + (small / "layer").string(),
                             base.string() + ",layer=temporary"});
    ASSERT_TRUE(vm);
    const Guest guest = vm->guest();
    fs::resize_file(cut, kMiB / 2);
    EXPECT_NE(guest.run("dd if=/dev/vda of=/dev/null bs=64k skip=8 count=4 iflag=direct")->status,
              0);
    EXPECT_NE(guest.run(write_letter("vda", 'X', 768))->status, 0);
    EXPECT_EQ(fs::file_size(cut), kMiB / 2);
    EXPECT_EQ(guest.get(read_letters("vda", 0)), "c");
    EXPECT_NE(guest
                  .run("dd if=/dev/zero bs=64k count=40 2>/dev/null | tr '\\000' X | "
                       "dd of=/dev/vdb bs=64k oflag=direct conv=notrunc iflag=fullblock")
                  ->status,
              0);
    EXPECT_EQ(guest.get(read_letters("vdb", 2560)), "b") << "what could not be written";
    EXPECT_EQ(guest.get(read_letters("vdb", 0)), "X") << "what could";
    guest.get(write_letter("vdc", 'W', 0));
    EXPECT_EQ(guest.get(read_letters("vdc", 0)), "W");
    const std::string metrics =
        clonevm({"metrics", "--api", (scratch_ / "source" / "api").string()}).output;
    EXPECT_EQ(metrics.find("clonevm_disk_errors_total{disk=\"0\"} 0\n"), std::string::npos);
    EXPECT_EQ(metrics.find("clonevm_disk_errors_total{disk=\"1\"} 0\n"), std::string::npos);
    EXPECT_NE(metrics.find("clonevm_disk_errors_total{disk=\"2\"} 0\n"), std::string::npos);
  }
  EXPECT_EQ(::umount(small.c_str()), 0);
}

// A device that takes what is written, and can't put it where it belongs. Once a sync has failed
// the kernel forgets what it could not write, and calls the next sync good: the guest must not.
TEST_F(DiskTest, SyncThatFailedIsAnIoErrorOfTheGuestsForGood) {
  const fs::path small = scratch_ / "small";
  fs::create_directory(small);
  ASSERT_EQ(::mount("small", small.c_str(), "tmpfs", 0, "size=1m"), 0);
  const fs::path file = small / "file";
  std::ofstream(file).close();
  fs::resize_file(file, 4 * kMiB);
  std::string device = lab::run({"losetup", "-f"}, Seconds(60))->output;
  device.pop_back();
  ASSERT_EQ(lab::run({"losetup", device, file.string()}, Seconds(60))->status, 0) << device;
  {
    auto vm = boot_with("source", {device});
    ASSERT_TRUE(vm);
    const Guest guest = vm->guest();
    guest.get(write_letter("vda", 'A', 0));
    const auto errors = [&] {
      const std::string metrics =
          clonevm({"metrics", "--api", (scratch_ / "source" / "api").string()}).output;
      return metrics.find("clonevm_disk_errors_total{disk=\"0\"} 0\n") == std::string::npos;
    };
    EXPECT_FALSE(errors());
    // Taken, and lost at the flush.
    const std::string fill =
        "dd if=/dev/zero bs=64k count=48 2>/dev/null | tr '\\000' X | "
        "dd of=/dev/vda bs=64k oflag=direct conv=notrunc,fsync iflag=fullblock";
    EXPECT_NE(guest.run(fill)->status, 0);
    EXPECT_TRUE(errors());
    // There is room again, but what was lost stays lost.
    ASSERT_EQ(::mount("small", small.c_str(), "tmpfs", MS_REMOUNT, "size=8m"), 0);
    EXPECT_NE(guest.run(write_letter("vda", 'B', 0))->status, 0) << "a flush was called good";
  }
  EXPECT_EQ(lab::run({"losetup", "-d", device}, Seconds(60))->status, 0);
  EXPECT_EQ(::umount(small.c_str()), 0);
}

const std::vector<std::string> kRunning = {"--wait", "running", "--timeout", "110"};

std::vector<std::string> with(std::vector<std::string> options,
                              const std::vector<std::string>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

class DiskCloneTest : public DiskTest {
 protected:
  // A guest with an ext4 file system mounted, which tests/lab/nested.sh made.
  std::unique_ptr<BootedVm> boot_mounted(const std::string& disk) {
    auto vm = boot_with("source", {disk});
    if (vm)
      vm->guest().get(
          "mkdir /mnt && mount -t ext4 /dev/vda /mnt && echo golden >/mnt/golden && sync");
    return vm;
  }
  fs::path file_system() {
    fs::copy_file("disk.img", scratch_ / "disk.img");
    return scratch_ / "disk.img";
  }
  void expect_clean(const fs::path& image) {
    const auto checked = lab::run({"./e2fsck", "-f", "-n", image.string()}, Seconds(60));
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->status, 0) << checked->output;
  }
  void take(const Guest& guest, const std::string& name, const std::string& then = "--resume") {
    const auto taken = guest.snapshot(scratch_ / name, {then});
    ASSERT_TRUE(taken);
    ASSERT_EQ(taken->status, 0) << taken->output;
  }
};

TEST_F(DiskCloneTest, ClonesAndSourceShareNoWrite) {
  const fs::path image = file_system();
  const std::string before = read_file(image);
  auto vm = boot_mounted(image.string() + ",layer=" + (scratch_ / "layer").string());
  ASSERT_TRUE(vm);
  const Guest source = vm->guest();
  source.get("echo unsynced >/mnt/unsynced");
  take(source, "snapshot");
  source.get("echo source >/mnt/whose && sync");
  auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 4,
                                    with(kRunning, {"--keep-layers"}));
  ASSERT_TRUE(restored);
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(restored->guest(i).get("cat /mnt/golden /mnt/unsynced; ls /mnt"),
              "golden\nunsynced\ngolden\nlost+found\nunsynced")
        << "clone " << i << " sees what the source wrote later, or lacks what it wrote before";
    restored->guest(i).get(
        "echo clone " + std::to_string(i) + " >/mnt/whose; " +
        "head -c 2m /dev/urandom >/mnt/random; md5sum </mnt/random >/mnt/sum; sync");
  }
  // Each reads its own from the disk, when all have written.
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(restored->guest(i).get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/whose"),
              "clone " + std::to_string(i));
    restored->guest(i).get("md5sum </mnt/random | cmp - /mnt/sum");
  }
  EXPECT_EQ(source.get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/whose"), "source");

  // A clone of a clone has its parent's, not its grandparent's.
  take(restored->guest(3), "second");
  auto grandchild = Restored::restore(scratch_ / "second", scratch_ / "grandchild", 1, kRunning);
  ASSERT_TRUE(grandchild);
  EXPECT_EQ(
      grandchild->guest(1).get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/golden /mnt/whose; "
                               "md5sum </mnt/random | cmp - /mnt/sum"),
      "golden\nclone 3");
  EXPECT_FALSE(fs::exists(scratch_ / "grandchild" / "1" / "disk0.layer"));
  for (const char* snapshot : {"snapshot", "second"}) {
    const Outcome verified = clonevm({"verify", (scratch_ / snapshot).string()});
    EXPECT_EQ(verified.status, 0) << verified.output;
  }

  // What they leave is whole, alone and merged.
  for (int i = 1; i <= 4; ++i) restored->guest(i).get("umount /mnt");
  source.get("umount /mnt");
  grandchild->process().signal(SIGTERM);
  restored->process().signal(SIGTERM);
  EXPECT_EQ(*restored->process().wait(Seconds(60)), 0);
  EXPECT_EQ(*grandchild->process().wait(Seconds(60)), 0);
  source.order("stop");
  ASSERT_TRUE(vm->process().wait(Seconds(20)));
  EXPECT_TRUE(read_file(image) == before) << "the base was written";
  for (int i = 1; i <= 4; ++i) {
    const fs::path merged = scratch_ / ("merged" + std::to_string(i));
    const Outcome committed =
        clonevm({"commit", (scratch_ / "clones" / std::to_string(i) / "disk0.layer").string(),
                 "--image", image.string(), "--out", merged.string()});
    EXPECT_EQ(committed.status, 0) << committed.output;
    expect_clean(merged);
    EXPECT_NE(read_file(merged).find("clone " + std::to_string(i) + "\n"), std::string::npos);
  }
  const Outcome committed =
      clonevm({"commit", (scratch_ / "layer").string(), "--image", image.string()});
  EXPECT_EQ(committed.status, 0) << committed.output;
  expect_clean(image);
}

// A snapshot while requests are under way: the clone has each of them once.
TEST_F(DiskCloneTest, RequestsUnderWayAreDoneOnce) {
  const fs::path base = image("base", '.', 8 * kMiB);
  auto vm = boot_with("source", {base.string() + ",layer=temporary"});
  ASSERT_TRUE(vm);
  // Two writers, so that there is always one under way: the number of the write, over and over.
  vm->guest().get(
      "for w in 0 1; do (n=0; while :; do n=$((n + 1)); printf '%4095d\\n' $n >/tmp/block$w; "
      "dd if=/tmp/block$w of=/dev/vda bs=4k seek=$((w * 1024 + n % 1000)) oflag=direct "
      "conv=notrunc "
      "2>/dev/null || echo FAILED >/tmp/failed; echo $n >/tmp/written$w; done) >/dev/null 2>&1 & "
      "done; sleep 1");
  // Each writer goes on, and what it wrote last is there.
  const std::string check =
      "for w in 0 1; do a=$(cat /tmp/written$w); i=0; "
      "while [ $(cat /tmp/written$w) = $a ]; do i=$((i + 1)); [ $i -lt 40 ] || exit 2; sleep 1; "
      "done; "
      "n=$a; while [ $n -gt 0 ] && [ $n -gt $((a - 50)) ]; do "
      "[ $(dd if=/dev/vda bs=4k count=1 skip=$((w * 1024 + n % 1000)) iflag=direct 2>/dev/null) = "
      "$n ] "
      "|| exit 3; n=$((n - 1)); done; done; [ ! -e /tmp/failed ]";
  for (int round = 0; round < 2; ++round) {
    const std::string name = "snapshot" + std::to_string(round);
    take(vm->guest(), name);
    auto restored = Restored::restore(scratch_ / name, scratch_ / ("run" + name), 1, kRunning);
    ASSERT_TRUE(restored);
    EXPECT_EQ(restored->guest(1).run(check)->status, 0) << "clone, round " << round;
    EXPECT_EQ(vm->guest().run(check)->status, 0) << "source, round " << round;
  }
}

TEST_F(DiskCloneTest, ForksHaveTheParentsDiskOfTheMoment) {
  const fs::path image = file_system();
  auto vm = boot_mounted(image.string() + ",layer=temporary");
  ASSERT_TRUE(vm);
  auto forked = Restored::fork(scratch_ / "source" / "api", scratch_ / "forks", 2, kRunning);
  ASSERT_TRUE(forked);
  vm->guest().get("echo parent >/mnt/whose; sync");
  for (int i = 1; i <= 2; ++i)
    forked->guest(i).get("echo fork " + std::to_string(i) + " >/mnt/whose; sync");
  for (int i = 1; i <= 2; ++i)
    EXPECT_EQ(forked->guest(i).get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/golden /mnt/whose"),
              "golden\nfork " + std::to_string(i));
  EXPECT_EQ(vm->guest().get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/whose"), "parent");
}

TEST_F(DiskCloneTest, ADiskWrittenInPlaceNeedsTheSourcesEnd) {
  const fs::path image = file_system();
  auto vm = boot_mounted(image.string());
  ASSERT_TRUE(vm);
  const auto refused = vm->guest().snapshot(scratch_ / "refused", {});
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 1);
  EXPECT_EQ(refused->output,
            "clonevm: no snapshot after which the machine goes on: disk 0, " + image.string() +
                ", is written in place (start the machine with layer=FILE or layer=temporary, or "
                "end it with --stop)\n");
  EXPECT_FALSE(fs::exists(scratch_ / "refused"));
  const Outcome fork = clonevm({"fork", "--api", (scratch_ / "source" / "api").string()});
  EXPECT_EQ(fork.status, 1);
  EXPECT_NE(fork.output.find("no fork after which the machine goes on"), std::string::npos)
      << fork.output;
  take(vm->guest(), "snapshot", "--stop");
  ASSERT_TRUE(vm->process().wait(Seconds(20)));
  const std::string frozen = read_file(image);
  {
    auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "clones", 2, kRunning);
    ASSERT_TRUE(restored);
    for (int i = 1; i <= 2; ++i) {
      restored->guest(i).get("echo " + std::to_string(i) + " >/mnt/whose; sync");
    }
    EXPECT_EQ(
        restored->guest(1).get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/golden /mnt/whose"),
        "golden\n1");
    // Nobody writes to it as long as clones read it.
    const Outcome second =
        clonevm({"run", "--kernel", Lab::get().kernel, "--disk", image.string()});
    EXPECT_EQ(second.output,
              "clonevm: disk 0: " + image.string() + ": in use by another process\n");
    restored->process().signal(SIGTERM);
    ASSERT_TRUE(restored->process().wait(Seconds(30)));
  }
  EXPECT_TRUE(read_file(image) == frozen);
  // Elsewhere: by its contents.
  fs::copy_file(image, scratch_ / "copy");
  fs::remove(image);
  const Outcome gone = clonevm(
      {"restore", (scratch_ / "snapshot").string(), "--run-dir", (scratch_ / "none").string()});
  EXPECT_EQ(gone.output,
            "clonevm: restore: disk 0: " + image.string() + ": No such file or directory\n");
  EXPECT_FALSE(fs::exists(scratch_ / "none"));
  const std::string elsewhere = "0=" + (scratch_ / "copy").string();
  {
    auto restored = Restored::restore(scratch_ / "snapshot", scratch_ / "elsewhere", 1,
                                      with(kRunning, {"--disk", elsewhere}));
    ASSERT_TRUE(restored);
    EXPECT_EQ(restored->guest(1).get("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/golden"),
              "golden");
  }
  // A move goes on in place, and is what was written after it.
  auto moved = Restored::restore(scratch_ / "snapshot", scratch_ / "moved", 1,
                                 with(kRunning, {"--disk", elsewhere, "--move"}));
  ASSERT_TRUE(moved);
  moved->guest(1).get("echo moved-in-place >/mnt/whose; umount /mnt");
  moved->process().signal(SIGTERM);
  ASSERT_TRUE(moved->process().wait(Seconds(30)));
  EXPECT_NE(read_file(scratch_ / "copy").find("moved-in-place"), std::string::npos);
  expect_clean(scratch_ / "copy");
}

}  // namespace
}  // namespace clonesafe::lab
