# shellcheck shell=bash disable=SC2034,SC2154
# An OpenSSH server, run by namespaced.sh with the accounts, /home and /tmp that lie in DIR in the place of the
# machine's own.
namespaces=

enter() {
  mkdir /run/sshd /run/target
  mount --bind "$dir" /run/target
  for account in passwd group shadow; do mount --bind "/run/target/$account" "/etc/$account"; done
  mount --bind /run/target/home /home
  mount --bind /run/target/tmp /tmp
}

order_start() {
  /usr/sbin/sshd -D -E /run/target/log -f /run/target/sshd_config </dev/null >/dev/null 2>&1 &
  daemon=$!
}

# Listener and sessions; what those have started goes on.
order_kill() {
  while signal_sshd KILL; do :; done
  wait "$daemon" 2>/dev/null || true
}

order_pause() { signal_sshd STOP; }
order_resume() { signal_sshd CONT; }

# All but the init, which we are.
order_crash() {
  kill -KILL -1 || true
  wait "$daemon" 2>/dev/null || true
}

# Fails where there is none.
signal_sshd() {
  local process found=1
  for process in /proc/[1-9]*; do
    # One that has ended has no program any more.
    [ "$(readlink "$process/exe")" = /usr/sbin/sshd ] && kill "-$1" "${process#/proc/}" && found=0
  done
  return $found
}
