// What the library's tests share: a generation page of their own, and processes that stand in for
// clones of a virtual machine.
#ifndef CLONESAFE_TESTS_UNIT_LIBRARY_LABORATORY_H_
#define CLONESAFE_TESTS_UNIT_LIBRARY_LABORATORY_H_

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/seams.h"
#include "libclonesafe/core/thread_state.h"

namespace clonesafe::laboratory {

using Value = std::array<std::uint8_t, 16>;

Value draw();
std::vector<Value> draw_many(std::size_t count);
// How many values occur more than once.
std::size_t count_repeated(std::vector<Value> values);

struct Publication {
  std::uint64_t generation = 1;
  std::uint64_t reseed_epoch = 1;
  std::uint64_t kernel_rng_epoch = 1;
  // Fills the diversifier and the VM Generation ID; 0 leaves them zero.
  std::uint8_t diversifier = 0;
  std::uint8_t vm_generation_id = 0;
  std::uint8_t restore_id = 0;  // the same for the restore id
  std::uint32_t state = CLONESAFE_STATE_SAFE;
  std::uint32_t tier = CLONESAFE_TIER_WORD;
};
clonesafe_generation_slot slot_of(const Publication& publication);

// A fixture in which everything that could separate clones by chance is frozen: the kernel's and
// the processor's random numbers, clocks and process ids are equal in every clone, and forks are
// not noticed. What is left is the generation.
class Laboratory : public ::testing::Test {
 protected:
  Laboratory();
  ~Laboratory() override;

  // Makes the page's file; the library finds it at its first call after `restart`.
  void publish(const Publication& publication);
  // Removes it.
  void remove_page() const;
  void write_vmclock(std::uint64_t counter);
  void restart() const { core::restart_for_testing(); }

  // Runs `body` in `count` clones: processes forked from this one, each with a page that is its
  // own. Each returns the values it drew. `body` gets the clone's number, from 1.
  std::vector<std::vector<Value>> run_clones(
      int count, const std::function<std::vector<Value>(int)>& body) const;

  std::string folder_;
  std::string page_path_;
  std::string vmclock_path_;
};

// In a clone: writes the page as the VMM does before the first instruction.
void write_page_as_vmm(const Publication& publication);
// In a clone: publishes as the agent does.
void write_page_as_agent(const Publication& publication);
// In a clone: moves VMCLOCK's generation counter, or what the machine has in its place.
void write_clone_counter(std::uint64_t counter);

// The frozen kernel generator's state: another number, another stream.
void set_kernel_stream(std::uint64_t number);

// Replaces the mappings that the library reads by private copies, as a clone has its own memory.
void take_memory_as_clone();
// Forks; the child is a clone that goes on where the call was made, and whose `finish_clone` ends
// it. Returns the clone's number in the child and 0 in the parent.
class Clones {
 public:
  int spawn(int count);
  // In a child: hands over the values and ends.
  [[noreturn]] void finish(const std::vector<Value>& values) const;
  // In the parent: what the children handed over, in order of their numbers.
  std::vector<std::vector<Value>> collect();
  int number() const { return number_; }

 private:
  struct Child {
    int process;
    int pipe;
  };
  std::vector<Child> children_;
  int number_ = 0;
  int pipe_ = -1;
};

}  // namespace clonesafe::laboratory

#endif  // CLONESAFE_TESTS_UNIT_LIBRARY_LABORATORY_H_
