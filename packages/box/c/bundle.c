#include "box.h"
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int idle_ms = 30000;
/* 16 MiB of a request, as bytes that a record and an escape may have made longer. */
static const uint64_t most_bytes = 64 << 20;

static uint32_t u32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return le32toh(value);
}

static uint64_t u64(const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return le64toh(value);
}

/* All `size` bytes, or fewer when the input ends. */
static ssize_t read_whole(uint8_t *bytes, size_t size) {
  size_t have = 0;
  while (have < size) {
    struct pollfd wait = {.fd = 0, .events = POLLIN};
    int ready = poll(&wait, 1, idle_ms);
    if (ready == 0) {
      errno = ETIMEDOUT;
      return -1;
    }
    ssize_t got = ready < 0 ? -1 : read(0, bytes + have, size - have);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    have += got;
  }
  return have;
}

/* The first byte of a bundle, however long it takes; kills that came too late are passed over. */
static bool begins(uint8_t *first) {
  for (;;) {
    ssize_t got = read(0, first, 1);
    if (got == 1 && *first == 'K') continue;
    if (got == 1) return true;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = 0, .events = POLLIN};
      poll(&wait, 1, -1);
      continue;
    }
    return false;
  }
}

enum read_result read_bundle(struct bundle *bundle, struct failure *failure) {
  uint8_t head[44], digest[32];
  *bundle = (struct bundle){.input_fd = -1};
  if (!begins(head)) return NO_BUNDLE;
  const char *stage = "reading the bundle";
  ssize_t got = read_whole(head + 1, sizeof head - 1);
  if (got < 0) return fail(failure, stage), BUNDLE_BROKEN;
  if (got < (ssize_t)sizeof head - 1) return fail_with(failure, "the bundle was cut", EPIPE), BUNDLE_BROKEN;
  uint64_t size = u64(head + 4);
  if (memcmp(head, "BOX1", 4) || size > most_bytes)
    return fail_with(failure, "this is no bundle", EPROTO), BUNDLE_BROKEN;
  bundle->payload = malloc(size ? size : 1);
  if (!bundle->payload) return fail(failure, stage), BUNDLE_BROKEN;
  got = read_whole(bundle->payload, size);
  if (got < 0) return fail(failure, stage), BUNDLE_BROKEN;
  if ((uint64_t)got < size) return fail_with(failure, "the bundle was cut", EPIPE), BUNDLE_BROKEN;
  sha256(bundle->payload, size, digest);
  if (memcmp(digest, head + 12, sizeof digest))
    return fail_with(failure, "the bundle's checksum is wrong", EBADMSG), BUNDLE_BROKEN;
  if (!parse_records(bundle, bundle->payload, size) || !bundle->work || !bundle->phase_count)
    return fail_with(failure, "the bundle can't be understood", EPROTO), BUNDLE_BROKEN;
  return BUNDLE_READ;
}

static void add_word(struct words *words, char *word) {
  if (words->count + 2 > words->room) {
    size_t room = words->room ? words->room * 2 : 16;
    char **at = keep(room * sizeof *at);
    if (words->count) memcpy(at, words->at, words->count * sizeof *at);
    words->at = at;
    words->room = room;
  }
  words->at[words->count++] = word;
  words->at[words->count] = NULL;
}

static bool add_phase(struct bundle *bundle, const uint8_t *at, size_t size) {
  if (size != 18 || bundle->phase_count == 64 || at[0] > QUESTION) return false;
  struct phase *phase = &bundle->phases[bundle->phase_count++];
  *phase = (struct phase){.kind = at[0], .flags = at[1], .limit_ms = u32(at + 2), .cpu_ms = u32(at + 6), .cap = u64(at + 10)};
  return true;
}

static bool add_file(struct bundle *bundle, const uint8_t *at, size_t size) {
  if (size < 4 || u32(at) > size - 4) return false;
  struct file *file = keep(sizeof *file);
  size_t path = u32(at);
  *file = (struct file){.path = keep_text(at + 4, path), .content = at + 4 + path, .size = size - 4 - path};
  if (!bundle->last_file) bundle->last_file = &bundle->files;
  *bundle->last_file = file;
  bundle->last_file = &file->next;
  return true;
}

static bool add_limit(struct bundle *bundle, const uint8_t *at, size_t size) {
  if (size != 12 || bundle->limit_count == 16) return false;
  bundle->limits[bundle->limit_count].number = u32(at);
  bundle->limits[bundle->limit_count++].value = u64(at + 4);
  return true;
}

static bool take_record(struct bundle *bundle, char letter, const uint8_t *at, size_t size) {
  struct phase *phase = bundle->phase_count ? &bundle->phases[bundle->phase_count - 1] : NULL;
  switch (letter) {
    case 'w':
    case 'W':
      bundle->work = keep_text(at, size);
      bundle->make_work = letter == 'w';
      return true;
    case 't':
      bundle->tmp = keep_text(at, size);
      return true;
    case 'u':
      if (size != 8) return false;
      bundle->has_user = true;
      bundle->uid = u32(at);
      bundle->gid = u32(at + 4);
      return true;
    case 'f':
      return add_file(bundle, at, size);
    case 'i':
      bundle->input = at;
      bundle->input_size = size;
      return true;
    case 'l':
      return add_limit(bundle, at, size);
    case 'p':
      return add_phase(bundle, at, size);
    case 'x':
    case 'a':
    case 'e':
      if (!phase) return false;
      add_word(letter == 'x' ? &phase->wrapper : letter == 'a' ? &phase->argv : &phase->env, keep_text(at, size));
      return true;
    case 'z':
      if (size != 8) return false;
      bundle->artifacts_cap = u64(at);
      return true;
    case 'g':
      add_word(&bundle->globs, keep_text(at, size));
      return true;
    default:
      return false;
  }
}

bool parse_records(struct bundle *bundle, uint8_t *bytes, size_t size) {
  while (size) {
    if (size < 5 || u32(bytes + 1) > size - 5) return false;
    size_t length = u32(bytes + 1);
    if (!take_record(bundle, bytes[0], bytes + 5, length)) return false;
    bytes += 5 + length;
    size -= 5 + length;
  }
  for (size_t n = 0; n < bundle->phase_count; n++)
    if (!bundle->phases[n].argv.count) return false;
  return true;
}
