# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables by composed names
# Redis: coordination only. It keeps nothing on disk, so a restart loses everything in it; whoever
# uses it must cope with that, and tests see to it that they do.

redis_package=redis-server
redis_variable=REDIS_URL
redis_default_port=6379
redis_timeout=30
redis_ports=(main)

redis_installed() { command -v redis-server >/dev/null; }

redis_url() { echo "redis://default:$(password)@127.0.0.1:$(port redis main)/0"; }

redis_start() {
  mkdir -p "$STATE/redis/data"
  # From a file, as the arguments of a process can be read by every user.
  (
    umask 077
    cat >"$STATE/redis/redis.conf" <<CONF
bind 127.0.0.1
port $(port redis main)
requirepass $(password)
dir "$STATE/redis/data"
save ""
appendonly no
CONF
  )
  spawn "$STATE/redis/redis.pid" "$STATE/redis/log" redis-server "$STATE/redis/redis.conf"
}

redis_ready() {
  [[ $(printf 'AUTH %s\r\nPING\r\n' "$(password)" | talk "$(port redis main)" -n 2) == *+PONG* ]]
}

redis_stop() { end_process "$STATE/redis/redis.pid" TERM 10; }

redis_remove_data() { rm -rf "$STATE/redis/data"; }
