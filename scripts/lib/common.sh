# shellcheck shell=bash
# What the services have in common: messages, ports, and processes that can be found again.
#
# Everything about service S is under $STATE/S: *.port files, *.pid files, log, data/.
# Read by scripts/services, which sets ROOT and STATE.

readonly PORT_BASE=20000  # above the well-known ports, ...
readonly PORT_SPAN=12000  # ... below 32768, where Linux takes the ports of outgoing connections from
readonly PORT_TRIES=200
readonly MAX_OPEN_FILES=65536
readonly KILL_SECONDS=10 # more than SIGKILL ever takes, unless the disk hangs

say() { printf '%s\n' "$*" >&2; }
die() { say "services: $*"; exit 1; }

# --- ports -----------------------------------------------------------------------------------------

# Whether somebody accepts connections at HOST PORT. Bash connects by itself: no nc, ss or curl needed.
# shellcheck disable=SC2016 # for the inner shell
listening() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null; }

port() { cat "$STATE/$1/$2.port"; }

# A port is drawn once and kept, so that URLs stay valid over kill, restart and `down --keep-data`.
# It is drawn anew if somebody else has taken it meanwhile.
ensure_port() {
  local file=$STATE/$1/$2.port candidate tries
  if [[ -s $file ]] && ! listening 127.0.0.1 "$(<"$file")"; then return; fi
  for ((tries = 0; tries < PORT_TRIES; tries++)); do
    candidate=$((PORT_BASE + RANDOM % PORT_SPAN))
    if grep -qsx "$candidate" "$STATE"/*/*.port || listening 127.0.0.1 "$candidate"; then continue; fi
    echo "$candidate" >"$file"
    return
  done
  die "found no free port between $PORT_BASE and $((PORT_BASE + PORT_SPAN))"
}

# Sends standard input to 127.0.0.1 PORT and prints the head of the answer, as much as the options of
# `head` say. Requests may hold a password, so they are no arguments: those every user can read.
talk() {
  # shellcheck disable=SC2016 # for the inner shell
  timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && cat >&3 && head "$@" <&3' "$@" 2>/dev/null
}

# Whether GET http://127.0.0.1:PORT PATH is answered with a status that begins with WANTED.
http_answers() { [[ $(printf 'GET %s HTTP/1.0\r\n\r\n' "$2" | talk "$1" -n 1) == HTTP/*\ "$3"* ]]; }

# One password for all of the folder's services: other users of the machine can reach 127.0.0.1 too.
password() { cat "$STATE/password"; }

ensure_password() {
  [[ -s $STATE/password ]] && return
  (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$STATE/password")
}

# --- processes -------------------------------------------------------------------------------------

# When process PID started, in clock ticks since boot; fails if it is gone or a zombie. Together with
# the pid it names a process for good: a pid alone may have been given to somebody else since.
start_time() {
  local stat
  local -a fields
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  read -ra fields <<<"${stat##*) }" # the fields after the command, which may hold blanks: 3rd onwards
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

# Starts COMMAND as a daemon of its own session, and notes it in PIDFILE; output goes to LOG.
# 9 is the lock of scripts/services, which a daemon must not keep.
spawn() {
  local pidfile=$1 log=$2 soft
  shift 2
  soft=$(ulimit -Hn)
  if [[ $soft == unlimited ]] || ((soft > MAX_OPEN_FILES)); then soft=$MAX_OPEN_FILES; fi
  ulimit -Sn "$soft"
  # In a script setsid execs without a fork, and so do env and setpriv: $! is the daemon itself.
  setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
  echo "$! $(start_time $!)" >"$pidfile"
}

# The pid in PIDFILE, if that very process is still alive.
live_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$1" || return 1
  [[ -n $started && $(start_time "$pid") == "$started" ]] && echo "$pid"
}

running() { live_pid "$STATE/$1/$1.pid" >/dev/null; }

# PID and all below it. The parent first: PostgreSQL's would put up a fight for its children.
process_tree() {
  local child
  echo "$1"
  # shellcheck disable=SC2013 # one line, a word for each child
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do process_tree "$child"; done
}

# end_process PIDFILE SIGNAL SECONDS: sends SIGNAL and waits up to SECONDS; then SIGKILL, for the
# process and its children. With SIGNAL KILL that comes at once, as in a crash of the machine.
end_process() {
  local pidfile=$1 signal=$2 deadline=$((SECONDS + $3)) pid
  local -a tree
  pid=$(live_pid "$pidfile") || { rm -f "$pidfile"; return 0; }
  if [[ $signal != KILL ]]; then
    kill -s "$signal" "$pid" 2>/dev/null || true
    while live_pid "$pidfile" >/dev/null && ((SECONDS < deadline)); do sleep 0.05; done
  fi
  if live_pid "$pidfile" >/dev/null; then
    mapfile -t tree < <(process_tree "$pid")
    kill -s KILL "${tree[@]}" 2>/dev/null || true
    for pid in "${tree[@]}"; do
      while start_time "$pid" >/dev/null && ((SECONDS < deadline + KILL_SECONDS)); do sleep 0.05; done
    done
  fi
  rm -f "$pidfile"
}
