#include "box.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As `killedReasons` of frames.ts; 0: by nobody here. */
enum killed { BY_NOBODY, BY_ASKED, BY_DEADLINE, BY_OUTPUT, BY_CPU_TIME, BY_MEMORY, BY_HANG_UP };
enum how { EXITED, SIGNALED, NOT_EXECUTED };
enum { STDOUT, STDERR };

struct running {
  const struct bundle *bundle;
  const struct phase *phase;
  uint8_t index;
  pid_t main;
  /* Ours of what it writes to; -1 once it has ended. */
  int streams[2];
  uint64_t written[2];
  bool capped[2];
  /* errno of an exec that failed; what a wrapper complains; what `init` inside it reports. */
  int exec_error, note, status;
  int children; /* signalfd */
  uint64_t started, next_look, oom_before, cpu_before, cpu_us, peak_bytes;
  bool main_ended, listening, told;
  enum killed killed;
  uint8_t how;
  int32_t value;
  bool has_end, has_usage;
  struct init_report usage;
  char complaint[600];
  size_t complaint_size;
};

/* What a command is started with; all above the numbers that it gets them under. */
struct ends {
  int in, out, err, exec_error, note, status, spec, box;
};

uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int high(int fd) {
  if (fd < 0) return fd;
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, 20);
  close(fd);
  return moved;
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static bool open_pipe(int *ours, int *theirs) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) return false;
  *ours = high(ends[0]);
  *theirs = high(ends[1]);
  return *ours >= 0 && *theirs >= 0 && fcntl(*ours, F_SETFL, O_NONBLOCK) == 0;
}

int sealed_file(const void *bytes, size_t size) {
  int fd = high(memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  for (size_t done = 0; fd >= 0 && done < size;) {
    ssize_t wrote = write(fd, (const char *)bytes + done, size - done);
    if (wrote < 0) return close(fd), -1;
    done += wrote;
  }
  if (fd < 0 || lseek(fd, 0, SEEK_SET)) return -1;
  fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  return fd;
}

/* The command for `init`, as records: not for every user of the host to read in a command line. */
static int spec_file(const struct phase *phase) {
  size_t size = 5 + 18, at = 0;
  const struct words *both[] = {&phase->argv, &phase->env};
  for (int n = 0; n < 2; n++)
    for (size_t i = 0; i < both[n]->count; i++) size += 5 + strlen(both[n]->at[i]);
  uint8_t *bytes = calloc(1, size);
  if (!bytes) return -1;
  bytes[0] = 'p';
  bytes[1] = 18;
  at = 5 + 18;
  for (int n = 0; n < 2; n++)
    for (size_t i = 0; i < both[n]->count; i++) {
      uint32_t length = strlen(both[n]->at[i]), little = htole32(length);
      bytes[at] = n ? 'e' : 'a';
      memcpy(bytes + at + 1, &little, 4);
      memcpy(bytes + at + 5, both[n]->at[i], length);
      at += 5 + length;
    }
  int fd = sealed_file(bytes, size);
  free(bytes);
  return fd;
}

static bool open_ends(struct running *run, struct ends *ends) {
  const struct bundle *bundle = run->bundle;
  bool input = run->phase->kind == RUN && bundle->input_fd >= 0 && !lseek(bundle->input_fd, 0, SEEK_SET);
  bool wrapped = run->phase->wrapper.count;
  as_user(bundle);
  ends->in = input ? fcntl(bundle->input_fd, F_DUPFD_CLOEXEC, 20) : high(open("/dev/null", O_RDONLY | O_CLOEXEC));
  bool ok = ends->in >= 0 && open_pipe(&run->streams[STDOUT], &ends->out) && open_pipe(&run->streams[STDERR], &ends->err) &&
            open_pipe(&run->exec_error, &ends->exec_error);
  if (ok && wrapped)
    ok = open_pipe(&run->note, &ends->note) && open_pipe(&run->status, &ends->status) &&
         (ends->spec = spec_file(run->phase)) >= 0 &&
         (ends->box = high(open("/proc/self/exe", O_PATH | O_CLOEXEC))) >= 0;
  int error = errno;
  as_self();
  errno = error;
  return ok;
}

static void close_ends(struct ends *ends) {
  int *all[] = {&ends->in, &ends->out, &ends->err, &ends->exec_error, &ends->note, &ends->status, &ends->spec, &ends->box};
  for (size_t n = 0; n < sizeof all / sizeof *all; n++) close_fd(all[n]);
}

static bool limit_self(const struct bundle *bundle) {
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none)) return false;
  for (size_t n = 0; n < bundle->limit_count; n++) {
    struct rlimit limit = {bundle->limits[n].value, bundle->limits[n].value};
    if (setrlimit(bundle->limits[n].number, &limit)) return false;
  }
  return true;
}

/* In a container the kernel is to choose among code, never the box, when memory runs out. */
static void offer_to_oom_killer(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, "1000", 4);
  close(fd);
}

/* The child: becomes the command, or tells errno. */
static void become_command(const struct running *run, const struct ends *ends, pid_t box) {
  const struct phase *phase = run->phase;
  bool wrapped = phase->wrapper.count;
  int given[] = {ends->in, ends->out, wrapped ? ends->note : ends->err, ends->err, ends->status, ends->spec, ends->box};
  setsid();
  if (box == 1) offer_to_oom_killer();
  bool ok = limit_self(run->bundle);
  for (int fd = 0; ok && fd < (wrapped ? 7 : 3); fd++) ok = dup2(given[fd], fd) == fd;
  umask(022);
  ok = ok && become_user(run->bundle) && chdir(run->bundle->work) == 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != box) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  int error = !ok ? errno : wrapped ? execute(phase->wrapper.at, NULL) : execute(phase->argv.at, phase->env.at);
  (void)!write(ends->exec_error, &error, sizeof error);
  _exit(127);
}

static void stop(struct running *run, enum killed reason) {
  if (run->killed || run->main_ended) return;
  run->killed = reason;
  kill(-run->main, SIGKILL);
  kill(run->main, SIGKILL);
}

static void pump(struct running *run, int which) {
  static uint8_t beyond[64 * 1024];
  uint64_t *written = &run->written[which], cap = run->phase->cap;
  bool full = *written >= cap;
  size_t room = full ? sizeof beyond : out_room();
  if (!room) return;
  if (!full && room > cap - *written) room = cap - *written;
  int fd = run->streams[which];
  ssize_t got = full ? read(fd, beyond, room) : out_read(which == STDOUT ? 'o' : 'e', fd, room);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    close_fd(&run->streams[which]);
    return;
  }
  *written += got;
  if (!full || run->capped[which]) return;
  run->capped[which] = true;
  uint8_t body[9] = {which};
  uint64_t total = htole64(*written);
  memcpy(body + 1, &total, sizeof total);
  out_frame('c', body, sizeof body);
  if (run->phase->flags & KILL_AT_CAP) stop(run, BY_OUTPUT);
}

static void ended_by_status(struct running *run, int status) {
  if (WIFSIGNALED(status)) run->how = SIGNALED, run->value = WTERMSIG(status);
  else run->how = EXITED, run->value = WEXITSTATUS(status);
  run->has_end = true;
}

/* Collects who has ended; false when there is nobody left. */
static bool reap(struct running *run) {
  for (;;) {
    int status;
    struct rusage used;
    pid_t pid = wait4(-1, &status, WNOHANG, &used);
    if (pid < 0) return errno != ECHILD;
    if (pid == 0) return true;
    uint64_t peak = (uint64_t)used.ru_maxrss * 1024;
    run->cpu_us += (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000ull + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    if (peak > run->peak_bytes) run->peak_bytes = peak;
    if (pid != run->main) continue;
    run->main_ended = true;
    if (!run->phase->wrapper.count && !run->has_end) ended_by_status(run, status);
  }
}

static void read_exec_error(struct running *run) {
  int error;
  ssize_t got = read(run->exec_error, &error, sizeof error);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  close_fd(&run->exec_error);
  if (got != sizeof error) return;
  if (run->phase->wrapper.count) {
    run->complaint_size = snprintf(run->complaint, sizeof run->complaint, "%.400s: %s", run->phase->wrapper.at[0], strerror(error));
    return;
  }
  run->how = NOT_EXECUTED;
  run->value = error;
  run->has_end = true;
}

static void read_status(struct running *run) {
  struct init_report report;
  for (ssize_t got; (got = read(run->status, &report, sizeof report)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got != sizeof report) break;
    if (report.tag == 'u') run->usage = report, run->has_usage = true;
    /* The first word stands: of a command that could not be executed, its end is told too. */
    else if (!run->has_end)
      run->how = report.tag == 'n' ? NOT_EXECUTED : report.how, run->value = report.value, run->has_end = true;
  }
  close_fd(&run->status);
}

static void read_note(struct running *run) {
  ssize_t got = read(run->note, run->complaint + run->complaint_size, sizeof run->complaint - 1 - run->complaint_size);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) close_fd(&run->note);
  else run->complaint_size += got;
}

static void read_control(struct running *run, bool last_input, bool *open) {
  char byte;
  ssize_t got = read(0, &byte, 1);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got == 1) {
    if (byte == 'K') stop(run, BY_ASKED);
    return;
  }
  *open = false;
  if (last_input) return;
  run->listening = false;
  stop(run, BY_HANG_UP);
}

/* Waits at most `ms` for anything, and does what there is to do. False when nothing came. */
static bool attend(struct running *run, int ms, bool last_input, bool *control) {
  struct pollfd fds[8];
  int n = 0;
#define WATCH(descriptor, what) fds[n++] = (struct pollfd){.fd = (descriptor), .events = (what)}
  WATCH(*control ? 0 : -1, POLLIN);
  for (int which = 0; which < 2; which++) {
    bool readable = run->written[which] >= run->phase->cap || out_room();
    WATCH(readable ? run->streams[which] : -1, POLLIN);
  }
  WATCH(run->exec_error, POLLIN);
  WATCH(run->status, POLLIN);
  WATCH(run->note, POLLIN);
  WATCH(run->children, POLLIN);
  WATCH(out_waiting() ? out_fd : -1, POLLOUT);
  int ready = poll(fds, n, ms);
  if (ready <= 0) return false;
  if (fds[0].revents) read_control(run, last_input, control);
  if (fds[1].revents) pump(run, STDOUT);
  if (fds[2].revents) pump(run, STDERR);
  if (fds[3].revents) read_exec_error(run);
  if (fds[4].revents) read_status(run);
  if (fds[5].revents) read_note(run);
  if (fds[6].revents) {
    struct signalfd_siginfo info;
    while (read(run->children, &info, sizeof info) == sizeof info) continue;
    reap(run);
  }
  if (!out_push()) {
    run->listening = false;
    stop(run, BY_HANG_UP);
  }
  return true;
}

/* False when nobody can know of it: then it must not start. */
static bool tell_started(const struct running *run) {
  uint8_t body[2] = {run->phase->kind, run->index};
  out_frame('S', body, sizeof body);
  return out_push();
}

static void tell_exited(struct running *run) {
  if (run->told) return;
  run->told = true;
  /* A program that came to its own end before our kill reached it did so. */
  bool killed = run->how == SIGNALED && run->value == SIGKILL;
  bool for_memory = killed && !run->killed && getpid() == 1 && cgroup_oom_kills() > run->oom_before;
  uint8_t body[16] = {run->phase->kind, run->index, run->how, for_memory ? BY_MEMORY : killed ? run->killed : BY_NOBODY};
  uint32_t value = htole32(run->value);
  uint64_t took = htole64(now_us() - run->started);
  memcpy(body + 4, &value, sizeof value);
  memcpy(body + 8, &took, sizeof took);
  out_frame('X', body, sizeof body);
  out_push();
}

/* Of processes alone, what those used is missing whose parents don't wait for them: there may be no end to such. */
static uint64_t used_cpu_us(const struct running *run) {
  return run->cpu_before ? cgroup_cpu_us() - run->cpu_before : run->cpu_us + tree_cpu_us();
}

static void tell_ended(const struct running *run) {
  bool container = getpid() == 1;
  uint64_t cpu_us = run->has_usage ? run->usage.cpu_us : used_cpu_us(run);
  uint64_t peak = container ? cgroup_peak_bytes() : 0;
  if (!peak) peak = run->has_usage ? run->usage.peak_bytes : run->peak_bytes;
  uint64_t facts[5] = {run->written[STDOUT], run->written[STDERR], cpu_us, peak,
                       container ? cgroup_oom_kills() - run->oom_before : 0};
  uint8_t body[4 + sizeof facts] = {run->phase->kind, run->index};
  for (int n = 0; n < 5; n++) facts[n] = htole64(facts[n]);
  memcpy(body + 4, facts, sizeof facts);
  out_frame('E', body, sizeof body);
  out_push();
}

static const uint64_t look_every_us = 50000;

static uint64_t deadline_of(const struct running *run) { return run->started + (uint64_t)run->phase->limit_ms * 1000; }

/* How long until the deadline or the next look at cpu time. */
static int patience_ms(const struct running *run) {
  uint64_t now = now_us(), next = deadline_of(run);
  if (run->killed) return -1;
  if (run->phase->cpu_ms && run->next_look < next) next = run->next_look;
  uint64_t rest = next > now ? (next - now + 999) / 1000 : 0;
  return rest > 1000000000 ? 1000000000 : (int)rest;
}

static void hold_limits(struct running *run) {
  if (now_us() >= deadline_of(run)) stop(run, BY_DEADLINE);
  if (!run->phase->cpu_ms || run->killed || now_us() < run->next_look) return;
  if (used_cpu_us(run) >= (uint64_t)run->phase->cpu_ms * 1000) stop(run, BY_CPU_TIME);
  run->next_look = now_us() + look_every_us;
}

static bool finished(const struct running *run) { return run->main_ended || run->has_end; }

static void close_all(struct running *run) {
  int *all[] = {&run->streams[STDOUT], &run->streams[STDERR], &run->exec_error, &run->note, &run->status, &run->children};
  for (size_t n = 0; n < sizeof all / sizeof *all; n++) close_fd(all[n]);
}

static int open_children(void) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  return high(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
}

/* All that will have been written to a stream once what waits in its pipe is read. */
static uint64_t in_all(const struct running *run, int which) {
  int waiting = 0;
  if (run->streams[which] >= 0) ioctl(run->streams[which], FIONREAD, &waiting);
  return run->written[which] + waiting;
}

enum ended run_phase(const struct bundle *bundle, size_t index, bool last_input, struct failure *failure) {
  struct running run = {.bundle = bundle, .phase = &bundle->phases[index], .index = index, .listening = true,
                        .streams = {-1, -1}, .exec_error = -1, .note = -1, .status = -1};
  struct ends ends = {-1, -1, -1, -1, -1, -1, -1, -1};
  bool wrapped = run.phase->wrapper.count, control = true;
  run.children = open_children();
  if (run.children < 0 || !open_ends(&run, &ends)) {
    fail(failure, "opening pipes");
    close_ends(&ends);
    close_all(&run);
    return BOX_FAILED;
  }
  if (getpid() == 1) run.oom_before = cgroup_oom_kills(), run.cpu_before = cgroup_cpu_us();
  if (!tell_started(&run)) {
    close_ends(&ends);
    close_all(&run);
    return NOBODY_LISTENS;
  }
  run.started = now_us();
  pid_t box = getpid();
  run.main = fork();
  if (run.main == 0) become_command(&run, &ends, box);
  int error = errno;
  close_ends(&ends);
  if (run.main < 0) {
    fail_with(failure, "starting a process", error);
    close_all(&run);
    return BOX_FAILED;
  }
  while (!finished(&run)) {
    attend(&run, patience_ms(&run), last_input, &control);
    hold_limits(&run);
  }
  /* What the command said before it was there: errno of exec, `init`'s last words. */
  if (run.exec_error >= 0) read_exec_error(&run);
  if (run.status >= 0 && !run.has_end) read_status(&run);
  if (!wrapped || run.has_end) tell_exited(&run);
  /* A sandbox ends by itself, and its `init` says what all in it used. */
  uint64_t patient_until = wrapped && run.has_end ? now_us() + 50000 : 0;
  while (reap(&run)) {
    if (now_us() >= patient_until) kill_tree(bundle);
    attend(&run, 1, last_input, &control);
  }
  if (run.status >= 0) read_status(&run);
  if (run.note >= 0) read_note(&run);
  bool sandbox_failed = wrapped && !run.has_end && !run.killed;
  if (wrapped && !run.has_end) run.how = SIGNALED, run.value = SIGKILL;
  if (!sandbox_failed) tell_exited(&run);
  /* Of the phase, nobody writes any more; others may hold a pipe, even fill or empty it, and are not waited for. */
  uint64_t all[] = {in_all(&run, STDOUT), in_all(&run, STDERR)};
  while (run.listening && (run.written[STDOUT] < all[STDOUT] || run.written[STDERR] < all[STDERR]))
    if (!attend(&run, out_waiting() ? -1 : 0, last_input, &control)) break;
  bool well = run.how == EXITED && run.value == 0;
  if (!sandbox_failed) tell_ended(&run);
  close_all(&run);
  if (!run.listening) return NOBODY_LISTENS;
  if (sandbox_failed) {
    static char stage[700];
    snprintf(stage, sizeof stage, "the sandbox failed: %.*s", (int)run.complaint_size, run.complaint);
    fail_with(failure, stage, ECHILD);
    return BOX_FAILED;
  }
  return well ? ENDED_WELL : ENDED_BADLY;
}
