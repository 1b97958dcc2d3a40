#include "station.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void do_nothing(int signal) { (void)signal; }

/* The run's box, with the control fifo as its input and the journal for its frames. */
static pid_t start_box(const struct run *run, struct bundle *bundle) {
  pid_t pid = fork();
  if (pid) return pid;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  int control = openat(run->dir, "control", O_RDWR | O_CLOEXEC);
  dup2(control, 0);
  dup2(run->journal, 1);
  run_bundle(bundle, true);
  _exit(0);
}

/* SIGKILL to all that is below this process, until nothing is. */
static void end_all(void) {
  static const struct bundle nobody;
  for (;;) {
    kill_tree(&nobody);
    pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid == 0) poll(NULL, 0, 2);
  }
}

/* Until the box has ended, somebody asks for an end, or the time is up. */
static void keep_box(pid_t box, uint64_t until_us) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  for (;;) {
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
      if (pid == box) return;
    uint64_t now = now_us(), left = until_us > now ? until_us - now : 0;
    struct timespec wait = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
    if (sigtimedwait(&signals, NULL, &wait) != SIGCHLD) return;
  }
}

/* Then the journal could not take all. */
static bool is_full(int dir) {
  struct statvfs disk;
  return !fstatvfs(dir, &disk) && disk.f_bavail == 0;
}

/* Answers errno where something on the target kept it from being done. */
static int keep_run(const struct run *run, struct bundle *bundle, uint64_t most_ms) {
  uint64_t until_us = now_us() + most_ms * 1000;
  setsid();
  /* Not ignored: that would be handed on to code. */
  signal(SIGHUP, do_nothing);
  /* For what a box leaves that code has killed. */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (chdir("/") || !write_state(run->dir, most_ms)) return errno;
  pid_t box = start_box(run, bundle);
  /* Code, input and what is secret in its environment: the box has its own, as long as it needs them. */
  free(bundle->payload);
  forget_all();
  if (box > 0) keep_box(box, until_us);
  end_all();
  int error = is_full(run->dir) ? ENOSPC : 0;
  remove_tree(run->dir, "work");
  remove_tree(run->dir, "tmp");
  return error;
}

pid_t start_keeper(const struct run *run, struct bundle *bundle, uint64_t most_ms) {
  pid_t pid = fork();
  if (pid) return pid;
  /* The end of the process is the end of the journal. */
  _exit(keep_run(run, bundle, most_ms));
}
