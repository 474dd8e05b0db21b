// Writes what the library draws to standard output, until nobody reads it or enough is written.
// usage: random_stream public|private|fresh|ctr_drbg [BYTES]
//
// It makes the page of a machine of tier `word` for itself: without one every draw would be mixed
// with the kernel's bytes, whose statistics these would be. The draws have many lengths, so that
// blocks, what is left of them, and long requests are all in the stream. Says at the end how many
// bytes it wrote.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/page/generation_page_writer.h"

namespace {

void must(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "random_stream: %s\n", what);
  ::_exit(1);
}

void use_page_of_our_own() {
  const std::string path = "/dev/shm/clonesafe-stream-" + std::to_string(::getpid());
  clonesafe_generation_slot slot = {};
  slot.generation = slot.reseed_epoch = slot.kernel_rng_epoch = 1;
  slot.state = CLONESAFE_STATE_SAFE;
  slot.tier = CLONESAFE_TIER_WORD;
  must(clonesafe::GenerationPageWriter::open(path, slot).has_value(), "no page");
  ::setenv("CLONESAFE_GENERATION_PAGE", path.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  cs_status_report status = {};
  const bool word = cs_status(&status, sizeof(status)) == 0 && status.tier == CS_TIER_WORD;
  // It stays in use.
  ::unlink(path.c_str());
  must(word, "the page is not in use");
}

void fill(std::vector<unsigned char>& buffer, int (*draw)(void*, std::size_t)) {
  constexpr std::size_t kLengths[] = {16, 7, 64, 300, 1024, 4096, 33, 512, 1};
  std::size_t turn = 0;
  for (std::size_t done = 0; done < buffer.size();) {
    const std::size_t length =
        std::min(kLengths[turn++ % std::size(kLengths)], buffer.size() - done);
    must(draw(buffer.data() + done, length) == 0, "a draw failed");
    done += length;
  }
}

}  // namespace

int main(int argc, char** argv) {
  must(argc == 2 || argc == 3, "usage: random_stream public|private|fresh|ctr_drbg [BYTES]");
  const std::string_view name = argv[1];
  const unsigned long long most = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : ~0ULL;
  const bool drbg = name == "ctr_drbg";
  must(drbg || name == "public" || name == "private" || name == "fresh", "no such stream");
  must(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR, "signal");
  use_page_of_our_own();
  must(!drbg || cs_use_core(CS_CORE_CTR_DRBG) == 0, "libcrypto has no CTR_DRBG");
  const auto draw = name == "private" ? cs_random_private
                    : name == "fresh" ? cs_random_fresh
                                      : cs_random;
  std::vector<unsigned char> buffer(std::size_t{1} << 20);
  unsigned long long written = 0;
  bool read = true;
  while (read && written < most) {
    if (most - written < buffer.size()) buffer.resize(most - written);
    fill(buffer, draw);
    for (std::size_t done = 0; read && done < buffer.size();) {
      const ssize_t count = ::write(STDOUT_FILENO, buffer.data() + done, buffer.size() - done);
      if (count < 0 && errno == EINTR) continue;
      read = count >= 0;
      must(read || errno == EPIPE, std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
      if (!read) break;
      done += static_cast<std::size_t>(count);
      written += static_cast<unsigned long long>(count);
    }
  }
  std::fprintf(stderr, "%llu bytes\n", written);
  return 0;
}
