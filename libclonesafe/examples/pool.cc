// A connection pool that is made anew in a clone, after a restore and in a child of fork. For each
// line on its standard input it says on which connection of which pool it would send it.
//
//   c++ -std=c++17 pool.cc $(pkg-config --cflags --libs clonesafe) -o pool
#include <clonesafe/values.hpp>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

namespace {

// Stands for a real one, with a name under which the server knows its sessions.
class Pool {
 public:
  Pool() : name_(clonesafe::Uuid::random()) {}
  // For a machine that goes on: says goodbye on every connection.
  void close() { std::cout << "pool " << name_ << " closes its connections\n"; }
  // For a clone: the connections are the source's, so nothing may be sent on them, no goodbye
  // either.
  void abandon() { std::cout << "pool " << name_ << " drops its connections\n"; }
  std::string next() { return name_.to_string() + " connection " + std::to_string(++used_); }

 private:
  clonesafe::Uuid name_;
  int used_ = 0;
};

}  // namespace

int main() try {
  clonesafe::PerGeneration<Pool> pools([] { return Pool(); },
                                       [](std::unique_ptr<Pool> pool, int stale) {
                                         if (stale != 0)
                                           pool->abandon();
                                         else
                                           pool->close();
                                       });
  std::string line;
  while (std::getline(std::cin, line)) {
    // For this request: the handle keeps this pool alive even if another thread finds it stale.
    const auto pool = pools.get();
    std::cout << line << " over " << pool->next() << "\n" << std::flush;
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
