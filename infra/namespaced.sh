#!/bin/bash
# bash infra/namespaced.sh DAEMON DIR keep|remove [ARGUMENT]
# Runs a daemon in namespaces of its own, with its files in DIR: it meets nothing else of the machine, and at the end
# of its pid namespace the kernel ends all that belongs to it, processes and mounts. It reads orders from stdin and
# answers each with a line; the end of stdin ends it. `infra/namespaced.ts` is the other side. DAEMON is a script
# beside this one which says: `namespaces`, beside mount and pid; `enter` prepares them; `order_…` obeys an
# order with its arguments, and keeps the pid of what it starts in `daemon`; `leave` removes what the kernel does not.
set -eu
dir=$2 at_end=$3 argument=${4:-} daemon=none
leave() { :; }
# shellcheck source=/dev/null
. "$(dirname "$0")/$1"

outside() {
  # shellcheck disable=SC2086
  unshare --mount --pid --fork --kill-child --mount-proc $namespaces "$BASH" "$0" "$1" "$dir" "$at_end" "$argument" inside ||
    true
  leave
  [ "$at_end" = keep ] || rm -rf "$dir"
}

# Bash, since it is the namespace's init: of all shells it alone buries the dead that it did not start.
inside() {
  mount -t tmpfs -o mode=755 tmpfs /run
  enter
  while read -r order arguments; do
    # shellcheck disable=SC2086
    "order_$order" $arguments
    if kill -0 "$daemon" 2>/dev/null; then echo up; else echo down; fi
  done
}

order_look() { :; }

"${5:-outside}" "$1"
