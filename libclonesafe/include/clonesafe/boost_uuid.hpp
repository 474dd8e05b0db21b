// Generators of boost::uuids::uuid over ids.h, for programs that use Boost.UUID, which keeps a
// state that clones and children repeat: BoostUuidV4 takes the place of
// boost::uuids::random_generator. C++17; include it after putting Boost on the include path.
//
// The generators have no state of their own: any number of threads may share one, and a copy
// repeats nothing. Fork- and clone-safety are those of ids.h. They throw LibraryError.
#ifndef CLONESAFE_BOOST_UUID_HPP_
#define CLONESAFE_BOOST_UUID_HPP_

#include <algorithm>
#include <array>
#include <boost/uuid/uuid.hpp>

#include "clonesafe/ids.hpp"

namespace clonesafe {

inline boost::uuids::uuid to_boost(const Uuid& uuid) {
  boost::uuids::uuid result;
  std::copy(uuid.bytes().begin(), uuid.bytes().end(), result.begin());
  return result;
}

inline Uuid from_boost(const boost::uuids::uuid& uuid) {
  std::array<unsigned char, 16> bytes = {};
  std::copy(uuid.begin(), uuid.end(), bytes.begin());
  return Uuid(bytes);
}

template <Uuid (*Make)()>
struct BoostUuidGenerator {
  using result_type = boost::uuids::uuid;
  result_type operator()() const { return to_boost(Make()); }
};

using BoostUuidV1 = BoostUuidGenerator<&Uuid::v1>;
using BoostUuidV4 = BoostUuidGenerator<&Uuid::v4>;
using BoostUuidV6 = BoostUuidGenerator<&Uuid::v6>;
using BoostUuidV7 = BoostUuidGenerator<&Uuid::v7>;

}  // namespace clonesafe

#endif  // CLONESAFE_BOOST_UUID_HPP_
