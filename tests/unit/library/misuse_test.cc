// The shipped library where programs may well get it: without what it needs, after the end, with
// arguments that are none. A code each time, never a crash, never a value that another has too.
#include <dlfcn.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/page/generation_page_writer.h"
#include "tests/unit/library/every_call.h"

namespace clonesafe::every_call {
namespace {

using ::testing::Contains;
using ::testing::Each;

using Codes = std::map<std::string, std::set<int>>;

std::vector<Call> all_calls() {
  std::vector<Call> calls(std::begin(kDraws), std::end(kDraws));
  calls.insert(calls.end(), std::begin(kOthers), std::end(kOthers));
  return calls;
}
std::vector<Call> draws() {
  return {std::begin(kDraws), std::end(kDraws)};
}

// The library must not have been used in this process: each case is a child that is the first.
class MisuseTest : public ::testing::Test {
 protected:
  MisuseTest() {
    std::string pattern = ::testing::TempDir() + "clonesafe-misuse-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    std::filesystem::create_directory(folder_ + "/workers");
    workers_ = folder_ + "/workers";
    lessor_folder = workers_.c_str();
    clonesafe_generation_slot slot = {};
    slot.generation = slot.reseed_epoch = 1;
    slot.state = CLONESAFE_STATE_SAFE;
    slot.tier = CLONESAFE_TIER_WORD;
    EXPECT_TRUE(GenerationPageWriter::open(folder_ + "/generation", slot));
    ::setenv("CLONESAFE_GENERATION_PAGE", (folder_ + "/generation").c_str(), 1);  // NOLINT
  }
  ~MisuseTest() override {
    lessor_folder = nullptr;
    std::filesystem::remove_all(folder_);
  }

  // Makes `calls` in siblings: children of this process, each after `condition`. In half of them
  // the library is already in use when the condition begins. Returns which codes came.
  Codes in_siblings(const std::vector<Call>& calls, const std::function<void()>& condition,
                    int siblings = 4) {
    std::vector<int> pipes;
    std::vector<pid_t> children;
    for (int i = 0; i < siblings; ++i) {
      int ends[2] = {};
      EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(30);  // a hang is a failure
        if (i % 2 == 1) {
          Output output;
          kDraws[0].make(output);
          if (output.code != 0) ::_exit(4);
        }
        condition();
        answer(calls, ends[1]);
        // Without exit handlers: a filter may stand in their way.
        ::syscall(SYS_exit_group, 0);
      }
      ::close(ends[1]);
      children.push_back(child);
      pipes.push_back(ends[0]);
    }
    Codes codes;
    std::map<std::string, std::string> seen;
    for (int i = 0; i < siblings; ++i) {
      SCOPED_TRACE("sibling " + std::to_string(i));
      judge(calls, pipes[static_cast<std::size_t>(i)], codes, seen);
      int status = 0;
      EXPECT_EQ(::waitpid(children[static_cast<std::size_t>(i)], &status, 0),
                children[static_cast<std::size_t>(i)]);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "ended with " << status;
    }
    return codes;
  }

  static void answer(const std::vector<Call>& calls, int pipe) {
    for (const Call& call : calls) {
      Output output;
      call.make(output);
      (void)!::write(pipe, &output, sizeof(output));
    }
  }
  static void judge(const std::vector<Call>& calls, int pipe, Codes& codes,
                    std::map<std::string, std::string>& seen) {
    for (const Call& call : calls) {
      SCOPED_TRACE(call.name);
      Output output;
      if (::read(pipe, &output, sizeof(output)) != static_cast<ssize_t>(sizeof(output))) {
        ADD_FAILURE() << "the child ended in this call";
        break;
      }
      const char* const fault = fault_of(output);
      EXPECT_EQ(fault, nullptr) << fault << " (" << output.code << ")";
      codes[call.name].insert(output.code);
      if (output.code != 0 || output.size == 0) continue;
      const std::string bytes(reinterpret_cast<const char*>(output.bytes), output.size);
      EXPECT_TRUE(seen.emplace(bytes, call.name).second) << "repeats " << seen[bytes];
    }
    ::close(pipe);
  }

  std::string folder_;
  std::string workers_;
};

void expect_success(const Codes& codes, const std::vector<Call>& calls) {
  for (const Call& call : calls) {
    EXPECT_THAT(codes.at(call.name), Each(0)) << call.name;
  }
}

// The twin of the rest, and proof that the judge has something to judge.
TEST_F(MisuseTest, WithoutMisuseEverythingSucceeds) {
  expect_success(in_siblings(all_calls(), [] {}), all_calls());
}

TEST_F(MisuseTest, WithoutAPageToo) {
  ::setenv("CLONESAFE_GENERATION_PAGE", "/nonexistent/page", 1);  // NOLINT
  expect_success(in_siblings(draws(), [] {}), draws());
}

// Allows or refuses system calls by their number, for this process from now on.
void filter_calls(const std::vector<long>& numbers, std::uint32_t these, std::uint32_t others) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, nr)))};
  for (const long number : numbers) {
    program.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, these));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, others));
  const sock_fprog filter = {.len = static_cast<unsigned short>(program.size()),
                             .filter = program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    ::_exit(5);
  }
}

TEST_F(MisuseTest, FilterWithoutGetrandomLeavesDevUrandom) {
  for (const std::uint32_t error : {std::uint32_t{EPERM}, std::uint32_t{ENOSYS}}) {
    SCOPED_TRACE(error);
    const auto calls = draws();
    expect_success(in_siblings(calls,
                               [error] {
                                 filter_calls({SYS_getrandom}, SECCOMP_RET_ERRNO | error,
                                              SECCOMP_RET_ALLOW);
                               }),
                   calls);
  }
}

// Neither: nothing that needs a seed succeeds, but what was seeded before goes on.
TEST_F(MisuseTest, FilterWithoutGetrandomAndOpenFailsClosed) {
  for (const std::uint32_t error : {std::uint32_t{EPERM}, std::uint32_t{ENOSYS}}) {
    SCOPED_TRACE(error);
    const Codes codes = in_siblings(all_calls(), [error] {
      filter_calls({SYS_getrandom, SYS_openat, SYS_open}, SECCOMP_RET_ERRNO | error,
                   SECCOMP_RET_ALLOW);
    });
    EXPECT_THAT(codes.at("cs_random"), ::testing::UnorderedElementsAre(0, CS_E_ENTROPY));
    EXPECT_THAT(codes.at("cs_random_fresh"), Each(CS_E_ENTROPY));
    EXPECT_THAT(codes.at("cs_status"), Each(0));
  }
}

#ifndef SANITIZED
// What docs/library.md tells filters to let through after cs_init, also for a page that appears
// later.
TEST_F(MisuseTest, FilterThatKillsForAnythingElseIsGoodEnough) {
  const std::vector<long> needed = {SYS_getrandom, SYS_openat, SYS_fstat, SYS_newfstatat, SYS_mmap,
                                    SYS_munmap, SYS_close,
                                    // Of this test.
                                    SYS_write, SYS_exit_group};
  const std::string later = folder_ + "/later";
  ::setenv("CLONESAFE_GENERATION_PAGE", later.c_str(), 1);  // NOLINT
  // The page is looked for now and then: until it is found, under the filter, and then drawn with.
  std::vector<Call> calls = {{"tier", [](Output& output) {
                                cs_status_report report = {};
                                do {
                                  output.code = cs_status(&report, sizeof(report));
                                } while (output.code == 0 && report.tier != CS_TIER_WORD);
                              }}};
  const std::vector<Call> with_page = draws();
  calls.insert(calls.end(), with_page.begin(), with_page.end());
  const auto condition = [&] {
    if (cs_init() != 0) ::_exit(6);
    (void)!::link((folder_ + "/generation").c_str(), later.c_str());
    filter_calls(needed, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
  };
  expect_success(in_siblings(calls, condition), calls);
}

// As little memory as the process has, and a little more each time, up to what is enough.
TEST_F(MisuseTest, TooLittleAddressSpaceIsACode) {
  bool failed = false;
  bool succeeded = false;
  for (std::size_t more = 0; more <= 4096 && !HasFailure(); more = more * 2 + 16) {
    SCOPED_TRACE(std::to_string(more) + " KiB");
    const Codes codes = in_siblings(
        all_calls(),
        [more] {
          std::size_t pages = 0;
          std::ifstream("/proc/self/statm") >> pages;
          if (pages == 0) ::_exit(7);
          const rlimit limit = {.rlim_cur = pages * 4096 + more * 1024, .rlim_max = RLIM_INFINITY};
          if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(8);
        },
        2);
    failed |= !codes.at("cs_init").contains(0);
    failed |= codes.at("cs_init").size() > 1;
    succeeded |= codes.at("cs_init") == std::set<int>{0};
  }
  EXPECT_TRUE(failed) << "no limit was too small";
  EXPECT_TRUE(succeeded) << "no limit was large enough";
}
#endif

TEST_F(MisuseTest, NoDescriptorLeftLeavesGetrandom) {
  const auto use_all = [] {
    const rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(9);
    while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    if (errno != EMFILE) ::_exit(10);
  };
  const Codes codes = in_siblings(all_calls(), use_all);
  expect_success(codes, draws());
  // Siblings have been told nothing by a page that could not be opened.
  const Codes status =
      in_siblings({{"tier",
                    [](Output& output) {
                      cs_status_report report = {};
                      output.code = cs_status(&report, sizeof(report));
                      if (report.tier == CS_TIER_NONE &&
                          std::strcmp(report.page_problem, "Too many open files") != 0)
                        output.code = 1;
                    }}},
                  use_all);
  EXPECT_THAT(status.at("tier"), Each(0));
}

TEST_F(MisuseTest, NoMemoryMayBeLocked) {
  expect_success(in_siblings(all_calls(),
                             [] {
                               const rlimit limit = {.rlim_cur = 0, .rlim_max = 0};
                               if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(11);
                             }),
                 all_calls());
}

// Threads of the parent are in the middle of everything when it forks; none of them is in the
// child.
TEST_F(MisuseTest, ChildOfAForkWithThreadsInEveryCall) {
#ifdef SANITIZED_THREADS
  GTEST_SKIP() << "ThreadSanitizer ends children of processes with threads";
#endif
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const auto calls = draws();
  constexpr int kChildren = 12;
  const pid_t parent = ::fork();
  if (parent == 0) {
    ::alarm(60);
    std::atomic<bool> stop = false;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&stop, &calls] {
        while (!stop) {
          for (const Call& call : calls) {
            Output output;
            call.make(output);
          }
        }
      });
    }
    // Its own answer as well, so that a child's is compared with it.
    answer(calls, ends[1]);
    for (int i = 0; i < kChildren; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(30);
        answer(calls, ends[1]);
        ::_exit(0);
      }
      int status = 0;
      if (::waitpid(child, &status, 0) != child || status != 0) ::_exit(12);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    ::_exit(0);
  }
  ::close(ends[1]);
  Codes codes;
  std::map<std::string, std::string> seen;
  for (int i = 0; i <= kChildren; ++i) judge(calls, ::dup(ends[0]), codes, seen);
  ::close(ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(parent, &status, 0), parent);
  EXPECT_EQ(status, 0);
  expect_success(codes, calls);
}

// Arguments, in children: the library is in use nowhere else here.
class ArgumentsTest : public MisuseTest {
 protected:
  void in_child(const std::function<void()>& body) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      std::fflush(nullptr);
      ::_exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
};

TEST_F(ArgumentsTest, NullIsACode) {
  in_child([] {
    for (const auto draw : {cs_random, cs_random_private, cs_random_fresh}) {
      EXPECT_EQ(draw(nullptr, 1), CS_E_INVALID);
      EXPECT_EQ(draw(nullptr, SIZE_MAX), CS_E_INVALID);
    }
    for (const auto make : {cs_uuid4, cs_uuid1, cs_uuid6, cs_uuid7, cs_ulid, cs_instance_id}) {
      EXPECT_EQ(make(nullptr), CS_E_INVALID);
    }
    EXPECT_EQ(cs_uuid4_text(nullptr), CS_E_INVALID);
    char text[37] = "x";
    cs_uuid_text(nullptr, text);
    EXPECT_STREQ(text, "");
    cs_ulid_text(nullptr, text);
    const unsigned char uuid[16] = {};
    cs_uuid_text(uuid, nullptr);
    cs_ulid_text(uuid, nullptr);
    EXPECT_EQ(cs_uuid_version(nullptr), 0);
    EXPECT_EQ(cs_ulid_time(nullptr), 0u);
    timespec time = {};
    EXPECT_EQ(cs_uuid_time(nullptr, &time), CS_E_INVALID);
    EXPECT_EQ(cs_uuid_time(uuid, nullptr), CS_E_INVALID);
    unsigned char out[16];
    EXPECT_EQ(cs_uuid_parse(nullptr, 36, out), CS_E_INVALID);
    EXPECT_EQ(cs_uuid_parse(text, 36, nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_ulid_parse(nullptr, 26, out), CS_E_INVALID);
    EXPECT_EQ(cs_ulid_parse(text, 26, nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_generation(nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_begin(nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_commit(nullptr), CS_E_INVALID);
    EXPECT_NE(cs_changed(nullptr), 0);
    EXPECT_EQ(cs_status(nullptr, sizeof(cs_status_report)), CS_E_INVALID);
    EXPECT_EQ(cs_fencing_epoch(0, nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_secret_alloc(1, 0, nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_secret_covered(nullptr), CS_E_INVALID);
    cs_secret_free(nullptr);
    EXPECT_EQ(cs_tagged_random(nullptr, 16), CS_E_INVALID);
    cs_tagged tagged = {};
    cs_stamp stamp = {};
    EXPECT_EQ(cs_tagged_set(nullptr, &stamp, uuid, 16), CS_E_INVALID);
    EXPECT_EQ(cs_tagged_set(&tagged, nullptr, uuid, 16), CS_E_INVALID);
    EXPECT_EQ(cs_tagged_set(&tagged, &stamp, nullptr, 16), CS_E_INVALID);
    EXPECT_EQ(cs_tagged_use(nullptr, out, 16), CS_E_INVALID);
    EXPECT_EQ(cs_tagged_use(&tagged, nullptr, 16), CS_E_INVALID);
    cs_cell cell = {};
    cs_handle* handle = nullptr;
    const auto build = [](void*, void**) { return 0; };
    EXPECT_EQ(cs_once_per_generation(nullptr, build, nullptr, &handle), CS_E_INVALID);
    EXPECT_EQ(cs_once_per_generation(&cell, nullptr, nullptr, &handle), CS_E_INVALID);
    EXPECT_EQ(cs_once_per_generation(&cell, build, nullptr, nullptr), CS_E_INVALID);
    EXPECT_EQ(cs_handle_value(nullptr), nullptr);
    EXPECT_NE(cs_handle_stale(nullptr), 0);
    EXPECT_EQ(cs_handle_copy(nullptr), nullptr);
    cs_handle_release(nullptr);
    cs_cell_clear(nullptr);
    cs_lessor lessor = {};
    EXPECT_EQ(cs_file_lessor(nullptr, 0, &lessor), CS_E_INVALID);
    EXPECT_EQ(cs_file_lessor("/tmp", 0, nullptr), CS_E_INVALID);
    cs_snowflake* source = nullptr;
    EXPECT_EQ(cs_snowflake_new(nullptr, nullptr, &source), CS_E_INVALID);
    EXPECT_EQ(cs_snowflake_new(nullptr, &lessor, &source), CS_E_INVALID) << "no function in it";
    EXPECT_EQ(cs_snowflake_new(nullptr, &lessor, nullptr), CS_E_INVALID);
    std::uint64_t id = 7;
    EXPECT_EQ(cs_snowflake_try(nullptr, &id), CS_E_INVALID);
    EXPECT_EQ(cs_snowflake_next(nullptr, 0, &id), CS_E_INVALID);
    EXPECT_EQ(id, 0u);
    EXPECT_EQ(cs_snowflake_split(nullptr, 1, nullptr), CS_E_INVALID);
    cs_snowflake_free(nullptr);
    cs_hook* hook = nullptr;
    cs_hook_options options = {};
    for (const auto add : {cs_before_snapshot_hook, cs_after_restore_hook}) {
      EXPECT_EQ(add(nullptr, &hook), CS_E_INVALID);
      EXPECT_EQ(add(&options, &hook), CS_E_INVALID) << "no function in it";
      EXPECT_EQ(add(&options, nullptr), CS_E_INVALID);
    }
    cs_hook_remove(nullptr);
    EXPECT_EQ(cs_hooks_report(nullptr, sizeof(cs_hook_report), 1), CS_E_INVALID);
    EXPECT_EQ(cs_watch_stop(), CS_E_INVALID);
    EXPECT_STREQ(cs_strerror(INT_MIN), "unknown error");
    EXPECT_STREQ(cs_tier_name(UINT32_MAX), "unknown");
    EXPECT_STREQ(cs_separation_name(UINT32_MAX), "unknown");
  });
}

TEST_F(ArgumentsTest, LengthsOfNothingAndOfEverythingAreCodes) {
  in_child([] {
    unsigned char guarded[64 + 16];
    std::memset(guarded, 0xee, sizeof(guarded));
    unsigned char* const buffer = guarded;
    for (const std::size_t huge : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1}) {
      for (const auto draw : {cs_random, cs_random_private, cs_random_fresh}) {
        EXPECT_EQ(draw(buffer, huge), CS_E_INVALID);
        EXPECT_EQ(draw(buffer, 0), 0);
      }
      EXPECT_THAT(guarded, Each(0xee));
      void* memory = nullptr;
      EXPECT_EQ(cs_secret_alloc(huge, CS_SECRET_ALLOW_UNCOVERED, &memory), CS_E_INVALID);
      cs_status_report report = {};
      EXPECT_EQ(cs_status(&report, huge), CS_E_INVALID);
      cs_tagged tagged = {};
      EXPECT_EQ(cs_tagged_random(&tagged, huge), CS_E_INVALID);
      cs_stamp stamp = {};
      EXPECT_EQ(cs_tagged_set(&tagged, &stamp, buffer, huge), CS_E_INVALID);
      EXPECT_EQ(cs_tagged_random(&tagged, 16), 0);
      EXPECT_EQ(cs_tagged_use(&tagged, buffer, huge), CS_E_INVALID);
      for (std::size_t i = CS_TAGGED_MAX; i < sizeof(guarded); ++i) EXPECT_EQ(guarded[i], 0xee);
      std::memset(guarded, 0xee, sizeof(guarded));
      unsigned char uuid[16];
      const char text[] = "919108f7-52d1-4320-9bac-f847db4148a8";
      EXPECT_EQ(cs_uuid_parse(text, huge, uuid), CS_E_INVALID);
      EXPECT_EQ(cs_ulid_parse(text, huge, uuid), CS_E_INVALID);
      cs_hook_report reports[1];
      EXPECT_EQ(cs_hooks_report(reports, huge, 1), CS_E_INVALID);
      EXPECT_EQ(cs_hooks_report(reports, sizeof(reports[0]), huge), 0);
    }
    void* memory = nullptr;
    EXPECT_EQ(cs_secret_alloc(0, CS_SECRET_ALLOW_UNCOVERED, &memory), CS_E_INVALID);
    cs_status_report report = {};
    EXPECT_EQ(cs_status(&report, 0), CS_E_INVALID);
    cs_tagged tagged = {};
    EXPECT_EQ(cs_tagged_random(&tagged, 0), CS_E_INVALID);
    EXPECT_EQ(cs_tagged_use(&tagged, buffer, 0), CS_E_INVALID);
    unsigned char uuid[16];
    EXPECT_EQ(cs_uuid_parse("", 0, uuid), CS_E_INVALID);
    EXPECT_EQ(cs_ulid_parse("", 0, uuid), CS_E_INVALID);
    std::uint64_t epoch = 0;
    EXPECT_EQ(cs_fencing_epoch(UINT64_MAX, &epoch), CS_E_INVALID);
    EXPECT_EQ(epoch, 0u);
  });
}

}  // namespace
}  // namespace clonesafe::every_call
