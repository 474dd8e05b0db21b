#include "tests/unit/library/laboratory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "libclonesafe/page/generation_page_writer.h"

namespace clonesafe::laboratory {
namespace {

std::atomic<std::uint64_t> kernel_stream = 0;

// Bytes that depend on nothing but the stream's number and how often they were asked for.
int frozen_kernel_random(void* buffer, std::size_t length) {
  auto* bytes = static_cast<std::uint8_t*>(buffer);
  for (std::size_t i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::uint8_t>(kernel_stream.load() + i);
  }
  return 0;
}

bool no_hardware_random(std::uint64_t (&)[4]) {
  return false;
}

clonesafe_generation_page* own_page() {
  return const_cast<clonesafe_generation_page*>(core::process()->sources.stamp().page);
}

template <typename T>
void replace_by_copy(const T* mapped, std::size_t size) {
  std::vector<std::byte> contents(size);
  std::memcpy(contents.data(), mapped, size);
  auto* address = const_cast<void*>(static_cast<const void*>(mapped));
  void* copy =
      ::mmap(address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (copy != address) std::abort();
  std::memcpy(copy, contents.data(), size);
}

std::uint64_t* own_counter = nullptr;

}  // namespace

Value draw() {
  Value value = {};
  const int result = cs_random(value.data(), value.size());
  EXPECT_EQ(result, 0) << cs_strerror(result);
  return value;
}

std::vector<Value> draw_many(std::size_t count) {
  std::vector<Value> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(draw());
  return values;
}

std::size_t count_repeated(std::vector<Value> values) {
  std::sort(values.begin(), values.end());
  std::size_t repeated = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    repeated += values[i] == values[i - 1] && (i == 1 || values[i - 1] != values[i - 2]);
  }
  return repeated;
}

clonesafe_generation_slot slot_of(const Publication& publication) {
  clonesafe_generation_slot slot = {};
  slot.generation = publication.generation;
  slot.reseed_epoch = publication.reseed_epoch;
  slot.kernel_rng_epoch = publication.kernel_rng_epoch;
  std::memset(slot.diversifier, publication.diversifier, sizeof(slot.diversifier));
  std::memset(slot.vm_generation_id, publication.vm_generation_id, sizeof(slot.vm_generation_id));
  std::memset(slot.restore_id, publication.restore_id, sizeof(slot.restore_id));
  slot.state = publication.state;
  slot.tier = publication.tier;
  return slot;
}

Laboratory::Laboratory() {
  std::string pattern = ::testing::TempDir() + "clonesafe-library-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  folder_ = pattern;
  page_path_ = folder_ + "/generation";
  vmclock_path_ = folder_ + "/vmclock";
  kernel_stream = 1;
  core::seams_for_testing = {.kernel_random = frozen_kernel_random,
                             .hardware_random = no_hardware_random,
                             .freeze_local_inputs = true,
                             .detect_forks = false,
                             .page_path = page_path_.c_str(),
                             .vmclock_path = vmclock_path_.c_str(),
                             .uniqueness_wait_ms = 20,
                             .rescan_always = true};
  restart();
}

Laboratory::~Laboratory() {
  core::seams_for_testing = {};
  restart();
  remove_page();
  ::unlink(vmclock_path_.c_str());
  ::rmdir(folder_.c_str());
}

void Laboratory::publish(const Publication& publication) {
  // The page is written a second time by its owner; an agent that is root needs no permission.
  (void)::chmod(page_path_.c_str(), 0600);
  auto writer = GenerationPageWriter::open(page_path_, slot_of(publication));
  ASSERT_TRUE(writer) << writer.error().message();
  if (writer->created()) return;
  ASSERT_TRUE(writer->commit(writer->control(), slot_of(publication)));
}

void Laboratory::remove_page() const {
  ::unlink(page_path_.c_str());
}

void Laboratory::write_vmclock(std::uint64_t counter) {
  clonesafe_vmclock vmclock = {};
  vmclock.magic = CLONESAFE_VMCLOCK_MAGIC;
  vmclock.size = CLONESAFE_VMCLOCK_SIZE;
  vmclock.version = CLONESAFE_VMCLOCK_VERSION;
  vmclock.flags = CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT;
  vmclock.vm_generation_counter = counter;
  std::array<char, CLONESAFE_VMCLOCK_SIZE> bytes = {};
  std::memcpy(bytes.data(), &vmclock, sizeof(vmclock));
  // In place: the library keeps the file mapped.
  const int fd = ::open(vmclock_path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

std::vector<std::vector<Value>> Laboratory::run_clones(
    int count, const std::function<std::vector<Value>(int)>& body) const {
  Clones clones;
  if (const int number = clones.spawn(count); number > 0) clones.finish(body(number));
  return clones.collect();
}

void write_page_as_vmm(const Publication& publication) {
  clonesafe_generation_page& page = *own_page();
  page.slots[CLONESAFE_GENERATION_VMM_SLOT] = slot_of(publication);
  page.control = CLONESAFE_GENERATION_NEXT(page.control, CLONESAFE_GENERATION_VMM_SLOT);
}

void write_page_as_agent(const Publication& publication) {
  clonesafe_generation_page& page = *own_page();
  const std::uint64_t base = page.control;
  if (!publish_generation(page, base, fill_generation_slot(page, base, slot_of(publication)))) {
    std::abort();
  }
}

void write_clone_counter(std::uint64_t counter) {
  *own_counter = counter;
}

void set_kernel_stream(std::uint64_t number) {
  kernel_stream = number;
}

void take_memory_as_clone() {
  core::Sources& sources = core::process()->sources;
  if (sources.has_page()) replace_by_copy(own_page(), CLONESAFE_GENERATION_PAGE_SIZE);
  if (sources.has_counter()) {
    own_counter = const_cast<std::uint64_t*>(sources.counter_for_testing());
    const auto address = reinterpret_cast<std::uintptr_t>(own_counter);
    replace_by_copy(reinterpret_cast<void*>(address & ~std::uintptr_t{4095}), 4096);
  }
}

int Clones::spawn(int count) {
  std::fflush(nullptr);
  for (int i = 1; i <= count; ++i) {
    int ends[2] = {};
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    const pid_t process = ::fork();
    if (process < 0) std::abort();
    if (process == 0) {
      children_.clear();
      ::close(ends[0]);
      pipe_ = ends[1];
      number_ = i;
      take_memory_as_clone();
      return i;
    }
    ::close(ends[1]);
    children_.push_back({.process = process, .pipe = ends[0]});
  }
  return 0;
}

void Clones::finish(const std::vector<Value>& values) const {
  for (const Value& value : values) {
    if (::write(pipe_, value.data(), value.size()) != static_cast<ssize_t>(value.size()))
      ::_exit(3);
  }
  ::_exit(::testing::Test::HasFailure() ? 2 : 0);
}

std::vector<std::vector<Value>> Clones::collect() {
  std::vector<std::vector<Value>> all;
  for (const Child& child : children_) {
    std::vector<Value> values;
    Value value = {};
    while (::read(child.pipe, value.data(), value.size()) == static_cast<ssize_t>(value.size())) {
      values.push_back(value);
    }
    ::close(child.pipe);
    int status = 0;
    EXPECT_EQ(::waitpid(child.process, &status, 0), child.process);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "clone ended with " << status;
    all.push_back(std::move(values));
  }
  children_.clear();
  return all;
}

}  // namespace clonesafe::laboratory
