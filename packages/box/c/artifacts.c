/*
 * Artifacts as a tar (ustar): regular files below the work directory that a glob asks for. No process of the run is
 * alive, but what it left is hostile: no link is followed, nothing but a regular file with one name is read, and that as the
 * user.
 */
#include "box.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_DEPTH = 64, MOST_ENTRIES = 100000, MOST_STEPS = 200000000, BLOCK = 512 };

struct walk {
  const struct bundle *bundle;
  uint64_t room;
  size_t entries;
  int depth;
  char path[4096];
};

/* What matching may still cost: globs and paths can be made so that there is no end to it. */
static int steps;

/* `*` and `?` within a part of the path, `**` across parts. */
static bool matches(const char *glob, const char *path) {
  for (; *glob; glob++, path++) {
    if (!steps || !--steps) return false;
    if (glob[0] == '*' && glob[1] == '*') {
      const char *rest = glob + 2;
      if (*rest == '/' && matches(rest + 1, path)) return true;
      for (;; path++) {
        if (matches(rest, path)) return true;
        if (!*path || !steps) return false;
      }
    }
    if (*glob == '*') {
      for (;; path++) {
        if (matches(glob + 1, path)) return true;
        if (!*path || *path == '/' || !steps) return false;
      }
    }
    if (!*path || (*glob == '?' ? *path == '/' : *glob != *path)) return false;
  }
  return !*path;
}

static bool is_wanted(const struct walk *walk) {
  const struct words *globs = &walk->bundle->globs;
  for (size_t n = 0; n < globs->count; n++)
    if (matches(globs->at[n], walk->path)) return true;
  return false;
}

static bool send(const void *bytes, size_t size) {
  out_frame('A', bytes, size);
  return out_finish();
}

static void omit(const struct walk *walk, const char *reason) {
  char body[4096 + 64];
  size_t path = strlen(walk->path);
  memcpy(body, walk->path, path + 1);
  memcpy(body + path + 1, reason, strlen(reason));
  out_frame('O', body, path + 1 + strlen(reason));
  out_finish();
}

/* The name in its two fields; false for one that does not fit. */
static bool put_name(char header[BLOCK], const char *path) {
  size_t length = strlen(path);
  if (length <= 100) return memcpy(header, path, length), true;
  const char *cut = path + (length > 101 ? length - 101 : 0);
  cut = strchr(cut, '/');
  if (!cut || cut - path > 155 || !cut[1]) return false;
  memcpy(header + 345, path, cut - path);
  memcpy(header, cut + 1, strlen(cut + 1));
  return true;
}

static bool send_header(const char *path, uint64_t size) {
  char header[BLOCK] = {0};
  if (!put_name(header, path)) return false;
  snprintf(header + 100, 8, "%07o", 0644);
  snprintf(header + 108, 8, "%07o", 0);
  snprintf(header + 116, 8, "%07o", 0);
  snprintf(header + 124, 12, "%011llo", (unsigned long long)size);
  snprintf(header + 136, 12, "%011o", 0);
  memcpy(header + 257, "ustar\00000", 8);
  header[156] = '0';
  memset(header + 148, ' ', 8);
  unsigned sum = 0;
  for (int n = 0; n < BLOCK; n++) sum += (uint8_t)header[n];
  snprintf(header + 148, 8, "%06o", sum);
  return send(header, BLOCK);
}

static const char *send_file(struct walk *walk, int fd) {
  static char bytes[64 * 1024];
  struct stat stat;
  if (fstat(fd, &stat) || !S_ISREG(stat.st_mode)) return "is no regular file";
  if (stat.st_nlink != 1) return "has more than one name";
  if (stat.st_size > 077777777777 || (uint64_t)stat.st_size > walk->room) return "does not fit into the limit";
  char probe[BLOCK] = {0};
  if (!put_name(probe, walk->path)) return "has too long a name";
  walk->room -= stat.st_size;
  if (!send_header(walk->path, stat.st_size)) return NULL;
  uint64_t rest = stat.st_size;
  while (rest) {
    ssize_t got = read(fd, bytes, rest < sizeof bytes ? rest : sizeof bytes);
    /* It can't shrink while nobody runs; should it all the same, the tar must stay one. */
    if (got <= 0) memset(bytes, 0, got = rest < sizeof bytes ? rest : sizeof bytes);
    if (!send(bytes, got)) return NULL;
    rest -= got;
  }
  memset(bytes, 0, BLOCK);
  size_t pad = (BLOCK - stat.st_size % BLOCK) % BLOCK;
  if (pad) send(bytes, pad);
  return NULL;
}

static void visit(struct walk *walk, int folder);

static void take_entry(struct walk *walk, int folder, const char *name) {
  struct stat stat;
  size_t before = strlen(walk->path), length = strlen(name);
  if (before + length + 2 > sizeof walk->path) {
    omit(walk, "has too long names in it");
    return;
  }
  snprintf(walk->path + before, sizeof walk->path - before, before ? "/%s" : "%s", name);
  if (fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISDIR(stat.st_mode)) {
      int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below >= 0) visit(walk, below);
    } else if (is_wanted(walk)) {
      int fd = S_ISREG(stat.st_mode) ? openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
      const char *reason = fd >= 0 ? send_file(walk, fd) : S_ISREG(stat.st_mode) ? "can't be read" : "is no regular file";
      if (fd >= 0) close(fd);
      if (reason) omit(walk, reason);
    }
  }
  walk->path[before] = 0;
}

static void visit(struct walk *walk, int folder) {
  DIR *entries = fdopendir(folder);
  if (!entries) {
    close(folder);
    return;
  }
  if (++walk->depth > MOST_DEPTH) omit(walk, "is too deep");
  else
    for (struct dirent *entry; (entry = readdir(entries));) {
      if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
      if (++walk->entries > MOST_ENTRIES || !steps) {
        omit(walk, "has more in it than is looked through");
        break;
      }
      take_entry(walk, folder, entry->d_name);
    }
  walk->depth--;
  closedir(entries);
}

bool send_artifacts(const struct bundle *bundle, struct failure *failure) {
  static struct walk walk;
  if (!bundle->globs.count) return true;
  walk = (struct walk){.bundle = bundle, .room = bundle->artifacts_cap};
  steps = MOST_STEPS;
  as_user(bundle);
  int work = open(bundle->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (work >= 0) visit(&walk, work);
  else fail(failure, "opening the work directory");
  as_self();
  static const char end[2 * BLOCK];
  if (work >= 0) send(end, sizeof end);
  return work >= 0;
}
