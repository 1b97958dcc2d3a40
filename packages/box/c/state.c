#include "station.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static uint64_t start_ticks_of(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  text[got > 0 ? got : 0] = 0;
  char *after = strrchr(text, ')');
  unsigned long long ticks = 0;
  if (after)
    sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks);
  return ticks;
}

bool write_state(int dir, uint64_t most_ms) {
  char text[128];
  pid_t pid = getpid();
  int size = snprintf(text, sizeof text, "%d %llu %llu\n", pid, (unsigned long long)start_ticks_of(pid),
                      (unsigned long long)most_ms);
  int fd = openat(dir, "state.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool wrote = write(fd, text, size) == size;
  close(fd);
  return wrote && !renameat(dir, "state.new", dir, "state");
}

bool read_state(int dir, struct keeper *keeper) {
  char text[128];
  int fd = openat(dir, "state", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  text[got > 0 ? got : 0] = 0;
  unsigned long long ticks;
  if (sscanf(text, "%d %llu", &keeper->pid, &ticks) != 2 || keeper->pid <= 1) return false;
  keeper->start_ticks = ticks;
  return start_ticks_of(keeper->pid) == ticks;
}

bool keeper_gone(int journal) {
  if (flock(journal, LOCK_SH | LOCK_NB)) return false;
  flock(journal, LOCK_UN);
  return true;
}
