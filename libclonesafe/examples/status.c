/* How safe this process is, and what is missing: cc status.c $(pkg-config --cflags --libs
 * clonesafe) Run it where the program in question runs: in its container, as its user. */
#include <clonesafe/clonesafe.h>
#include <stdio.h>

static void source(const struct cs_status_report* report, unsigned bit, const char* name,
                   const char* problem) {
  const int in_use = (report->sources & bit) != 0;
  printf("%-10s %s%s\n", name,
         in_use ? "in use" : "missing: ", in_use ? "" : (problem != NULL ? problem : "unknown"));
}

int main(void) {
  unsigned char bytes[16];
  const int drawn = cs_random(bytes, sizeof(bytes));
  struct cs_status_report report;
  const int result = cs_status(&report, sizeof(report));
  if (result != 0) {
    fprintf(stderr, "%s\n", cs_strerror(result));
    return 1;
  }
  printf("tier       %s\n", cs_tier_name(report.tier));
  if (report.word_problem != NULL) printf("           %s\n", report.word_problem);
  printf("separation %s\n", cs_separation_name(report.separation));
  source(&report, CS_SOURCE_PAGE, "page", report.page_problem);
  source(&report, CS_SOURCE_VMCLOCK, "vmclock", report.vmclock_problem);
  source(&report, CS_SOURCE_RESTORE_PAGE | CS_SOURCE_VMGENID, "memory", report.memory_problem);
  source(&report, CS_SOURCE_FORK, "fork", report.fork_problem);
  source(&report, CS_SOURCE_KERNEL_RANDOM, "kernel", report.kernel_problem);
  source(&report, CS_SOURCE_HARDWARE_RANDOM, "processor", report.processor_problem);
  if (report.repeated != 0) {
    printf("repeated by the host:%s%s%s\n",
           report.repeated & CS_REPEATED_RESTORE_ID ? " restore id" : "",
           report.repeated & CS_REPEATED_SEED ? " seed" : "",
           report.repeated & CS_REPEATED_VM_GENERATION_ID ? " VM Generation ID" : "");
  }
  printf("draw       %s\n", cs_strerror(drawn));
  return drawn == 0 ? 0 : 1;
}
