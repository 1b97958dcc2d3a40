#!/bin/bash
# bash infra/dockerd.sh DIR keep|remove IMAGES
# A Docker Engine with its data and its socket in DIR, in namespaces of its own: it meets no other Engine of the
# machine, and at the end of its pid namespace the kernel ends all that belongs to it, daemon, containerd, shims,
# containers, mounts, bridges and firewall rules. It reads orders from stdin and answers each with a line; the end
# of stdin ends it. `infra/docker-engine.ts` is the other side.
set -eu
dir=$1 at_end=$2 images=$3 cgroup=$(basename "$1")

outside() {
  unshare --mount --net --pid --fork --kill-child --mount-proc "$BASH" "$0" "$dir" "$at_end" "$images" inside || true
  # Groups stay busy for a moment after their last process.
  for _ in {1..100}; do ! remove_cgroups 2>/dev/null || break; sleep 0.05; done
  [ "$at_end" = keep ] || rm -rf "$dir"
}

remove_cgroups() {
  for group in "/sys/fs/cgroup/$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
    [ ! -e "$group" ] || find "$group" -depth -type d -exec rmdir {} + || return 1
  done
}

# Bash, since it is the namespace's init: of all shells it alone buries the dead that it did not start.
inside() {
  # Here are sockets of shims, network namespaces, and keys and settings of the machine's own Engine.
  mkdir -p /etc/docker
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /etc/docker
  ip link set lo up
  [ -z "$images" ] || show_images
  while read -r order; do
    case $order in
      start) start ;;
      kill) kill -KILL "$daemon"; wait "$daemon" 2>/dev/null || true ;;
      pause) kill -STOP "$daemon" ;;
      resume) kill -CONT "$daemon" ;;
      look) ;;
    esac
    if kill -0 "$daemon" 2>/dev/null; then echo up; else echo down; fi
  done
}

start() {
  rm -f "$dir/docker.sock" /run/docker.pid
  dockerd --host "unix://$dir/docker.sock" --data-root "$dir/data" --exec-root /run/docker --pidfile /run/docker.pid \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$cgroup" </dev/null >>"$dir/log" 2>&1 &
  daemon=$!
}

# A copy of the records, and a view of the layers' files that nobody can change.
show_images() {
  mkdir -p "$dir/data"
  # Where the data root is no mount yet, dockerd makes it one, and the layers are hidden beneath.
  mount --bind "$dir/data" "$dir/data"
  tar -C "$images" -c --exclude 'overlay2/*/diff/*' image overlay2 | tar -C "$dir/data" -x
  for files in "$dir"/data/overlay2/*/diff; do
    mount --bind -o ro "$images/${files#"$dir/data/"}" "$files"
  done
}

"${4:-outside}"
