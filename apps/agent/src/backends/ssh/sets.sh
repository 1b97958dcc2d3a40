# Looks after dependency sets on a target; remote-sets.ts is its other side. A POSIX shell reads it from its input, with
# the act as its first argument, and nothing of it runs before its last line was read. Answers are lines `errand-name=value`.
#
#   ~/.errand/sets/<hash>/<attempt>/   what one installation made; only the one that `whole` names is ever used
#   ~/.errand/sets/<hash>/whole        "<attempt> <bytes>", there as soon as that is whole
#   ~/.errand/sets/<hash>/used-<agent> as old as that agent's last use
#   ~/.errand/sets/<hash>/lock/        somebody installs it, and touches this as long as that goes on
#   ~/.errand/sets/<hash>/removing/    somebody removes it
# Agents that share an account share its sets.

main() {
  umask 077
  PATH=${PATH:-}:/usr/local/bin:/usr/bin:/bin
  LC_ALL=C
  sets=$HOME/.errand/sets runs=$HOME/.errand/runs
  export PATH LC_ALL
  act=$1
  shift
  case $act in
    find) find_set "$@" ;;
    begin) begin_set "$@" ;;
    beat) beat_set "$@" ;;
    finish) finish_set "$@" ;;
    drop) drop_set "$@" ;;
    remove) remove_set "$@" ;;
    sweep) sweep_sets "$@" ;;
  esac < /dev/null
}

# <hash> <agent>: in use from now on. Who removes it says so before it looks for uses.
find_set() {
  cd "$sets/$1" 2> /dev/null || return 0
  touch "used-$2"
  tell_whole
}

# <hash> <attempt> <agent>: makes the attempt's folder, unless somebody else is about it.
begin_set() {
  mkdir -p "$sets/$1" && cd "$sets/$1" || exit 1
  touch "used-$3"
  if is_there removing || ! take_lock "$2"; then
    echo errand-lock=theirs
    return
  fi
  echo "$2" > lock/owner
  # Somebody has removed what it names.
  if read -r attempt bytes 2> /dev/null < whole && [ ! -d "$attempt" ]; then rm -f whole; fi
  mkdir "$2" && echo errand-lock=ours
}

# <hash> <attempt>
beat_set() {
  cd "$sets/$1" && owns_lock "$2" && touch lock
}

# <hash> <attempt> <bytes>: it is whole, unless another was first.
finish_set() {
  cd "$sets/$1" && [ -d "$2" ] || exit 1
  sync -f "$2" 2> /dev/null || sync
  echo "$2 $3" > "whole-$2"
  ln "whole-$2" whole 2> /dev/null || [ -e whole ] || mv -f "whole-$2" whole
  rm -f "whole-$2"
  read -r attempt bytes < whole
  [ "$attempt" = "$2" ] || remove "$2"
  if owns_lock "$2"; then rm -rf lock; fi
  tell_whole
}

# <hash> <attempt>: it came to nothing.
drop_set() {
  cd "$sets/$1" 2> /dev/null || return 0
  remove "$2"
  if owns_lock "$2"; then rm -rf lock; fi
  leave_if_empty
}

# <hash> <agent>: unless others use it, or may be about to.
remove_set() {
  if ! cd "$sets/$1" 2> /dev/null; then
    echo errand-removed=yes
    return
  fi
  is_there removing || rm -rf removing
  mkdir removing 2> /dev/null || return
  if is_there lock || is_used_beside "$2"; then
    rmdir removing
    return
  fi
  trash=$sets/gone-$2-$1
  rm -rf "$trash"
  cd "$sets" && mv "$1" "$trash" && remove "$trash" && echo errand-removed=yes
}

# <agent> <attempt>...: removes what this agent left but for these attempts, and what anybody left long ago.
sweep_sets() {
  agent=$1
  shift
  cd "$sets" 2> /dev/null || return 0
  for set in *; do
    case $set in
      gone-"$agent"-*) remove "$set" ;;
      gone-*) is_old "$set" && remove "$set" ;;
      *) (cd "$set" 2> /dev/null && sweep_set "$@") ;;
    esac
  done
}

sweep_set() {
  read -r whole bytes 2> /dev/null < whole || whole=
  for one in *; do
    case $one in
      whole | used-* | removing) continue ;;
      lock) read -r owner 2> /dev/null < lock/owner || owner= ;;
      whole-*) owner=${one#whole-} ;;
      *) owner=$one ;;
    esac
    [ "$one" = "$whole" ] || is_live "$owner" "$@" && continue
    case $owner in
      "$agent"-*) remove "$one" ;;
      *) is_old "$one" && remove "$one" ;;
    esac
  done
  leave_if_empty
}

# <attempt> <live attempt>...
is_live() {
  attempt=$1
  shift
  for live; do
    [ "$attempt" = "$live" ] && return 0
  done
  return 1
}

# A lock that nobody has touched for long is taken over. Should two do so at once, both install, each its own.
take_lock() {
  mkdir lock 2> /dev/null && return
  is_there lock && return 1
  mv lock "lock-$1" 2> /dev/null && rm -rf "lock-$1"
  mkdir lock 2> /dev/null
}

owns_lock() {
  read -r owner 2> /dev/null < lock/owner && [ "$owner" = "$1" ]
}

# Whether a folder is there that somebody has touched of late.
is_there() {
  [ -d "$1" ] && [ -z "$(find "$1" -prune -mmin +2)" ]
}

is_old() {
  [ -n "$(find "$1" -prune -mmin +1440)" ]
}

# Others' runs may use it as long as they go on; before they are there, a use is not old.
is_used_beside() {
  for use in used-*; do
    [ "$use" = "used-$1" ] || [ "$use" = 'used-*' ] && continue
    [ -z "$(find "$use" -prune -mmin +10)" ] && return 0
    for run in "$runs/${use#used-}"-*; do
      [ -e "$run" ] && return 0
    done
  done
  return 1
}

tell_whole() {
  is_there removing && return
  read -r attempt bytes 2> /dev/null < whole && [ -d "$attempt" ] && echo "errand-set=$attempt $bytes"
  return 0
}

leave_if_empty() {
  [ -e whole ] || [ -d lock ] && return
  rm -f used-*
  rmdir "$(pwd -P)" 2> /dev/null
  return 0
}

remove() {
  rm -rf "$1" 2> /dev/null && return
  chmod -R u+rwx "$1" 2> /dev/null
  rm -rf "$1"
}

main "$@"
