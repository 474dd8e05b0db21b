#include "vmm_device/virtio/net_device.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm_device/virtio/net_device_impl.h"

namespace clonesafe::virtio {
namespace {

constexpr std::array<std::uint16_t, 3> kNetQueueSizes = {256, 256, 64};
// RFC 791: no link carries less.
constexpr std::uint16_t kMinMtu = 68;

constexpr std::uint64_t kNetFeatures =
    kFeatureIndirectDescriptors | kFeatureEventIndex | net::kFeatureChecksum |
    net::kFeatureGuestChecksum | net::kFeatureMtu | net::kFeatureMac | net::kFeatureGuestTso4 |
    net::kFeatureGuestTso6 | net::kFeatureHostTso4 | net::kFeatureHostTso6 |
    net::kFeatureMergeableBuffers | net::kFeatureStatus | net::kFeatureControlQueue |
    net::kFeatureGuestAnnounce;

}  // namespace

void NetDevice::Impl::activated(Activation activation) {
  const std::lock_guard lock(mutex_);
  const QueueLease lease(host_);
  if (!lease) return;  // reset already: there is another activation to come
  features_ = lease.driver_features();
  const auto accepted = [&](std::uint64_t feature) { return (features_ & feature) != 0; };
  const auto set = tap_.set_offloads({.checksum = accepted(net::kFeatureGuestChecksum),
                                      .tso4 = accepted(net::kFeatureGuestTso4),
                                      .tso6 = accepted(net::kFeatureGuestTso6)});
  if (!set) link_down(lease, set.error());
  const bool restored = activation == Activation::kRestored;
  if (!restored) parents_end_.reset();
  announce_due_ = restored && accepted(net::kFeatureGuestAnnounce);
}

void NetDevice::Impl::save(StateEncoder& encoder) const {
  const std::lock_guard lock(mutex_);
  for (const std::uint8_t byte : mac_.bytes) encoder.put(byte);
  encoder.put(mtu_);
  encoder.put(static_cast<std::uint8_t>(queued_end_.has_value()));
  encoder.put(queued_end_.value_or(std::uint16_t{0}));
}

Status NetDevice::Impl::restore(StateDecoder& decoder) {
  const std::lock_guard lock(mutex_);
  network::MacAddress mac;
  for (std::uint8_t& byte : mac.bytes) {
    auto read = decoder.get<std::uint8_t>();
    if (!read) return fail(std::move(read).error());
    byte = *read;
  }
  if (auto valid = check(mac); !valid) return decoder.corrupt(valid.error().message());
  auto mtu = decoder.get<std::uint16_t>();
  if (!mtu) return fail(std::move(mtu).error());
  if (*mtu < kMinMtu) return decoder.corrupt("an MTU of " + std::to_string(*mtu));
  auto queued = decoder.get<std::uint8_t>();
  if (!queued) return fail(std::move(queued).error());
  if (*queued > 1) return decoder.corrupt("neither 0 nor 1");
  auto end = decoder.get<std::uint16_t>();
  if (!end) return fail(std::move(end).error());
  mac_ = options_.mac.value_or(mac);
  // What its driver was told; another tap may have another.
  mtu_ = *mtu;
  if (*queued == 1 && options_.drop_queued) parents_end_ = *end;
  return {};
}

net::Config NetDevice::Impl::config() const {
  const std::lock_guard lock(mutex_);
  net::Config config{};
  std::ranges::copy(mac_.bytes, config.mac);
  config.status = static_cast<std::uint16_t>((link_up_ ? net::kStatusLinkUp : 0) |
                                             (announce_ ? net::kStatusAnnounce : 0));
  config.mtu = mtu_;
  return config;
}

NetDevice::NetDevice(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
NetDevice::~NetDevice() = default;

Result<std::unique_ptr<NetDevice>> NetDevice::create(boost::asio::io_context& device_thread,
                                                     std::string name, network::Tap tap,
                                                     const NetOptions& options) {
  auto impl = std::make_shared<Impl>(device_thread, std::move(name), std::move(tap), options);
  if (auto opened = impl->open(); !opened) return fail(std::move(opened).error());
  return std::unique_ptr<NetDevice>(new NetDevice(std::move(impl)));
}

void NetDevice::release() {
  impl_->release();
}
bool NetDevice::held() const {
  return impl_->held();
}
NetCounts NetDevice::counts() const {
  return impl_->counts();
}
network::MacAddress NetDevice::mac() const {
  return impl_->mac();
}
const std::string& NetDevice::tap() const {
  return impl_->tap();
}
std::uint64_t NetDevice::features() const {
  return kNetFeatures;
}
std::span<const std::uint16_t> NetDevice::queue_sizes() const {
  return kNetQueueSizes;
}
// 5.1.2: without that feature there is no control queue.
std::size_t NetDevice::queues_needed(std::uint64_t driver_features) const {
  return (driver_features & net::kFeatureControlQueue) != 0 ? 3 : 2;
}

void NetDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const net::Config config = impl_->config();
  const auto bytes = std::as_bytes(std::span(&config, 1));
  if (offset >= bytes.size()) return;
  const auto there = bytes.subspan(static_cast<std::size_t>(offset));
  std::memcpy(data.data(), there.data(), std::min(data.size(), there.size()));
}

void NetDevice::attach(QueueHost& host) {
  impl_->attach(host);
}
void NetDevice::activated(Activation activation) {
  impl_->activated(activation);
}
void NetDevice::notified(std::size_t queue) {
  impl_->notified(queue);
}
void NetDevice::reset() {
  impl_->reset();
}
void NetDevice::stop_work() {
  impl_->stop_work();
}
void NetDevice::save(StateEncoder& encoder) const {
  impl_->save(encoder);
}
Status NetDevice::restore(StateDecoder& decoder) {
  return impl_->restore(decoder);
}

}  // namespace clonesafe::virtio
