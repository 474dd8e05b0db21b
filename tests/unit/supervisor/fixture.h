#ifndef CLONESAFE_TESTS_UNIT_SUPERVISOR_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_SUPERVISOR_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/supervisor/supervisor.h"

namespace clonesafe::supervisor {

// A stream whose text can be had later.
class Captured {
 public:
  Captured() : file_(std::tmpfile()) {}
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { std::fclose(file_); }
  std::FILE* file() const { return file_; }
  std::string text() const {
    std::fflush(file_);
    std::string all;
    char buffer[4096];
    EXPECT_EQ(std::fseek(file_, 0, SEEK_SET), 0);
    for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, file_)) > 0;)
      all.append(buffer, got);
    return all;
  }
  std::vector<std::string> lines() const {
    std::istringstream stream(text());
    std::vector<std::string> all;
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
  }

 private:
  std::FILE* file_;
};

class SupervisorTest : public testing::Test {
 protected:
  void write_snapshot(bool agent_connected = true) {
    auto request = guest_.request();
    request.agent_connected = agent_connected;
    ASSERT_TRUE(snapshot::write(dir(), request));
  }
  std::filesystem::path dir() const { return temporary_.path() / "snapshot"; }
  std::filesystem::path run_dir() const { return temporary_.path() / "run"; }

  snapshot::TemporaryDirectory temporary_;
  snapshot::SmallGuest guest_;
  Captured out_;
  Captured err_;
};

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_TESTS_UNIT_SUPERVISOR_FIXTURE_H_
