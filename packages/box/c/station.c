#include "station.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Asked on descriptor 0, answered on descriptor 1, one run after the other:
 *   N <most ms, 8 bytes> <length, 4 bytes> <directory>, a bundle, then kills   begins a run, passes its journal on
 *   F <offset, 8 bytes> <length, 4 bytes> <directory>, then kills              passes the journal of one on from there
 *   D                                                                          after that: removes its directory
 * Each answer ends with a frame Q: one byte of these, and errno (4 bytes).
 */
enum answer { PASSED_ON, NO_SUCH_RUN, NOT_BEGUN, REMOVED, NOT_REMOVED };

static char path[4096];
static int changes = -1;

/* What of a journal is on its way: whole frames up to `whole`, and the beginning of one. */
static struct {
  uint8_t bytes[256 * 1024];
  size_t from, whole, to;
} out;
enum { HEAD = 5, MOST_FRAME = 128 * 1024 };

static bool read_all(void *bytes, size_t size) {
  for (size_t have = 0; have < size;) {
    ssize_t got = read(0, (uint8_t *)bytes + have, size - have);
    if (got < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = 0, .events = POLLIN};
      poll(&wait, 1, -1);
    } else if (got < 0 && errno == EINTR) continue;
    else if (got <= 0) return false;
    else have += got;
  }
  return true;
}

static bool write_all(const uint8_t *bytes, size_t size) {
  while (size) {
    ssize_t wrote = write(1, bytes, size);
    if (wrote < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = 1, .events = POLLOUT};
      poll(&wait, 1, -1);
    } else if (wrote < 0 && errno == EINTR) continue;
    else if (wrote < 0) return false;
    else {
      bytes += wrote;
      size -= wrote;
    }
  }
  return true;
}

static bool answer(enum answer what, int error) {
  uint8_t frame[10] = {'Q', 5, 0, 0, 0, what};
  uint32_t number = htole32(error);
  memcpy(frame + 6, &number, sizeof number);
  return write_all(frame, sizeof frame);
}

/* Reads on in the journal. What was cut in the middle of a frame, when its box died, is never passed on. */
static bool fill(int journal) {
  memmove(out.bytes, out.bytes + out.whole, out.to - out.whole);
  out.to -= out.whole;
  out.from = out.whole = 0;
  ssize_t got = read(journal, out.bytes + out.to, sizeof out.bytes - out.to);
  if (got <= 0) return false;
  out.to += got;
  for (uint32_t size; out.to - out.whole >= HEAD; out.whole += HEAD + size) {
    memcpy(&size, out.bytes + out.whole + 1, sizeof size);
    size = le32toh(size);
    /* Not written by a box: whoever reads it will say so. */
    if (size > MOST_FRAME) size = out.to - out.whole - HEAD;
    if (out.to - out.whole < HEAD + size) break;
  }
  return true;
}

/* Writes what can be written without waiting; false when nobody listens any more. */
static bool pour(void) {
  while (out.whole > out.from) {
    ssize_t wrote = write(1, out.bytes + out.from, out.whole - out.from);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno == EAGAIN;
    out.from += wrote;
  }
  return true;
}

/* A kill, for the box. */
static bool take_kill(int control) {
  char byte;
  ssize_t got = read(0, &byte, 1);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (got == 0 || byte != 'K') return false;
  if (control >= 0) (void)!write(control, "K", 1);
  return true;
}

/* Whether the journal was closed for good. */
static bool take_changes(void) {
  struct inotify_event *event;
  char events[4096] __attribute__((aligned(__alignof__(*event))));
  ssize_t got = read(changes, events, sizeof events);
  for (char *at = events; at < events + got; at += sizeof *event + event->len) {
    event = (struct inotify_event *)at;
    if (event->mask & IN_CLOSE_WRITE) return true;
  }
  return false;
}

/* Passes the journal on, and kills the other way, until the keeper has gone; false when nobody listens. */
static bool pass_on(int journal, int control, bool ended) {
  out.from = out.whole = out.to = 0;
  for (bool more = true;;) {
    if (out.whole == out.from && more) more = fill(journal);
    if (!pour()) return false;
    bool waiting = out.whole > out.from;
    if (!waiting && more) continue;
    if (!waiting && ended) return true;
    struct pollfd wait[] = {
      {.fd = 0, .events = POLLIN},
      {.fd = waiting ? 1 : -1, .events = POLLOUT},
      {.fd = ended ? -1 : changes, .events = POLLIN},
    };
    /* Where the kernel tells no changes, they are looked for. */
    if (poll(wait, 3, changes < 0 ? 20 : -1) < 0 && errno != EINTR) return false;
    if (wait[0].revents && !take_kill(control)) return false;
    if (changes < 0) ended = keeper_gone(journal);
    else if (wait[2].revents && take_changes()) ended = true;
    more = true;
  }
}

/* Passes a run on and answers, with what its keeper ended with where that is ours to know. */
static bool serve_run(int journal, int control, pid_t keeper) {
  char name[64];
  /* Through the descriptor: what lies under the name may have been moved by code. */
  sprintf(name, "/proc/self/fd/%d", journal);
  int had = changes, watch = had < 0 ? -1 : inotify_add_watch(had, name, IN_MODIFY | IN_CLOSE_WRITE);
  if (watch < 0) changes = -1;
  bool listening = pass_on(journal, control, keeper_gone(journal));
  changes = had;
  if (watch >= 0) {
    char events[4096];
    inotify_rm_watch(changes, watch);
    /* Its own events may still wait there, and the next watch must not see them. */
    while (read(changes, events, sizeof events) > 0) continue;
  }
  if (!listening) return false;
  int status = 0;
  if (keeper > 0) waitpid(keeper, &status, 0);
  return answer(PASSED_ON, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

static bool make_run(struct run *run) {
  run->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return run->dir >= 0 && !mkfifoat(run->dir, "control", 0600) &&
         (run->journal = openat(run->dir, "journal", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600)) >= 0 &&
         !flock(run->journal, LOCK_EX) &&
         (run->control = openat(run->dir, "control", O_RDWR | O_NONBLOCK | O_CLOEXEC)) >= 0;
}

static bool begin(uint64_t most_ms) {
  static struct bundle bundle;
  struct failure failure;
  struct run run = {-1, -1, -1};
  pid_t keeper = -1;
  if (read_bundle(&bundle, &failure) != BUNDLE_READ) return false;
  bool made = mkdir(path, 0700) == 0;
  int error = errno, journal = -1;
  if (made) {
    if (make_run(&run) && (journal = openat(run.dir, "journal", O_RDONLY | O_CLOEXEC)) >= 0)
      keeper = start_keeper(&run, &bundle, most_ms);
    error = errno;
    if (keeper < 0) remove_tree(AT_FDCWD, path);
  }
  free(bundle.payload);
  forget_all();
  /* Its end must be the keeper's. */
  if (run.journal >= 0) close(run.journal);
  bool listening = keeper < 0 ? answer(NOT_BEGUN, error) : serve_run(journal, run.control, keeper);
  int open_ones[] = {journal, run.control, run.dir};
  for (size_t n = 0; n < 3; n++)
    if (open_ones[n] >= 0) close(open_ones[n]);
  return listening;
}

static bool follow(uint64_t offset) {
  int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  int journal = dir < 0 ? -1 : openat(dir, "journal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  bool there = journal >= 0 && lseek(journal, offset, SEEK_SET) >= 0;
  int error = errno;
  /* None where the box has ended. */
  int control = dir < 0 ? -1 : openat(dir, "control", O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  bool listening = there ? serve_run(journal, control, -1) : answer(NO_SUCH_RUN, error);
  if (dir >= 0) close(dir);
  if (journal >= 0) close(journal);
  if (control >= 0) close(control);
  return listening;
}

static bool take_request(char letter) {
  uint64_t number;
  uint32_t length;
  if (!read_all(&number, sizeof number) || !read_all(&length, sizeof length)) return false;
  number = le64toh(number);
  length = le32toh(length);
  if (length >= sizeof path || !read_all(path, length)) return false;
  path[length] = 0;
  return letter == 'N' ? begin(number) : follow(number);
}

int station_main(void) {
  /* What a login shell printed before this is not ours. */
  static const char greeting[] = "errand box station\n";
  if (!write_all((const uint8_t *)greeting, sizeof greeting - 1)) return 0;
  changes = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
  for (char letter; read_all(&letter, 1);) switch (letter) {
      case 'K': /* for a run that has ended */
        continue;
      case 'D':
        if (!answer(remove_tree(AT_FDCWD, path) ? REMOVED : NOT_REMOVED, errno)) return 0;
        continue;
      case 'N':
      case 'F':
        if (take_request(letter)) continue;
        return 0;
      default:
        return 65;
    }
  return 0;
}
