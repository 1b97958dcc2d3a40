# shellcheck shell=bash disable=SC2034,SC2154
# A Docker registry, run by namespaced.sh with its settings and data in DIR.
namespaces=

enter() { :; }

order_start() {
  rm -f "$dir/registry.sock"
  docker-registry serve "$dir/config.yml" </dev/null >>"$dir/log" 2>&1 &
  daemon=$!
}

order_kill() {
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
}
