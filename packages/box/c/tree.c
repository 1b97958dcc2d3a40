#include "box.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In one act of the kernel, which a program that forks without end can't outrun. */
static bool kill_all_of(const struct bundle *bundle) {
  pid_t pid = fork();
  if (pid < 0) return false;
  if (pid == 0) {
    if (become_user(bundle)) kill(-1, SIGKILL);
    _exit(0);
  }
  return waitpid(pid, NULL, 0) == pid;
}

/*
 * What is below a child comes up when the child has ended, as this process is their subreaper. Only children that
 * were not waited for are named, so no number can have been given to another process meanwhile.
 */
static void kill_children(void) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  size_t rest = 0;
  for (ssize_t got; (got = read(fd, text + rest, sizeof text - 1 - rest)) > 0;) {
    text[rest + got] = 0;
    char *at = text, *space;
    for (; (space = strchr(at, ' ')); at = space + 1) kill(strtol(at, NULL, 10), SIGKILL);
    rest = strlen(at);
    memmove(text, at, rest);
  }
  close(fd);
}

void kill_tree(const struct bundle *bundle) {
  if (getpid() == 1) {
    kill(-1, SIGKILL);
    return;
  }
  if (bundle->has_user && bundle->uid != geteuid() && kill_all_of(bundle)) return;
  kill_children();
}

static uint64_t cpu_ticks(const char *pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
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

static bool is_below(const char *pid, pid_t above) {
  for (int depth = 0; depth < 1000; depth++) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return false;
    text[got] = 0;
    const char *after = strrchr(text, ')');
    long parent = after ? strtol(after + 4, NULL, 10) : 0;
    if (parent == above) return true;
    if (parent <= 1) return false;
    static char next[24];
    snprintf(next, sizeof next, "%ld", parent);
    pid = next;
  }
  return false;
}

uint64_t tree_cpu_us(void) {
  DIR *proc = opendir("/proc");
  if (!proc) return 0;
  uint64_t ticks = 0;
  for (struct dirent *entry; (entry = readdir(proc));) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (is_below(entry->d_name, getpid())) ticks += cpu_ticks(entry->d_name);
  }
  closedir(proc);
  return ticks * (1000000 / sysconf(_SC_CLK_TCK));
}
