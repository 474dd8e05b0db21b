#ifndef CLONESAFE_VMM_DEVICE_SNAPSHOT_MAC_H_
#define CLONESAFE_VMM_DEVICE_SNAPSHOT_MAC_H_

#include "vmm_device/snapshot/format.h"
#include "vmm_device/snapshot/key.h"
#include "vmm_device/snapshot/snapshot.h"

namespace clonesafe::snapshot {

// HMAC-SHA256 over the header with zeros for MAC and header digest. The header's digests cover the
// payload and, through the chunk table, memory.
Result<Digest> header_mac(const Key& key, format::Header header);

// Compares in constant time.
bool same_mac(const Digest& mac, const format::Header& header);

}  // namespace clonesafe::snapshot

#endif  // CLONESAFE_VMM_DEVICE_SNAPSHOT_MAC_H_
