#include "vmm_device/cli/jail.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

namespace clonesafe::cli {

namespace fs = std::filesystem;

Result<std::unique_ptr<jail::Jail>> make_jail(bool wanted) {
  if (!wanted) {
    std::fprintf(stderr,
                 "clonevm: WARNING: --no-jail: a guest that breaks out of its machine has every "
                 "right of this user\n");
    return nullptr;
  }
  auto jail = jail::Jail::compile();
  if (!jail) return fail(jail.error(), "jail");
  return std::make_unique<jail::Jail>(std::move(*jail));
}

Result<fs::path> common_folder(const std::vector<fs::path>& files) {
  std::optional<fs::path> common;
  for (const fs::path& file : files) {
    const fs::path named = file.has_parent_path() ? file.parent_path() : fs::path(".");
    std::error_code error;
    const fs::path folder = fs::canonical(named, error);
    if (error) return fail(named.string() + ": " + error.message());
    if (!common) {
      common = folder;
      continue;
    }
    const auto [end, ignored] = std::ranges::mismatch(*common, folder);
    fs::path shared;
    for (auto part = common->begin(); part != end; ++part) shared /= *part;
    common = shared;
  }
  return common.value_or(fs::path());
}

Status enter_root(std::vector<fs::path*> sockets) {
  std::erase_if(sockets, [](const fs::path* socket) { return socket->empty(); });
  std::vector<fs::path> files;
  for (const fs::path* socket : sockets) files.push_back(*socket);
  auto root = common_folder(files);
  if (!root) return fail(root.error());
  if (root->empty()) return jail::enter_empty_directory();
  for (fs::path* socket : sockets) {
    const auto folder = common_folder({*socket});
    if (!folder) return fail(folder.error());
    *socket = (*folder / socket->filename()).lexically_relative(*root);
  }
  if (::chdir(root->c_str()) != 0) return fail_errno(root->string());
  return {};
}

}  // namespace clonesafe::cli
