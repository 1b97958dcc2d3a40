#include "station.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool take_bundle(bool last_input) {
  static struct bundle bundle;
  struct failure failure;
  bool more = true;
  switch (read_bundle(&bundle, &failure)) {
    case NO_BUNDLE:
      more = false;
      break;
    case BUNDLE_BROKEN:
      /* Where the next one begins can't be known. */
      out_failed(&failure);
      out_frame('Z', NULL, 0);
      out_finish();
      more = false;
      break;
    case BUNDLE_READ:
      more = run_bundle(&bundle, last_input);
  }
  free(bundle.payload);
  bundle.payload = NULL;
  forget_all();
  return more;
}

/* No code may look into this process, nor kill what it is the parent of by anything but its own end. */
static void shut_off(void) {
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  syscall(SYS_close_range, 3, ~0U, 0);
  fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK);
}

/* Prints the SHA-256 of this program: whether it came whole to where it is. */
static int sum_main(void) {
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat stat;
  if (fd < 0 || fstat(fd, &stat)) return 1;
  uint8_t *bytes = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0), digest[32];
  if (bytes == MAP_FAILED) return 1;
  sha256(bytes, stat.st_size, digest);
  for (size_t n = 0; n < sizeof digest; n++) printf("%02x", digest[n]);
  puts("");
  return 0;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  if (!strcmp(mode, "init")) return init_main();
  shut_off();
  if (argc > 2) idle_ms = atoi(argv[2]);
  if (!strcmp(mode, "serve")) {
    while (take_bundle(false)) continue;
    return 0;
  }
  if (!strcmp(mode, "once")) {
    take_bundle(true);
    return 0;
  }
  if (!strcmp(mode, "station") && argc == 2) return station_main();
  if (!strcmp(mode, "kill") && argc == 3) return kill_main(argv[2]);
  if (!strcmp(mode, "sweep") && argc >= 5) return sweep_main(argv[2], argv[3], argv[4], argv + 5);
  if (!strcmp(mode, "sum")) return sum_main();
  fprintf(stderr, "usage: box serve [IDLE_MS] | once [IDLE_MS] | init | station | kill DIR |\n"
                  "           sweep ROOT MARK SESSION [NAME...] | sum\n");
  return 64;
}
