#include "station.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* With which `kill` and `sweep` exit, where not 0. */
enum { NOT_ENDED = 1, NOT_REMOVED = 2, NO_RUN = 3 };

/* Old enough that its agent has gone for good, or would have come back for it. */
static const time_t old_seconds = 3600;

static pid_t parent_of(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  text[got > 0 ? got : 0] = 0;
  const char *after = strrchr(text, ')');
  return after ? strtol(after + 4, NULL, 10) : 0;
}

static bool is_below(pid_t pid, pid_t above) {
  for (int depth = 0; pid > 1 && depth < 10000; depth++) {
    pid = parent_of(pid);
    if (pid == above) return true;
  }
  return false;
}

/*
 * SIGKILL to those that are below `pid`; the ones that others would be handed to (the keeper's own children) only when
 * nobody else is left. Answers whether there was any.
 */
static bool kill_below(pid_t pid, bool leaves_only) {
  DIR *proc = opendir("/proc");
  if (!proc) return false;
  bool any = false;
  for (struct dirent *entry; (entry = readdir(proc));) {
    pid_t one = strtol(entry->d_name, NULL, 10);
    if (one <= 1 || !is_below(one, pid) || (leaves_only && parent_of(one) == pid)) continue;
    any = true;
    kill(one, SIGKILL);
  }
  closedir(proc);
  return any;
}

static bool gone_within(int dir, int ms) {
  int journal = openat(dir, "journal", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct keeper keeper;
  bool gone = false;
  for (;;) {
    gone = journal < 0 ? !read_state(dir, &keeper) : keeper_gone(journal);
    if (gone || ms <= 0) break;
    poll(NULL, 0, 5);
    ms -= 5;
  }
  if (journal >= 0) close(journal);
  return gone;
}

/* Code may have stopped what runs as its own user: boxes, their keepers and stations, and sshd's end of the link. */
static void wake_ours(void) {
  DIR *proc = opendir("/proc");
  if (!proc) return;
  for (struct dirent *entry; (entry = readdir(proc));) {
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/%.20s/stat", entry->d_name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *name = strchr(text, '('), *after = strrchr(text, ')');
    bool ours = name && (!strncmp(name, "(box-", 5) || !strncmp(name, "(sshd", 5));
    if (ours && after && after[1] == ' ' && after[2] == 'T') kill(strtol(text, NULL, 10), SIGCONT);
  }
  closedir(proc);
}

/* Asks the box itself, which then says in the journal how it ended. */
static void ask_box(int dir) {
  int control = openat(dir, "control", O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (control < 0) return;
  (void)!write(control, "K", 1);
  close(control);
}

bool end_run(int dir) {
  struct keeper keeper;
  wake_ours();
  ask_box(dir);
  if (!gone_within(dir, 300) && read_state(dir, &keeper)) {
    kill(keeper.pid, SIGTERM);
    if (!gone_within(dir, 500) && read_state(dir, &keeper)) {
      for (int tries = 0; tries < 200 && kill_below(keeper.pid, true); tries++) poll(NULL, 0, 5);
      for (int tries = 0; tries < 200 && kill_below(keeper.pid, false); tries++) poll(NULL, 0, 5);
      if (read_state(dir, &keeper)) kill(keeper.pid, SIGKILL);
    }
  }
  return gone_within(dir, 1000);
}

int kill_main(const char *path) {
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (dir < 0) return errno == ENOENT ? NO_RUN : NOT_ENDED;
  if (!end_run(dir)) return NOT_ENDED;
  remove_tree(dir, "work");
  remove_tree(dir, "tmp");
  return 0;
}

static bool starts_with(const char *text, const char *mark, const char *session) {
  size_t length = strlen(mark);
  if (strncmp(text, mark, length) || text[length] != '-') return false;
  return !session || !strncmp(text + length + 1, session, strlen(session));
}

static bool is_named(const char *name, char **named) {
  for (; *named; named++)
    if (!strcmp(name, *named)) return true;
  return false;
}

static bool is_old_and_ended(int dir) {
  struct stat stat;
  return !fstat(dir, &stat) && time(NULL) - stat.st_mtime > old_seconds && gone_within(dir, 0);
}

int sweep_main(const char *root, const char *mark, const char *session, char **named) {
  int top = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *list = top < 0 ? NULL : fdopendir(dup(top));
  if (!list) return errno == ENOENT ? 0 : NOT_ENDED;
  bool ended = true, removed = true;
  for (struct dirent *entry; (entry = readdir(list));) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
    bool ours = starts_with(name, mark, NULL), current = starts_with(name, mark, session);
    int dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool ends = (ours && !current) || is_named(name, named) || (dir >= 0 && is_old_and_ended(dir));
    if (ends && dir >= 0 && !end_run(dir)) ended = false;
    else if (ends && !remove_tree(top, name)) removed = false;
    if (dir >= 0) close(dir);
  }
  closedir(list);
  return !ended ? NOT_ENDED : !removed ? NOT_REMOVED : 0;
}
