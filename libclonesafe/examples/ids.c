/* Identifiers that no clone of this machine makes too: cc ids.c $(pkg-config --cflags --libs
 * clonesafe) */
#include <clonesafe/ids.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void check(int result) {
  if (result == 0) return;
  fprintf(stderr, "%s\n", cs_strerror(result));
  exit(1);
}

int main(void) {
  unsigned char uuid[16];
  char uuid_text[37];
  check(cs_uuid7(uuid));
  cs_uuid_text(uuid, uuid_text);

  unsigned char ulid[16];
  char ulid_text[27];
  check(cs_ulid(ulid));
  cs_ulid_text(ulid, ulid_text);

  /* A service has a folder below /run instead. */
  char folder[] = "/tmp/ids-example-XXXXXX";
  if (mkdtemp(folder) == NULL) return 1;
  struct cs_lessor lessor;
  cs_snowflake* snowflakes;
  uint64_t id;
  struct cs_snowflake_parts parts;
  check(cs_file_lessor(folder, 0, &lessor));
  check(cs_snowflake_new(NULL, &lessor, &snowflakes));
  check(cs_snowflake_next(snowflakes, 1000, &id));
  check(cs_snowflake_split(NULL, id, &parts));
  cs_snowflake_free(snowflakes);
  char path[64];
  snprintf(path, sizeof(path), "%s/worker-%" PRIu64, folder, parts.worker);
  unlink(path);
  snprintf(path, sizeof(path), "%s/generation", folder);
  unlink(path);
  rmdir(folder);

  printf("%s %s %" PRIu64 " (worker %" PRIu64 ")\n", uuid_text, ulid_text, id, parts.worker);
  return 0;
}
