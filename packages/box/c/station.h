/*
 * The box on an ssh target, where the link may go while a run stays: see ../README.md.
 *
 * A run has a directory of its own:
 *   work, tmp  the code's; the keeper removes them
 *   journal    the frames of its box, for whoever comes to read them; locked as long as the keeper lives
 *   control    a fifo: what its box reads as input
 *   state      the keeper's pid, when that started (ticks since boot), and after how many ms it ends everything
 */
#pragma once
#include "box.h"

/* ---- station.c */
int station_main(void);

/* ---- keeper.c */
struct run {
  int dir, journal, control;
};
/*
 * Starts the process that outlives the link: parent of the run's box, it ends everything `most_ms` after this and clears
 * up. Answers its pid, or -1.
 */
pid_t start_keeper(const struct run *run, struct bundle *bundle, uint64_t most_ms);

/* ---- state.c */
struct keeper {
  pid_t pid;
  uint64_t start_ticks;
};
bool write_state(int dir, uint64_t most_ms);
/* False where none was written, or its process is another one now. */
bool read_state(int dir, struct keeper *keeper);
/* Whether the keeper of the run whose journal this is has gone. */
bool keeper_gone(int journal);

/* ---- remove.c */
/* Removes whatever is there, as deep and closed as it may be, without following a link; false when something stays. */
bool remove_tree(int parent, const char *name);

/* ---- sweep.c */
/* Ends the run of this directory, whatever state it is in. */
bool end_run(int dir);
int kill_main(const char *path);
/*
 * Ends and removes runs of `mark` that are not of `session`, those named, and old ones of anybody that have ended. Exits
 * with 2 where all have ended, and something stayed.
 */
int sweep_main(const char *root, const char *mark, const char *session, char **named);
