#ifndef CLONESAFE_VMM_DEVICE_CORE_CLONE_NUMBER_H_
#define CLONESAFE_VMM_DEVICE_CORE_CLONE_NUMBER_H_

#include <string>
#include <string_view>

namespace clonesafe {

// What an operator gives all clones in one argument: each "%d" is the clone's number, from 1.
inline std::string with_clone_number(std::string text, std::string_view number) {
  for (std::size_t at = 0; (at = text.find("%d", at)) != std::string::npos; at += number.size())
    text.replace(at, 2, number);
  return text;
}

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_CORE_CLONE_NUMBER_H_
