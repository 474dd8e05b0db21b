// audit/core: what an audit concludes from the logs of a parent and its clones: collecting, finding
// the cut, comparing.
#ifndef CLONESAFE_TESTS_AUDIT_CORE_COLLECTION_H_
#define CLONESAFE_TESTS_AUDIT_CORE_COLLECTION_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::audit {

// All that one machine handed out, by name (guest/collector.h has the names).
struct Collection {
  std::map<std::string, std::string> files;

  // Files of a collection live in a folder, under their names.
  Status save(const std::filesystem::path& folder) const;
  static Result<Collection> load(const std::filesystem::path& folder);
};

// Where a machine's collector answers: a Unix socket, which leads to its vsock through `CONNECT
// <port>` or, with port 0, straight to its serial port.
struct CollectorAddress {
  std::filesystem::path socket;
  unsigned port = 0;
};

struct CollectRequest {
  std::uint64_t draws = 0;            // of each probe, to wait for
  std::chrono::milliseconds wait{0};  // at most this long
  std::chrono::seconds limit{120};    // for the whole answer
};

Result<Collection> collect(const CollectorAddress& address, const CollectRequest& request);

// The answer's parser, for a stream that has been read whole.
Result<Collection> parse_collection(std::string_view bytes);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_CORE_COLLECTION_H_
