#include "box.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nobody's: whoever has it as its real and saved one can't be signalled by code, nor signal others than the user's. */
static const uid_t unused_uid = -2;

/* In one act of the kernel, which a program that forks without end can't outrun. */
static bool kill_all_of(uid_t uid) {
  pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) _exit(setresuid(unused_uid, uid, unused_uid) || kill(-1, SIGKILL));
  int status;
  return waitpid(pid, &status, 0) == pid && status == 0;
}

static pid_t below[32 * 1024];

/* Whichever of its threads is their parent. */
static size_t add_children(size_t count, pid_t parent, int signal) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", parent);
  DIR *threads = opendir(path);
  for (struct dirent *entry; threads && (entry = readdir(threads));) {
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", parent, entry->d_name);
    FILE *children = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
    if (!children) continue;
    for (pid_t pid; count < sizeof below / sizeof *below && fscanf(children, "%d", &pid) == 1; below[count++] = pid)
      kill(pid, signal);
    fclose(children);
  }
  if (threads) closedir(threads);
  return count;
}

/* Lists all descendants, each after its parent. `signal` reaches each before its children are looked for. */
static size_t look_below(int signal) {
  size_t count = add_children(0, getpid(), signal);
  for (size_t n = 0; n < count; n++) count = add_children(count, below[n], signal);
  return count;
}

/* What was stopped neither forks, and so can't outgrow us, nor waits for a child, whose number another could get. */
static void kill_descendants(void) {
  for (size_t n = look_below(SIGSTOP); n;) kill(below[--n], SIGKILL);
}

void kill_tree(const struct bundle *bundle) {
  if (getpid() == 1) kill(-1, SIGKILL);
  else if (!bundle->has_user || bundle->uid == geteuid() || !kill_all_of(bundle->uid)) kill_descendants();
}

static uint64_t cpu_ticks(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) return 0;
  text[got] = 0;
  const char *after = strrchr(text, ')');
  unsigned long user = 0, system = 0, their_user = 0, their_system = 0;
  if (!after) return 0;
  sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &user, &system, &their_user,
         &their_system);
  return user + system + their_user + their_system;
}

uint64_t tree_cpu_us(void) {
  uint64_t ticks = 0;
  for (size_t n = look_below(0); n;) ticks += cpu_ticks(below[--n]);
  return ticks * (1000000 / sysconf(_SC_CLK_TCK));
}
