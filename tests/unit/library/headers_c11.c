#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/host_protocol.h"
#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/secret_page.h"
#include "clonesafe/abi/vmclock.h"
#include "clonesafe/abi/vmgenid.h"
#include "clonesafe/clonesafe.h"
#include "clonesafe/hooks.h"
#include "clonesafe/ids.h"
#include "clonesafe/values.h"
#include "clonesafe/version.h"

int draw_from_c(unsigned char uuid[16]);
int draw_from_c(unsigned char uuid[16]) {
  struct cs_stamp stamp;
  struct cs_status_report report;
  int result = cs_generation(&stamp);
  if (result == 0) result = cs_status(&report, sizeof(report));
  if (result == 0) result = cs_uuid4(uuid);
  unsigned char other[16];
  char text[27];
  if (result == 0) result = cs_uuid1(other);
  if (result == 0) result = cs_uuid6(other);
  if (result == 0) result = cs_uuid7(other);
  if (result == 0) result = cs_ulid(other);
  cs_ulid_text(other, text);
  if (result == 0) result = cs_ulid_parse(text, 26, other);
  return result == 0 ? cs_changed(&stamp) : result;
}

static struct cs_cell cell; /* an empty one */

static int build(void* argument, void** value) {
  *value = argument;
  return 0;
}
static int hook(const struct cs_event* event, void* argument) {
  (void)argument;
  return event->kind == CS_KIND_CLONE ? CS_HOOK_OK : CS_HOOK_RETRY;
}

int hook_from_c(void);
int hook_from_c(void) {
  const struct cs_hook_options options = {.function = hook, .name = "c"};
  struct cs_hook* registered;
  struct cs_handle* handle;
  struct cs_tagged tagged;
  unsigned char bytes[16];
  int result = cs_after_restore_hook(&options, &registered);
  if (result == 0) result = cs_once_per_generation(&cell, build, bytes, &handle);
  if (result != 0) return result;
  if (cs_handle_value(handle) != bytes) result = 1;
  cs_handle_release(handle);
  cs_cell_clear(&cell);
  if (result == 0) result = cs_tagged_random(&tagged, sizeof(bytes));
  if (result == 0) result = cs_tagged_use(&tagged, bytes, sizeof(bytes));
  if (result == 0) result = cs_poll();
  cs_hook_remove(registered);
  return result;
}
