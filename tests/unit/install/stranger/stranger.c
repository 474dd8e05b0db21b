/* A program of somebody else's. */
#include <clonesafe/clonesafe.h>
#include <clonesafe/version.h>
#include <string.h>

int main(void) {
  unsigned char one[16], two[16];
  if (cs_uuid4(one) != 0 || cs_uuid4(two) != 0) return 1;
  return memcmp(one, two, sizeof one) == 0;
}
