#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/secret_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/abi/vmgenid.h"
#include "clonesafe/clonesafe.h"
#include "clonesafe/values.h"
#include "clonesafe/version.h"

int draw_from_c(unsigned char uuid[16]);
int draw_from_c(unsigned char uuid[16]) {
  struct cs_stamp stamp;
  struct cs_status_report report;
  int result = cs_generation(&stamp);
  if (result == 0) result = cs_status(&report, sizeof(report));
  if (result == 0) result = cs_uuid4(uuid);
  return result == 0 ? cs_changed(&stamp) : result;
}
