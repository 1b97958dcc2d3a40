# What does the box's work where the box cannot run; shell-station.ts is its other side, frames.ts tells its frames.
# A POSIX shell reads it; nothing of it runs before its last line was read. Beside POSIX it needs head -c and setsid.

main() {
  umask 077
  PATH=${PATH:-}:/usr/local/bin:/usr/bin:/bin
  LC_ALL=C
  script=$HOME/.errand/$1
  export PATH LC_ALL script
  act=$2
  shift 2
  case $act in
    begin) begin_run "$@" ;;
    follow) follow_run "$@" ;;
    remove) remove_run "$@" ;;
    kill) kill_run "$@" ;;
    sweep) sweep_runs "$@" ;;
    keep) keep_run "$@" ;;
    start) start_program "$@" ;;
    fit) command -v setsid mkfifo awk cksum head tail dd wc env grep > /dev/null ;;
  esac
}

# <directory> <checksum> <size>, the bundle on descriptor 0: makes the directory, and passes the journal on.
begin_run() {
  greet
  cat > "$1.part.$$"
  if [ "$(cksum < "$1.part.$$")" != "$2 $3" ]; then
    rm -f "$1.part.$$"
    exit 1
  fi
  if ! mkdir "$1" 2> /dev/null; then
    rm -f "$1.part.$$"
    answer 2 17
    return
  fi
  mv "$1.part.$$" "$1/bundle"
  cd "$1" || exit 1
  : > journal
  # Not in the background: there a shell has its children ignore SIGINT, for good.
  setsid /bin/sh "$script" "${script##*/}" keep < /dev/null > /dev/null 2>&1 | pass_on 0
}

# <directory> <offset>
follow_run() {
  greet
  if [ -f "$1/journal" ] && cd "$1"; then pass_on "$2"; else answer 1 2; fi
}

# <directory>
remove_run() {
  greet
  if remove "$1"; then answer 3 0; else answer 4 0; fi
}

# <directory>: exits with 3 where there is none.
kill_run() {
  cd "$1" 2> /dev/null || exit 3
  end_run || exit 1
  remove work
  remove tmp
}

# <directory of runs> <agent> <session> <name>...: exits with 1 where something still runs, 2 where it has ended and stays.
sweep_runs() {
  cd "$1" || exit 3
  agent=$2 session=$3 worst=0
  shift 3
  for run in *; do
    is_left "$run" "$@" || continue
    if [ -d "$run" ] && ! (cd "$run" && end_run); then
      worst=1
    elif ! remove "$run" && [ "$worst" = 0 ]; then
      worst=2
    fi
  done
  exit "$worst"
}

is_left() {
  run=$1
  shift
  for named; do
    [ "$run" = "$named" ] && return 0
  done
  case $run in
    "$agent-$session-"*) ;;
    "$agent-"*) return 0 ;;
  esac
  [ -n "$(find "$run" -prune -mmin +60 2> /dev/null)" ] && { [ ! -d "$run" ] || ! (cd "$run" && is_kept); }
}

# --- The keeper: one for each run, in a session of its own, in the run's directory. ---

keep_run() {
  who=keeper
  echo "$$ $(birth $$)" > keeper.new
  mv keeper.new keeper
  read -r plan_size < bundle
  base=$((17 + plan_size))
  tail -c +18 bundle | head -c "$plan_size" > plan
  if mkdir work tmp; then . ./plan; else failed; fi
  put Z 0
  : > over
  # Whoever still waits for a time to come.
  kill -s KILL 0
}

# <offset> <size> <path>
file() {
  case $3 in */*) mkdir -p "./${3%/*}" ;; esac
  tail -c "+$((base + $1 + 1))" bundle | head -c "$2" > "./$3"
  [ "$(($(wc -c < "./$3")))" = "$2" ] || failed
}

# <index> <kind> <seconds> <cap> <1: killed beyond it> <1: the next follows in any case> <command>
phase() {
  index=$1 kind=$2 seconds=$3 cap=$4 kill_at_cap=$5 go_on=$6
  little 1 "$kind" && place=$bytes && little 1 "$index" && place=$place$bytes
  put S 2 "$place"
  began=$(now)
  errno=$(cd work && why_not "$7")
  if [ "$errno" != 0 ]; then
    exited 2 0 "$errno"
    ended 0 0
    [ "$go_on" = 1 ]
    return
  fi
  rm -f stdout stderr
  mkfifo stdout stderr
  collect o stdout &
  collecting=$!
  collect e stderr &
  collecting="$collecting $!"
  # Where fractions are not known: the next second.
  sleep 0.001 2> /dev/null || seconds=$((${seconds%.*} + 1))
  (sleep "$seconds" && end_phase deadline) &
  run_program > status
  status=$(cat status)
  # Code has killed what waits for it: nobody can say how it ended.
  if [ -z "$status" ]; then
    kill_group "$index"
    kill_strays
    kill -s KILL 0
  fi
  if [ "$status" -lt 256 ]; then
    exited 0 0 "$status"
  else
    signal=$(((status - 256) % 128)) reason=0
    [ "$signal" = 9 ] && reason=$(why_killed)
    exited 1 "$reason" "$signal"
  fi
  kill_group "$index"
  rm -f "pid-$index"
  kill_strays
  (give_up_when_held $collecting) &
  giving_up=$!
  wait $collecting
  kill -s KILL "$giving_up"
  ended "$(cat bytes-o)" "$(cat bytes-e)"
  [ "$status" = 0 ] || [ "$go_on" = 1 ]
}

# A shell cannot tell exit code 137 and signal 9 apart. Most awks add 256 to a signal, or divide it by 256; where ours
# does not, a code that `kill -l` has a name for is taken for its signal. Nothing is said when code killed who waits.
run_program() {
  case $(awk 'BEGIN { print system("kill -s KILL $$") }') in
    265 | 0.03*)
      awk 'BEGIN { s = system("exec setsid /bin/sh \"$script\" \"${script##*/}\" start '"$index"'"); if (s != int(s)) s = 256 + s * 256; print s }'
      ;;
    *)
      /bin/sh -c 'setsid /bin/sh "$1" "${1##*/}" start "$2"; echo $?' sh "$script" "$index" | {
        read -r code && if [ "$code" -gt 128 ] && [ "$code" -lt 160 ] && kill -l "$code" > /dev/null; then code=$((code + 128)); fi
        echo "$code"
      }
      ;;
  esac
}

why_killed() {
  if [ -e asked ]; then
    echo 1
    return
  fi
  case $(cat "killed-$index" 2> /dev/null) in
    deadline) echo 2 ;;
    output) echo 3 ;;
    *) echo 0 ;;
  esac
}

# <command>: 0, or the errno with which it would not be executed.
why_not() {
  case $1 in
    */*) ;;
    *)
      echo 0
      return
      ;;
  esac
  if [ ! -e "$1" ]; then
    echo 2
  elif [ -d "$1" ] || [ ! -x "$1" ]; then
    echo 13
  else
    echo 0
  fi
}

# <letter> <fifo>: writes what comes into the journal, whole frames at once.
collect() {
  total=0 who=$1
  echo 0 > "bytes-$1"
  exec < "$2"
  while dd bs=65536 count=1 of="chunk-$1"; do
    size=$(($(wc -c < "chunk-$1")))
    [ "$size" -gt 0 ] || break
    room=$((cap - total))
    total=$((total + size))
    echo "$total" > "bytes-$1"
    [ "$room" -ge 0 ] || continue
    kept=$((size < room ? size : room))
    little 4 "$kept"
    { printf "$1$bytes" && head -c "$kept" "chunk-$1"; } > "frame-$1"
    [ "$kept" -gt 0 ] && { dd bs=131072 if="frame-$1" >> journal || : > broken; }
    [ "$size" -gt "$room" ] || continue
    little 8 "$total"
    if [ "$1" = o ]; then put c 9 "\\000$bytes"; else put c 9 "\\001$bytes"; fi
    if [ "$kill_at_cap" = 1 ]; then
      end_phase output
    else
      total=$((total + $(wc -c)))
      break
    fi
  done
  echo "$total" > "bytes-$1"
}

# <pid>...: who cannot be found may hold the pipes open, with nothing more to come.
give_up_when_held() {
  before=none
  while sleep 2 && now=$(cat bytes-o bytes-e) && [ "$now" != "$before" ]; do before=$now; done
  kill -s KILL "$@"
}

# <reason>
end_phase() {
  (set -C && echo "$1" > "killed-$index")
  kill_group "$index"
}

# <index>: in its own session; becomes the program.
start_program() {
  echo "$$ $(birth $$)" > "pid-$1"
  # Whoever ends it looks for the number after having said so.
  if [ -e asked ] || [ -e "killed-$1" ]; then kill -s KILL $$; fi
  exec > stdout 2> stderr
  umask 022
  start=$(pwd -P)/start-$1
  cd work && . "$start"
}

# --- What they share. ---

# Passes the journal on from an offset until its keeper has gone, and says so.
pass_on() {
  offset=$1 pause=0.02 misses=0
  while :; do
    more=1
    is_kept || more=0
    size=$(($(wc -c < journal)))
    if [ "$size" -gt "$offset" ]; then
      tail -c "+$((offset + 1))" journal | head -c "$((size - offset))" || exit 1
      offset=$size pause=0.02
      continue
    fi
    [ "$more" = 1 ] || break
    sleep "$pause" 2> /dev/null || sleep 1
    case $pause in 0.02) pause=0.05 ;; 0.05) pause=0.1 ;; *) pause=0.2 ;; esac
  done
  # After half a frame no other can come.
  if [ -e broken ]; then exit 1; fi
  answer 0 0
}

is_kept() {
  [ ! -e over ] || return 1
  if read -r pid born < keeper; then
    [ "$(birth "$pid")" = "$born" ]
  else
    # It is about to begin, or never did.
    misses=$((${misses:-0} + 1))
    [ "$misses" -lt 100 ]
  fi 2> /dev/null
}

# In the directory of a run.
end_run() {
  : > asked
  # Code may have stopped all that runs as its user.
  wake=$(grep -lE "run-[0-9a-f]{12}\.sh|^sshd" /proc/[0-9]*/cmdline 2> /dev/null)
  for one in $wake; do
    one=${one#/proc/}
    kill -s CONT "${one%/cmdline}" 2> /dev/null
  done
  if read -r pid born 2> /dev/null < keeper; then
    kill -s CONT -- "-$pid" 2> /dev/null
    tries=0
    while [ "$tries" -lt 50 ]; do
      for one in pid-*; do kill_group "${one#pid-}"; done
      is_kept || break
      sleep 0.1 2> /dev/null || sleep 1
      tries=$((tries + 1))
    done
    is_kept && kill -s KILL -- "-$pid" 2> /dev/null
  fi
  for one in pid-*; do kill_group "${one#pid-}"; done
  kill_strays
}

# <index>: the number is its own while its leader is the one that wrote it, or nobody is.
kill_group() {
  read -r group since 2> /dev/null < "pid-$1" || return 0
  is=$(birth "$group")
  if [ -z "$is" ] || [ "$is" = "$since" ]; then kill -s KILL -- "-$group" 2> /dev/null; fi
  return 0
}

# What left the group, where the system shows who has the run's directory in its environment.
kill_strays() {
  run=$(pwd -P)
  run=${run##*/}
  round=0
  while [ "$round" -lt 20 ]; do
    strays=$(find_strays 2> /dev/null)
    [ -n "$strays" ] || return 0
    for one in $strays; do
      one=${one#/proc/}
      kill -s KILL "${one%/environ}" 2> /dev/null
    done
    [ "$round" -lt 5 ] || sleep 0.05 2> /dev/null || sleep 1
    round=$((round + 1))
  done
  return 1
}

find_strays() {
  # Busybox's grep reads up to the first NUL.
  if printf 'a\000b\n' | grep -qF b; then
    grep -lF "/.errand/runs/$run/" /proc/[0-9]*/environ
    return
  fi
  for one in /proc/[0-9]*/environ; do
    [ -r "$one" ] && tr '\000' '\n' < "$one" | grep -qF "/.errand/runs/$run/" && echo "$one"
  done
}

# <pid>: the same for the same process only; nothing where it is no more.
birth() {
  if [ -r /proc/self/stat ]; then
    read -r birth_line 2> /dev/null < "/proc/$1/stat" || return
    set -- ${birth_line##*) }
    case $1 in Z | X) return ;; esac
    read -r boot < /proc/sys/kernel/random/boot_id
    echo "${20}-$boot"
  else
    case $(ps -o stat= -p "$1") in '' | Z*) return ;; esac
    ps -o lstart= -p "$1" | tr -s ' ' '-'
  fi 2> /dev/null
}

remove() {
  rm -rf "$1" 2> /dev/null && return
  chmod -R u+rwx "$1" 2> /dev/null
  rm -rf "$1"
}

greet() { echo 'errand box station'; }

# <answer> <errno>
answer() {
  little 4 "$2"
  printf "Q\\005\\000\\000\\000\\00$1$bytes"
}

# <letter> <size> [<bytes>]
put() {
  little 4 "$2"
  # In one piece, which a shell's own printf does not promise.
  printf "$1$bytes${3:-}" > "put-$who" && dd bs=131072 if="put-$who" >> journal || : > broken
}

# <how> <reason> <value>
exited() {
  little 4 "$3" && value=$bytes
  little 8 $((($(now) - began) * 1000))
  put X 16 "$place\\00$1\\00$2$value$bytes"
}

# <bytes of stdout> <of stderr>
ended() {
  little 8 "$1" && out=$bytes
  little 8 "$2" && err=$bytes
  little 8 0
  put E 44 "$place\\000\\000$out$err$bytes$bytes$bytes"
}

# Mostly because the disk is full.
failed() {
  little 4 28
  put ! 36 "${bytes}files\\000they cannot be written all"
  return 1
}

# <width> <number>: as printf writes it, the lowest byte first.
little() {
  bytes='' left=$2 width=$1
  while [ "$width" -gt 0 ]; do
    byte=$((left % 256)) left=$((left / 256)) width=$((width - 1))
    bytes="$bytes\\$((byte / 64))$((byte / 8 % 8))$((byte % 8))"
  done
}

# Milliseconds since some time.
now() {
  if read -r up rest 2> /dev/null < /proc/uptime; then
    up_part=1${up#*.}
    echo $((${up%.*} * 1000 + (up_part - 100) * 10))
  else
    echo $(($(date +%s) * 1000))
  fi
}

main "$@"
