#include "station.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a directory, making it ours to change; never what a link leads to. */
static int open_dir(int parent, const char *name) {
  char path[64];
  int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  sprintf(path, "/proc/self/fd/%d", fd);
  chmod(path, 0700);
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  close(fd);
  return dir;
}

/* The next name that is not . or .. */
static const char *next_name(DIR *list) {
  for (struct dirent *entry; (entry = readdir(list));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) return entry->d_name;
  return NULL;
}

static bool remove_simple(int dir, const char *name) {
  return !unlinkat(dir, name, 0) || errno == ENOENT || !unlinkat(dir, name, AT_REMOVEDIR);
}

/* Moves a directory that is not empty to the top, under a name that is free there. */
static bool hoist(int dir, const char *name, int top) {
  static unsigned long long number;
  int child = open_dir(dir, name);
  if (child >= 0) close(child);
  char free_name[64];
  for (int tries = 0; tries < 1000; tries++) {
    sprintf(free_name, ".hoisted-%llu", number++);
    if (!renameat(dir, name, top, free_name)) return true;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) return false;
  }
  return false;
}

/* Removes what is in a directory of the top; its own directories that are not empty go to the top. */
static bool clear(int top, const char *name) {
  int dir = open_dir(top, name);
  DIR *list = dir < 0 ? NULL : fdopendir(dir);
  if (!list) return false;
  bool all = true;
  for (const char *child; (child = next_name(list));)
    if (!remove_simple(dir, child) && !hoist(dir, child, top)) all = false;
  closedir(list);
  return all;
}

bool remove_tree(int parent, const char *name) {
  if (remove_simple(parent, name)) return true;
  int top = open_dir(parent, name);
  DIR *list = top < 0 ? NULL : fdopendir(top);
  if (!list) return false;
  /* However deep it is: no path grows, and no more than three directories are open. */
  for (bool progress = true; progress;) {
    progress = false;
    rewinddir(list);
    for (const char *child; (child = next_name(list));) {
      if (remove_simple(top, child)) progress = true;
      else if (clear(top, child) && !unlinkat(top, child, AT_REMOVEDIR)) progress = true;
    }
  }
  closedir(list);
  return !unlinkat(parent, name, AT_REMOVEDIR);
}
