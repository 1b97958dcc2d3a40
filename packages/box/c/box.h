/* The box: see ../README.md. Formats are told in ../src/bundle.ts and ../src/frames.ts. */
#pragma once
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- failure.c */
/* Our own fault, told as a frame: where, and errno. */
struct failure {
  const char *stage;
  int error;
};
/* Sets errno's name as the failure and answers false, so that `return fail(...)` reads well. */
bool fail(struct failure *failure, const char *stage);
bool fail_with(struct failure *failure, const char *stage, int error);

/* ---- memory.c: an arena that is emptied between bundles */
void *keep(size_t size);
char *keep_text(const void *bytes, size_t size);
void forget_all(void);

/* ---- sha256.c */
void sha256(const uint8_t *bytes, size_t size, uint8_t digest[32]);

/* ---- bundle.c */
struct words {
  char **at; /* ends with NULL */
  size_t count, room;
};

enum { KILL_AT_CAP = 1, GO_ON = 2 };
enum kind { COMPILE, RUN, QUESTION };

struct phase {
  uint8_t kind, flags;
  uint32_t limit_ms, cpu_ms;
  uint64_t cap;
  struct words argv, env, wrapper;
};

struct file {
  char *path;
  const uint8_t *content;
  size_t size;
  struct file *next;
};

struct bundle {
  uint8_t *payload;
  char *work, *tmp;
  bool make_work, has_user;
  uid_t uid;
  gid_t gid;
  struct file *files, **last_file;
  const uint8_t *input;
  size_t input_size;
  int input_fd; /* the same as a file, once the place is made; -1: none */
  struct { uint32_t number; uint64_t value; } limits[16];
  size_t limit_count;
  struct phase phases[64];
  size_t phase_count;
  struct words globs;
  uint64_t artifacts_cap;
};

/* A sender that pauses for longer within one bundle has gone. */
extern int idle_ms;
enum read_result { BUNDLE_READ, NO_BUNDLE, BUNDLE_BROKEN };
/* Reads the next one whole from descriptor 0. NO_BUNDLE: the input ended before one began. */
enum read_result read_bundle(struct bundle *bundle, struct failure *failure);
/* Takes records apart; also used for what `init` is given. */
bool parse_records(struct bundle *bundle, uint8_t *bytes, size_t size);

/* ---- out.c: frames, in a queue that never blocks the box */
extern int out_fd;
/* How much output may be read from a program now. */
size_t out_room(void);
void out_frame(char letter, const void *body, size_t size);
/* Reads from `fd` into a frame, at most `most` bytes; answers what `read` does. */
ssize_t out_read(char letter, int fd, size_t most);
bool out_waiting(void);
/* Writes what can be written now; false when nobody listens any more. */
bool out_push(void);
/* Writes all. */
bool out_finish(void);
void out_failed(const struct failure *failure);

/* ---- user.c: acting as the one whom code runs as */
void as_user(const struct bundle *bundle);
void as_self(void);
/* For good, in a child: without any privilege. */
bool become_user(const struct bundle *bundle);

/* ---- place.c */
/* Makes directories and files; no code has run yet. What they were made of is forgotten: it must not take memory from code. */
bool make_place(struct bundle *bundle, struct failure *failure);

/* ---- start.c */
/* Executes the command in place of this process, looking in the PATH of its environment; answers errno. */
int execute(char **argv, char **env);

/* ---- phase.c */
/* A file without a name that can be read, and opened again, but no more written. */
int sealed_file(const void *bytes, size_t size);
enum ended { ENDED_WELL, ENDED_BADLY, NOBODY_LISTENS, BOX_FAILED };
/* `last_input`: descriptor 0 may end without meaning that everything should. */
enum ended run_phase(const struct bundle *bundle, size_t index, bool last_input, struct failure *failure);

/* ---- tree.c */
/* Sends SIGKILL to what is left below this process; to be repeated until there is nothing to wait for. */
void kill_tree(const struct bundle *bundle);
/* Cpu time of all live descendants, in microseconds. */
uint64_t tree_cpu_us(void);

/* ---- cgroup.c: the control group of a container, as its first process sees it */
uint64_t cgroup_oom_kills(void);
uint64_t cgroup_peak_bytes(void);
/* 0 where that is not known. */
uint64_t cgroup_cpu_us(void);

/* ---- init.c */
/* What `init` says to the box outside on its status descriptor. */
struct init_report {
  uint8_t tag; /* 'x' how it ended, 'n' not executed, 'u' what was used */
  uint8_t how;
  int32_t value;
  uint64_t cpu_us, peak_bytes;
};
int init_main(void);

/* ---- artifacts.c */
bool send_artifacts(const struct bundle *bundle, struct failure *failure);

/* ---- run.c */
/* Everything that a bundle asks for. False when nobody listens any more. */
bool run_bundle(struct bundle *bundle, bool last_input);

/* ---- main.c */
/* Reads one bundle and does what it asks for; false when there is nothing more to come. */
bool take_bundle(bool last_input);

uint64_t now_us(void);
