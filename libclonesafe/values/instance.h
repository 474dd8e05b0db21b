#ifndef CLONESAFE_VALUES_INSTANCE_H_
#define CLONESAFE_VALUES_INSTANCE_H_

namespace clonesafe::values {

#ifdef CLONESAFE_TESTING
// As if this process had never asked for its names.
void forget_names_for_testing();
#endif

}  // namespace clonesafe::values

#endif  // CLONESAFE_VALUES_INSTANCE_H_
