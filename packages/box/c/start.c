#include "box.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *path_of(char **env) {
  for (; env && *env; env++)
    if (!strncmp(*env, "PATH=", 5)) return *env + 5;
  return "/usr/local/bin:/usr/bin:/bin";
}

int execute(char **argv, char **env) {
  char *none[] = {NULL}, path[4096];
  if (!env) env = none;
  if (strchr(argv[0], '/')) return execve(argv[0], argv, env), errno;
  int error = ENOENT;
  for (const char *at = path_of(env); at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
    size_t length = strcspn(at, ":");
    if (length == 0 || length + strlen(argv[0]) + 2 > sizeof path) continue;
    memcpy(path, at, length);
    path[length] = '/';
    strcpy(path + length + 1, argv[0]);
    execve(path, argv, env);
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  return error;
}
