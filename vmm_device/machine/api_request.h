#ifndef CLONESAFE_VMM_DEVICE_MACHINE_API_REQUEST_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_API_REQUEST_H_

#include <boost/json/object.hpp>
#include <cstddef>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

// The lines of the control socket (docs/protocols/api.md). What comes in is anyone's who has the
// machine's user.
namespace clonesafe {

inline constexpr int kApiVersion = 1;
inline constexpr std::size_t kApiLineMax = 65536;  // with its newline
inline constexpr std::size_t kApiFilesMax = 2;     // with one request
inline constexpr std::size_t kApiReplyFilesMax =
    10;  // with one reply: of a fork, layers of disks too

using ApiFiles = std::vector<UniqueFd>;

// A request, and what came along with it.
struct ApiRequest {
  boost::json::object body;
  ApiFiles files;  // what is not the machine's to look up: at most kApiFilesMax
};

// One line without its newline, which with it has at most `longest` bytes.
Result<boost::json::object> parse_api_line(std::string_view line,
                                           std::size_t longest = kApiLineMax);
// A request that names a version must name ours.
Status check_api_version(const boost::json::object& request);

boost::json::object api_failure(std::string_view why);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_API_REQUEST_H_
