// Reads arbitrary bytes as a generation page, with a writer that changes them under the reader.
// What is found usable must be a slot of the page as it stood, and no page may hold a reader up.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "libclonesafe/page/generation_page_view.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe;
  auto page = std::make_unique<clonesafe_generation_page>();
  std::memcpy(page.get(), data, size < sizeof(*page) ? size : sizeof(*page));
  // What is left over are control words that a writer stores while the reader copies.
  const std::uint8_t* rest = data + (size < sizeof(*page) ? size : sizeof(*page));
  std::size_t left = size < sizeof(*page) ? 0 : size - sizeof(*page);
  int copies = 0;
  GenerationSnapshot snapshot;
  const PageCondition condition = read_generation_page(*page, snapshot, [&] {
    ++copies;
    if (left < sizeof(page->control)) return;
    std::memcpy(&page->control, rest, sizeof(page->control));
    rest += sizeof(page->control);
    left -= sizeof(page->control);
  });
  if (copies > kGenerationReadTries) std::abort();
  if (describe(condition) == nullptr) std::abort();
  if (condition != PageCondition::kUsable) return 0;
  const unsigned index = CLONESAFE_GENERATION_SLOT_OF(snapshot.control);
  if (index >= CLONESAFE_GENERATION_SLOTS || snapshot.control != page->control) std::abort();
  if (std::memcmp(&snapshot.slot, &page->slots[index], sizeof(snapshot.slot)) != 0) std::abort();
  return 0;
}
