// A program of somebody else's.
#include <clonesafe/clonesafe.hpp>

int main() {
  unsigned char one[16], two[16];
  if (cs_random(one, sizeof one) != 0 || cs_random(two, sizeof two) != 0) return 1;
  for (int i = 0; i < 16; ++i) {
    if (one[i] != two[i]) return 0;
  }
  return 1;
}
