#include "box.h"
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Output is read only while a frame of it fits beside this much for the box's own words. */
enum { HEAD = 5, MOST = 64 * 1024, OWN = 64 * 1024, ROOM = 512 * 1024 };

int out_fd = 1;
static uint8_t queue[ROOM];
static size_t from, to;

static void put_head(uint8_t *at, char letter, size_t size) {
  uint32_t length = htole32(size);
  at[0] = letter;
  memcpy(at + 1, &length, sizeof length);
}

static void close_up(void) {
  memmove(queue, queue + from, to - from);
  to -= from;
  from = 0;
}

size_t out_room(void) {
  size_t used = to - from;
  return used + HEAD + MOST + OWN <= ROOM ? MOST : 0;
}

void out_frame(char letter, const void *body, size_t size) {
  while (ROOM - (to - from) < HEAD + size)
    if (!out_finish()) return;
  if (ROOM - to < HEAD + size) close_up();
  put_head(queue + to, letter, size);
  if (size) memcpy(queue + to + HEAD, body, size);
  to += HEAD + size;
}

ssize_t out_read(char letter, int fd, size_t most) {
  if (ROOM - to < HEAD + MOST) close_up();
  ssize_t got = read(fd, queue + to + HEAD, most < MOST ? most : MOST);
  if (got <= 0) return got;
  put_head(queue + to, letter, got);
  to += HEAD + got;
  return got;
}

bool out_waiting(void) { return to > from; }

bool out_push(void) {
  while (to > from) {
    ssize_t wrote = write(out_fd, queue + from, to - from);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) return true;
    if (wrote < 0) {
      /* Of a frame that was cut nothing may follow: a file that was full could take some again. */
      out_fd = -1;
      from = to;
      return false;
    }
    from += wrote;
  }
  from = to = 0;
  return true;
}

bool out_finish(void) {
  while (to > from) {
    if (!out_push()) return false;
    struct pollfd wait = {.fd = out_fd, .events = POLLOUT};
    if (to > from) poll(&wait, 1, -1);
  }
  return true;
}

void out_failed(const struct failure *failure) {
  const char *reason = strerror(failure->error);
  uint8_t body[1024];
  int32_t error = htole32(failure->error);
  size_t stage = strnlen(failure->stage, 600), why = strlen(reason);
  memcpy(body, &error, sizeof error);
  memcpy(body + 4, failure->stage, stage);
  body[4 + stage] = 0;
  memcpy(body + 5 + stage, reason, why);
  out_frame('!', body, 5 + stage + why);
}
