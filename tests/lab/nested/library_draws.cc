// A program of the lab guest that uses libclonesafe and lives through a snapshot. Whoever writes a
// line to the FIFO that it is given reads the next 32 random bytes, in hexadecimal, from the other.
//
// Its kernel gives no randomness: getrandom(2) is replaced by a constant. So nothing but what the
// library finds in memory that the VMM wrote can make its clones differ.
#include <sys/random.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "clonesafe/clonesafe.h"

extern "C" ssize_t getrandom(void* buffer, size_t size, unsigned) {
  std::memset(buffer, 0x5a, size);
  return static_cast<ssize_t>(size);
}

namespace {

std::string draw() {
  unsigned char bytes[32];
  if (const int result = cs_random(bytes, sizeof bytes); result != 0) return cs_strerror(result);
  std::string text;
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: library_draws QUESTIONS ANSWERS\n");
    return 2;
  }
  // Seeded before the snapshot: the clones begin with the same key.
  draw();
  for (;;) {
    std::ifstream questions(argv[1]);
    std::string line;
    std::getline(questions, line);
    std::ofstream(argv[2]) << draw() << "\n";
  }
}
