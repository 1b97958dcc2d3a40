/* The first process of a sandbox: starts the command, waits for it, says how it ended. Its own end is the sandbox's. */
#include "box.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void report(int fd, const struct init_report *report) { (void)!write(fd, report, sizeof *report); }

static bool read_spec(int fd, struct bundle *bundle) {
  struct stat stat;
  if (fstat(fd, &stat)) return false;
  uint8_t *bytes = malloc(stat.st_size);
  return bytes && pread(fd, bytes, stat.st_size, 0) == stat.st_size && parse_records(bundle, bytes, stat.st_size) &&
         bundle->phase_count == 1;
}

/* What the box outside hands through the wrapper. */
enum { PROGRAM_STDERR = 3, STATUS, SPEC, BOX };

int init_main(void) {
  static struct bundle bundle;
  /* Before any code runs: the descriptors of a process that can't be dumped can't be taken either. */
  prctl(PR_SET_DUMPABLE, 0);
  if (!read_spec(SPEC, &bundle)) return 71;
  struct phase *phase = &bundle.phases[0];
  pid_t main = fork();
  if (main < 0) return 71;
  if (main == 0) {
    setsid();
    dup2(PROGRAM_STDERR, 2);
    for (int fd = PROGRAM_STDERR; fd <= BOX; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    signal(SIGPIPE, SIG_DFL);
    struct init_report failed = {.tag = 'n', .value = execute(phase->argv.at, phase->env.at)};
    report(STATUS, &failed);
    _exit(127);
  }
  for (int fd = 0; fd <= PROGRAM_STDERR; fd++) close(fd);
  int status;
  while (wait4(-1, &status, 0, NULL) != main) continue;
  struct init_report end = {.tag = 'x', .how = WIFSIGNALED(status) ? 1 : 0,
                            .value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)};
  report(STATUS, &end);
  do kill(-1, SIGKILL);
  while (wait4(-1, NULL, 0, NULL) > 0 || errno != ECHILD);
  struct rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  struct init_report usage = {.tag = 'u', .peak_bytes = (uint64_t)used.ru_maxrss * 1024,
                              .cpu_us = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000ull +
                                        used.ru_utime.tv_usec + used.ru_stime.tv_usec};
  report(STATUS, &usage);
  return 0;
}
