// A program of the lab guest that keeps a secret in cs_secret_alloc's memory and another value in
// ordinary memory. Whoever writes a line to the FIFO that it is given reads the answer from the
// other: `state` (never what the values are), `renew`, or `show`, after which they are no secret
// any more: their text stands in the guest's memory.
#include <sys/random.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "clonesafe/clonesafe.h"

namespace {

constexpr std::size_t kSize = 32;

// Straight into its place: no copy of it is made anywhere.
bool renew(unsigned char* value) {
  return ::getrandom(value, kSize, 0) == static_cast<ssize_t>(kSize);
}

bool is_zero(const unsigned char* value) {
  for (std::size_t i = 0; i < kSize; ++i)
    if (value[i] != 0) return false;
  return true;
}

// Tells two values apart and gives neither away.
std::uint64_t sum(const unsigned char* value) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < kSize; ++i) hash = (hash ^ value[i]) * 0x100000001b3;
  return hash;
}

std::string hex(const unsigned char* value) {
  std::string text;
  for (std::size_t i = 0; i < kSize; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", value[i]);
    text += digits;
  }
  return text;
}

std::string state(const unsigned char* secret, const unsigned char* ordinary) {
  char text[128];
  std::snprintf(text, sizeof text, "covered=%d zero=%d sum=%llx ordinary=%llx",
                cs_secret_covered(secret), is_zero(secret) ? 1 : 0,
                static_cast<unsigned long long>(sum(secret)),
                static_cast<unsigned long long>(sum(ordinary)));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: secret_holder QUESTIONS ANSWERS covered|any\n");
    return 2;
  }
  const unsigned flags = std::strcmp(argv[3], "any") == 0 ? CS_SECRET_ALLOW_UNCOVERED : 0;
  void* memory = nullptr;
  if (const int result = cs_secret_alloc(kSize, flags, &memory); result != 0) {
    std::fprintf(stderr, "secret_holder: %s\n", cs_strerror(result));
    return 1;
  }
  auto* const secret = static_cast<unsigned char*>(memory);
  static unsigned char ordinary[kSize];
  if (!renew(secret) || !renew(ordinary)) return 1;
  for (;;) {
    std::ifstream questions(argv[1]);
    std::string line;
    std::getline(questions, line);
    if (line == "renew" && (!renew(secret) || !renew(ordinary))) return 1;
    const bool shown = line == "show";
    std::ofstream(argv[2]) << (shown ? hex(secret) + " " + hex(ordinary) : state(secret, ordinary))
                           << "\n";
  }
}
