#include "vmm_device/supervisor/metadata.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <span>
#include <string>

#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/restore_page.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/core/clone_number.h"

namespace clonesafe::supervisor {
namespace {

namespace json = boost::json;

// Of a line of the host's, for what else stands in it.
constexpr std::size_t kRestOfLine = 1024;

bool fits_a_line(std::span<const std::byte> bytes) {
  const json::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string line = json::serialize(text);
  json::error_code error;
  (void)json::parse(line, error);  // refuses what isn't UTF-8
  return !error && line.size() <= CLONESAFE_HOST_LINE_MAX - kRestOfLine;
}

Result<std::vector<std::byte>> read_document(const std::string& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(file);
  std::vector<std::byte> bytes(CLONESAFE_HOST_METADATA_MAX + 1);
  std::size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = ::read(fd.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(file + ": read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > CLONESAFE_HOST_METADATA_MAX)
    return fail(file + ": more than " + std::to_string(CLONESAFE_HOST_METADATA_MAX) +
                " bytes of metadata");
  bytes.resize(size);
  if (size > CLONESAFE_RESTORE_METADATA_MAX && !fits_a_line(bytes))
    return fail(file + ": more than " + std::to_string(CLONESAFE_RESTORE_METADATA_MAX) +
                " bytes of metadata that are not UTF-8, or too many to be escaped");
  return bytes;
}

}  // namespace

Result<std::vector<std::vector<std::byte>>> read_metadata(const std::filesystem::path& pattern,
                                                          std::uint32_t count) {
  std::vector<std::vector<std::byte>> documents;
  for (std::uint32_t number = 1; number <= count; ++number) {
    const std::string file = with_clone_number(pattern.string(), std::to_string(number));
    if (number > 1 && file == pattern.string()) {
      documents.push_back(documents.front());
      continue;
    }
    auto document = read_document(file);
    if (!document) return fail(std::move(document).error());
    documents.push_back(std::move(*document));
  }
  return documents;
}

}  // namespace clonesafe::supervisor
