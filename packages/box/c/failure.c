#include "box.h"
#include <errno.h>

bool fail(struct failure *failure, const char *stage) { return fail_with(failure, stage, errno); }

bool fail_with(struct failure *failure, const char *stage, int error) {
  failure->stage = stage;
  failure->error = error;
  return false;
}
