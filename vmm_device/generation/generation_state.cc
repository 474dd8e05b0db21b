// The section that the generation devices keep in a snapshot.
#include <utility>

#include "clonesafe/abi/vmclock.h"
#include "vmm_device/generation/generation_devices.h"

namespace clonesafe {
namespace {

constexpr std::uint32_t kVersion = 1;
enum : std::uint32_t {
  kVmgenid = 1,
  kVmclock = 2,
  kRestorePage = 4,
  kSeed = 8,
  // Set where it is off: a snapshot of a machine that has all keeps its bits.
  kNoRegisteredPage = 16,
  kAllOptions = 31,
};

std::uint32_t to_bits(const GenerationOptions& options) {
  return (options.vmgenid ? kVmgenid : 0u) | (options.vmclock ? kVmclock : 0u) |
         (options.restore_page ? kRestorePage : 0u) | (options.seed ? kSeed : 0u) |
         (options.registered_page ? 0u : kNoRegisteredPage);
}

template <std::size_t kSize>
Status get_array(StateDecoder& decoder, std::array<std::byte, kSize>& array) {
  auto value = decoder.get_struct<std::array<std::byte, kSize>>();
  if (!value) return fail(std::move(value).error());
  array = *value;
  return {};
}

template <typename T>
Status get_into(StateDecoder& decoder, T& field) {
  auto value = decoder.get<T>();
  if (!value) return fail(std::move(value).error());
  field = *value;
  return {};
}

}  // namespace

void GenerationDevices::save(StateEncoder& encoder) const {
  const std::lock_guard lock(mutex_);
  encoder.put(kVersion);
  encoder.put(to_bits(options_));
  encoder.put(identity_.kind);
  encoder.put(identity_.generation);
  encoder.put(identity_.reseed_epoch);
  encoder.put(identity_.disruption_marker);
  encoder.put_struct(identity_.vm_generation_id);
  encoder.put_struct(identity_.restore_id);
  encoder.put(identity_.host_realtime_ns);
  // The sequences are the pages', odd or even: readers in the snapshot compare with what they saw.
  // A guest may write to a page that is off; that is none of ours.
  encoder.put(options_.vmclock
                  ? vmclock_page().load<std::uint32_t>(offsetof(clonesafe_vmclock, seq_count))
                  : 0u);
  encoder.put(options_.restore_page
                  ? restore_page().load<std::uint32_t>(offsetof(clonesafe_restore_page, sequence))
                  : 0u);
  encoder.put(std::uint8_t{registration_ ? std::uint8_t{1} : std::uint8_t{0}});
  if (registration_) {
    encoder.put(registration_->address.value());
    encoder.put_struct(registration_->nonce);
  }
}

Status GenerationDevices::restore(StateDecoder& decoder) {
  std::uint32_t version = 0;
  std::uint32_t bits = 0;
  std::uint32_t vmclock_sequence = 0;
  std::uint32_t restore_sequence = 0;
  std::uint8_t registered = 0;
  Identity identity;
  std::optional<PageRegistration> registration;

  if (auto got = get_into(decoder, version); !got) return got;
  if (version != kVersion) return decoder.corrupt("unknown version " + std::to_string(version));
  if (auto got = get_into(decoder, bits); !got) return got;
  if ((bits & ~std::uint32_t{kAllOptions}) != 0) {
    return decoder.corrupt("unknown devices " + std::to_string(bits));
  }
  if (auto got = get_into(decoder, identity.kind); !got) return got;
  if (identity.kind < RestoreKind::kBoot || identity.kind > RestoreKind::kMove) {
    return decoder.corrupt("unknown kind " + std::to_string(std::to_underlying(identity.kind)));
  }
  if (auto got = get_into(decoder, identity.generation); !got) return got;
  if (auto got = get_into(decoder, identity.reseed_epoch); !got) return got;
  if (auto got = get_into(decoder, identity.disruption_marker); !got) return got;
  if (identity.generation == 0 || identity.reseed_epoch == 0 || identity.disruption_marker == 0) {
    return decoder.corrupt("a generation, reseed epoch or disruption marker of zero");
  }
  if (auto got = get_array(decoder, identity.vm_generation_id); !got) return got;
  if (auto got = get_array(decoder, identity.restore_id); !got) return got;
  if (auto got = get_into(decoder, identity.host_realtime_ns); !got) return got;
  if (auto got = get_into(decoder, vmclock_sequence); !got) return got;
  if (auto got = get_into(decoder, restore_sequence); !got) return got;
  if (((bits & kVmclock) == 0 && vmclock_sequence != 0) ||
      ((bits & kRestorePage) == 0 && restore_sequence != 0)) {
    return decoder.corrupt("a sequence of a device that is off");
  }
  if (auto got = get_into(decoder, registered); !got) return got;
  if (registered > 1) return decoder.corrupt("registration flag " + std::to_string(registered));
  if (registered == 1 && (bits & kNoRegisteredPage) != 0) {
    return decoder.corrupt("a registered page on a machine that writes none");
  }
  if (registered == 1) {
    std::uint64_t address = 0;
    registration.emplace();
    if (auto got = get_into(decoder, address); !got) return got;
    registration->address = GuestAddress(address);
    if (auto got = get_array(decoder, registration->nonce); !got) return got;
  }
  if (auto done = decoder.finish(); !done) return done;

  const std::lock_guard lock(mutex_);
  options_ = {.vmgenid = (bits & kVmgenid) != 0,
              .vmclock = (bits & kVmclock) != 0,
              .restore_page = (bits & kRestorePage) != 0,
              .seed = (bits & kSeed) != 0,
              .registered_page = (bits & kNoRegisteredPage) == 0};
  identity_ = identity;
  // Its address is checked when it is written to: then the memory it lies in is surely there.
  registration_ = registration;
  registration_ended_.clear();
  for (SharedPage each : {vmgenid_page(), vmclock_page(), restore_page(), seed_page()}) {
    each.zero(0, SharedPage::kSize);
  }
  if (options_.vmgenid) write_vmgenid();
  if (options_.vmclock) {
    vmclock_page().store(offsetof(clonesafe_vmclock, seq_count), vmclock_sequence);
    write_vmclock_fields();
  }
  if (options_.restore_page) {
    restore_page().store(offsetof(clonesafe_restore_page, sequence), restore_sequence);
    write_restore_fields();
  }
  return {};
}

}  // namespace clonesafe
