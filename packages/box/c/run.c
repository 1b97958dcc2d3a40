#include "box.h"
#include <unistd.h>

static bool all_phases(const struct bundle *bundle, bool last_input, struct failure *failure, bool *listening) {
  for (size_t index = 0; index < bundle->phase_count; index++) {
    enum ended ended = run_phase(bundle, index, last_input, failure);
    if (ended == NOBODY_LISTENS) *listening = false;
    if (ended == NOBODY_LISTENS || ended == BOX_FAILED) return ended == NOBODY_LISTENS;
    if (ended == ENDED_BADLY && !(bundle->phases[index].flags & GO_ON)) return true;
  }
  return true;
}

bool run_bundle(struct bundle *bundle, bool last_input) {
  struct failure failure;
  bool listening = true;
  bool ok = make_place(bundle, &failure) && all_phases(bundle, last_input, &failure, &listening) &&
            (!listening || send_artifacts(bundle, &failure));
  if (bundle->input_fd >= 0) close(bundle->input_fd);
  if (!ok) out_failed(&failure);
  if (listening) out_frame('Z', NULL, 0);
  return listening && out_finish();
}
