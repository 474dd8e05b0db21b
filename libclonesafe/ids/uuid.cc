#include <cstring>

#include "clonesafe/clonesafe.h"
#include "libclonesafe/ids/layout.h"

int cs_uuid4(unsigned char uuid[16]) {
  if (uuid == nullptr) return CS_E_INVALID;
  const int result = cs_random(uuid, 16);
  if (result != 0) return result;
  clonesafe::ids::put_version(4, uuid);
  return 0;
}

int cs_uuid4_text(char text[37]) {
  if (text == nullptr) return CS_E_INVALID;
  std::memset(text, 0, 37);
  unsigned char uuid[16];
  const int result = cs_uuid4(uuid);
  if (result == 0) cs_uuid_text(uuid, text);
  return result;
}

void cs_uuid_text(const unsigned char uuid[16], char text[37]) {
  if (text == nullptr) return;
  text[0] = '\0';
  if (uuid == nullptr) return;
  // RFC 9562, section 4: 8-4-4-4-12 hexadecimal digits in lower case.
  constexpr char kDigits[] = "0123456789abcdef";
  char* out = text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    *out++ = kDigits[uuid[i] >> 4];
    *out++ = kDigits[uuid[i] & 0xf];
  }
  *out = '\0';
}
