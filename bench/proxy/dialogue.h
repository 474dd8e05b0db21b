#ifndef CLONESAFE_BENCH_PROXY_DIALOGUE_H_
#define CLONESAFE_BENCH_PROXY_DIALOGUE_H_

#include <optional>
#include <string>
#include <string_view>

namespace clonesafe::bench {

enum class Language { kRedis, kPostgres };

std::optional<Language> language_named(std::string_view name);

// What is said first on a connection; empty: nothing. It has one reply.
std::string greeting(Language language);
// A question with one reply, always the same.
std::string question(Language language);

// Tells when a reply is whole.
class ReplyReader {
 public:
  explicit ReplyReader(Language language) : language_(language) {}
  // True with the last byte of the reply that is awaited; then the next is. Nothing comes unasked.
  bool take(std::string_view bytes);

 private:
  bool take_redis();
  bool take_postgres();

  Language language_;
  std::string pending_;  // of a reply that isn't whole
};

}  // namespace clonesafe::bench

#endif  // CLONESAFE_BENCH_PROXY_DIALOGUE_H_
