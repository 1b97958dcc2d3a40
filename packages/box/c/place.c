#include "box.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool make_directory(const struct bundle *bundle, const char *path) {
  if (mkdir(path, 0700)) return false;
  return !bundle->has_user || !lchown(path, bundle->uid, bundle->gid);
}

/* The folders above a file. */
static bool make_parents(int work, char *path) {
  for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    int failed = mkdirat(work, path, 0700);
    *slash = '/';
    if (failed && errno != EEXIST) return false;
  }
  return true;
}

static bool write_file(int work, const struct file *file) {
  if (!make_parents(work, file->path)) return false;
  int fd = openat(work, file->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  size_t done = 0;
  ssize_t wrote = 0;
  while (done < file->size && (wrote = write(fd, file->content + done, file->size - done)) > 0) done += wrote;
  int error = errno;
  close(fd);
  errno = error;
  return done == file->size;
}

bool make_place(struct bundle *bundle, struct failure *failure) {
  umask(077);
  if (bundle->make_work && !make_directory(bundle, bundle->work)) return fail(failure, "making the work directory");
  if (bundle->tmp && !make_directory(bundle, bundle->tmp)) return fail(failure, "making the directory for temporary files");
  as_user(bundle);
  int work = open(bundle->work, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  bool ok = work >= 0;
  for (const struct file *file = bundle->files; ok && file; file = file->next) ok = write_file(work, file);
  if (!ok) fail(failure, "writing the files");
  if (work >= 0) close(work);
  if (ok && bundle->input_size && (bundle->input_fd = sealed_file(bundle->input, bundle->input_size)) < 0)
    ok = fail(failure, "keeping the input");
  as_self();
  free(bundle->payload);
  bundle->payload = NULL;
  bundle->files = NULL;
  return ok;
}
