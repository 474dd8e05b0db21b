#include "vmm_device/generation/secret_pages.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

namespace clonesafe {
namespace {

constexpr std::uint32_t kListVersion = 1;

std::string name_of(GuestAddress address) {
  char text[48];
  std::snprintf(text, sizeof text, "secret page at 0x%llx",
                static_cast<unsigned long long>(address.value()));
  return text;
}

// What every list obeys, whoever gave it: then no page is zeroed twice, and none is half a page.
Status check_form(const std::vector<SecretPage>& sorted) {
  if (sorted.size() > CLONESAFE_SECRET_PAGES_MAX) {
    return fail(std::to_string(sorted.size()) + " secret pages, at most " +
                std::to_string(CLONESAFE_SECRET_PAGES_MAX) + " can be registered");
  }
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const GuestAddress address = sorted[i].address;
    if (address.value() % CLONESAFE_SECRET_PAGE_SIZE != 0)
      return fail(name_of(address) + ": not aligned to 4 KiB");
    if (i > 0 && address == sorted[i - 1].address)
      return fail(name_of(address) + ": listed more than once");
  }
  return {};
}

// The guest's vCPUs may be running: the header is copied once.
Status check_page(const GuestMemory& memory, const SecretPage& page) {
  auto bytes = memory.at(page.address, CLONESAFE_SECRET_PAGE_SIZE);
  if (!bytes) return fail(name_of(page.address) + ": not in the guest's memory");
  std::uint64_t magic = 0;
  PageNonce nonce;
  std::memcpy(&magic, bytes->data(), sizeof magic);
  std::memcpy(nonce.data(), bytes->data() + offsetof(clonesafe_secret_page, nonce), nonce.size());
  if (magic != CLONESAFE_SECRET_PAGE_MAGIC)
    return fail(name_of(page.address) + ": no secret page there (magic)");
  if (nonce != page.nonce) return fail(name_of(page.address) + ": not the registered nonce");
  return {};
}

}  // namespace

static_assert(sizeof(PageNonce) == CLONESAFE_SECRET_NONCE_SIZE);

Status SecretPages::replace(std::vector<SecretPage> pages) {
  std::ranges::sort(pages, {}, &SecretPage::address);
  if (auto formed = check_form(pages); !formed) return formed;
  for (const SecretPage& page : pages) {
    if (auto checked = check_page(memory_, page); !checked) return checked;
  }
  pages_ = std::move(pages);
  return {};
}

Result<std::vector<SecretPages::Range>> SecretPages::ranges() const {
  std::vector<Range> ranges;
  for (const SecretPage& page : pages_) {
    if (auto checked = check_page(memory_, page); !checked) return fail(std::move(checked).error());
    // The header stays: by it the clone's own snapshots know the page again.
    ranges.push_back(
        {.start = page.address + CLONESAFE_SECRET_HEADER_SIZE, .size = CLONESAFE_SECRET_DATA_SIZE});
  }
  return ranges;
}

void SecretPages::save(StateEncoder& encoder) const {
  encoder.put(kListVersion);
  encoder.put(static_cast<std::uint32_t>(pages_.size()));
  for (const SecretPage& page : pages_) {
    encoder.put(page.address.value());
    encoder.put_struct(page.nonce);
  }
}

Status SecretPages::restore(StateDecoder& decoder) {
  auto version = decoder.get<std::uint32_t>();
  if (!version) return fail(std::move(version).error());
  if (*version != kListVersion)
    return decoder.corrupt("unknown version " + std::to_string(*version));
  auto count = decoder.get<std::uint32_t>();
  if (!count) return fail(std::move(count).error());
  if (*count == 0 || *count > CLONESAFE_SECRET_PAGES_MAX)
    return decoder.corrupt(std::to_string(*count) + " pages, expected 1 to " +
                           std::to_string(CLONESAFE_SECRET_PAGES_MAX));
  std::vector<SecretPage> pages;
  for (std::uint32_t i = 0; i < *count; ++i) {
    auto address = decoder.get<std::uint64_t>();
    if (!address) return fail(std::move(address).error());
    auto nonce = decoder.get_struct<PageNonce>();
    if (!nonce) return fail(std::move(nonce).error());
    pages.push_back({.address = GuestAddress(*address), .nonce = *nonce});
    if (i > 0 && pages[i].address <= pages[i - 1].address)
      return decoder.corrupt("pages out of order");
  }
  if (auto done = decoder.finish(); !done) return done;
  if (auto formed = check_form(pages); !formed) return decoder.corrupt(formed.error().message());
  for (const SecretPage& page : pages) {
    // The tags are looked at when the next snapshot is taken, as in a machine that was never
    // restored.
    if (!memory_.at(page.address, CLONESAFE_SECRET_PAGE_SIZE))
      return decoder.corrupt(name_of(page.address) + ": not in the guest's memory");
  }
  pages_ = std::move(pages);
  return {};
}

}  // namespace clonesafe
