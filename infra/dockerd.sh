# shellcheck shell=bash disable=SC2034,SC2154
# A Docker Engine, run by namespaced.sh with the data root of an ended Engine as its argument, or none: it has the
# images of that one. Its bridges and firewall rules are in a network namespace of its own.
namespaces=--net
cgroup=$(basename "$dir")

enter() {
  # Keys and settings of the machine's own Engine.
  mkdir -p /etc/docker
  mount -t tmpfs tmpfs /etc/docker
  ip link set lo up
  [ -z "$argument" ] || show_images "$argument"
}

# A copy of the records, and a view of the layers' files that nobody can change.
show_images() {
  mkdir -p "$dir/data"
  # Where the data root is no mount yet, dockerd makes it one, and the layers are hidden beneath.
  mount --bind "$dir/data" "$dir/data"
  tar -C "$1" -c --exclude 'overlay2/*/diff/*' image overlay2 | tar -C "$dir/data" -x
  for files in "$dir"/data/overlay2/*/diff; do
    mount --bind -o ro "$1/${files#"$dir/data/"}" "$files"
  done
}

order_start() {
  rm -f "$dir/docker.sock" /run/docker.pid
  dockerd --config-file "$dir/daemon.json" --host "unix://$dir/docker.sock" --data-root "$dir/data" \
    --exec-root /run/docker --pidfile /run/docker.pid --exec-opt native.cgroupdriver=cgroupfs \
    --cgroup-parent "/$cgroup" </dev/null >>"$dir/log" 2>&1 &
  daemon=$!
}

order_kill() {
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
}

order_pause() { kill -STOP "$daemon"; }
order_resume() { kill -CONT "$daemon"; }

# From now on a port of the Engine's loopback leads to a Unix socket of the machine: `forward PORT SOCKET`.
order_forward() {
  socat "TCP-LISTEN:$1,bind=127.0.0.1,fork" "UNIX-CONNECT:$2" </dev/null >>"$dir/log" 2>&1 &
  while kill -0 $! && ! (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.02; done
}

leave() {
  # Groups stay busy for a moment after their last process.
  for _ in {1..100}; do
    ! remove_cgroups 2>/dev/null || break
    sleep 0.05
  done
}

remove_cgroups() {
  for group in "/sys/fs/cgroup/$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
    [ ! -e "$group" ] || find "$group" -depth -type d -exec rmdir {} + || return 1
  done
}
