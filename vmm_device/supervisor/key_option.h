#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_KEY_OPTION_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_KEY_OPTION_H_

#include <filesystem>
#include <memory>
#include <optional>

#include "vmm_device/snapshot/key.h"

namespace clonesafe::supervisor {

// The key of `--key`; null without the option.
inline Result<std::unique_ptr<snapshot::Key>> read_key(
    const std::optional<std::filesystem::path>& file) {
  if (!file) return nullptr;
  auto key = snapshot::Key::read(*file);
  if (!key) return fail(std::move(key).error());
  return std::make_unique<snapshot::Key>(std::move(*key));
}

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_KEY_OPTION_H_
