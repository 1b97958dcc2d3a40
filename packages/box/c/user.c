#include "box.h"
#include <grp.h>
#include <stdint.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* musl does not name it. */
enum { KEYCTL_JOIN_SESSION_KEYRING = 1 };

/* Files and pipes that are made now are the user's: so it may open /dev/stdout again. */
void as_user(const struct bundle *bundle) {
  if (!bundle->has_user) return;
  setfsgid(bundle->gid);
  setfsuid(bundle->uid);
}

void as_self(void) {
  setfsuid(geteuid());
  setfsgid(getegid());
}

bool become_user(const struct bundle *bundle) {
  /* No key of the box's user: what possesses a key may read it. Where containers forbid this, there are none. */
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
  /* Whoever it is: what gained privileges could not be ended any more. */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return false;
  if (!bundle->has_user) return true;
  /* What the box may do to become the user, code must not even be able to gain. */
  for (int capability = 0; capability <= 63; capability++) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  if (setgroups(0, NULL) && geteuid() == 0) return false;
  if (setresgid(bundle->gid, bundle->gid, bundle->gid) || setresuid(bundle->uid, bundle->uid, bundle->uid)) return false;
  /* Version 3 of the kernel's structures, which musl does not have: three sets of 64. */
  struct { uint32_t version; int pid; } head = {0x20080522, 0};
  uint32_t none[6] = {0};
  return syscall(SYS_capset, &head, none) == 0;
}
