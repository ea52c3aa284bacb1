# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables by composed names
# PostgreSQL: the jobs' one store. Durable as in production, since tests of crashes rely on it.

readonly POSTGRES_MAX_CONNECTIONS=300 # test processes side by side, each with a pool of its own
readonly POSTGRES_USER=orchestrator
readonly POSTGRES_DATABASE=orchestrator

postgres_package=postgresql
postgres_variable=DATABASE_URL
postgres_default_port=5432
postgres_timeout=60
postgres_ports=(main)

# Debian keeps the server's programs out of PATH, in a folder for each major version; the newest wins.
postgres_program() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
  if [[ ! -x $found ]]; then found=$(command -v "$1") || return 1; fi
  echo "$found"
}

postgres_installed() {
  postgres_program initdb && postgres_program postgres && postgres_program psql
} >/dev/null

postgres_url() {
  echo "postgres://$POSTGRES_USER:$(password)@127.0.0.1:$(port postgres main)/$POSTGRES_DATABASE"
}

# The server refuses to run as root. setpriv execs, so the server's pid stays the one that was noted.
as_postgres() {
  if ((EUID == 0)); then
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
  else
    "$@"
  fi
}

# The data folder. If user postgres cannot get there (a checkout below /root, say), one in /var/tmp,
# whose name is kept in $STATE/postgres/elsewhere.
postgres_data() {
  if [[ -s $STATE/postgres/elsewhere ]]; then
    cat "$STATE/postgres/elsewhere"
  else
    echo "$STATE/postgres/data"
  fi
}

postgres_make_data() {
  local data=$STATE/postgres/data password_file made=1
  postgres_remove_data # what an interrupted initdb left
  mkdir -p "$data"
  if ((EUID == 0)); then
    chown postgres: "$data"
    if ! as_postgres test -w "$data"; then
      rmdir "$data"
      data=$(mktemp -d /var/tmp/orchestrator-postgres.XXXXXX)
      chown postgres: "$data"
      echo "$data" >"$STATE/postgres/elsewhere"
    fi
  fi
  cd / # initdb and mktemp complain where they cannot read the folder they were called in
  password_file=$(as_postgres mktemp /tmp/orchestrator-postgres.XXXXXX)
  password | as_postgres tee "$password_file" >/dev/null
  # Clients send the password as it is, without a SCRAM exchange: it never leaves the loopback
  # interface, and in a debug build SCRAM's 4,096 rounds would be most of a small test's time.
  as_postgres "$(postgres_program initdb)" --pgdata="$data" --username="$POSTGRES_USER" \
    --pwfile="$password_file" --auth=password --encoding=UTF8 --no-locale --no-sync \
    >>"$STATE/postgres/log" 2>&1 || made=0
  rm -f "$password_file"
  ((made)) || return 1
  echo 'host all all 127.0.0.1/32 password' | as_postgres tee "$data/pg_hba.conf" >/dev/null
  touch "$STATE/postgres/initialised"
}

# A killed server leaves its lock file, whose first line is its pid. A new one refuses to start while
# that pid exists, even as a zombie, which it stays for as long as the machine's init does not reap it
# (seconds in some containers, for ever in others).
postgres_forget_zombie() {
  local lock pid
  lock=$(postgres_data)/postmaster.pid
  pid=$(head -n 1 "$lock" 2>/dev/null) || return 0
  if [[ -e /proc/$pid ]] && ! start_time "$pid" >/dev/null; then
    postgres_release_memory
    rm -f "$lock"
  fi
}

# The lock file's 7th line names the shared memory segment that a killed server could not give back.
postgres_release_memory() {
  local id
  id=$(sed -n '7s/^ *[0-9]* *//p' "$(postgres_data)/postmaster.pid" 2>/dev/null) || true
  if [[ -n $id ]]; then ipcrm -m "$id" 2>/dev/null || true; fi
}

postgres_start() {
  [[ -e $STATE/postgres/initialised && -d $(postgres_data) ]] || (postgres_make_data) || return 1
  postgres_forget_zombie
  local server=("$(postgres_program postgres)" -D "$(postgres_data)"
    -c listen_addresses=127.0.0.1 -c "port=$(port postgres main)" -c unix_socket_directories=
    -c "max_connections=$POSTGRES_MAX_CONNECTIONS"
    -c fsync=on -c synchronous_commit=on
    -c dynamic_shared_memory_type=mmap) # files in the data folder: a killed server leaves none in /dev/shm
  if ((EUID == 0)); then
    server=(setpriv --reuid=postgres --regid=postgres --init-groups "${server[@]}")
  fi
  spawn "$STATE/postgres/postgres.pid" "$STATE/postgres/log" "${server[@]}"
}

postgres_psql() {
  PGPASSWORD=$(password) PGCONNECT_TIMEOUT=5 "$(postgres_program psql)" -h 127.0.0.1 \
    -p "$(port postgres main)" -U "$POSTGRES_USER" -d "$1" --no-psqlrc -XAtqc "$2"
}

# Ready once the database answers a query; it is made with the first answer of the server.
postgres_ready() {
  local isready
  if isready=$(postgres_program pg_isready); then
    "$isready" -q -h 127.0.0.1 -p "$(port postgres main)" || return 1
  fi
  [[ $(postgres_psql "$POSTGRES_DATABASE" 'SELECT 1' 2>/dev/null) == 1 ]] && return
  postgres_psql postgres "CREATE DATABASE $POSTGRES_DATABASE" 2>/dev/null
  return 1
}

# INT: no new connections, roll back, shut down cleanly. QUIT: at once, yet without leaving shared
# memory behind as SIGKILL would; right when the data is thrown away anyway.
postgres_stop() {
  if [[ $1 == discard ]]; then
    end_process "$STATE/postgres/postgres.pid" QUIT 10
  else
    end_process "$STATE/postgres/postgres.pid" INT 30
  fi
}

postgres_remove_data() {
  postgres_release_memory
  rm -rf "$(postgres_data)" "$STATE/postgres/elsewhere" "$STATE/postgres/initialised"
}
