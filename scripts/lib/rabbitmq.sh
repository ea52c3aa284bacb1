# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables by composed names
# RabbitMQ: carries references to jobs from the producer to the workers.

readonly RABBITMQ_USER=orchestrator

rabbitmq_package=rabbitmq-server
rabbitmq_variable=AMQP_URL
rabbitmq_default_port=5672
rabbitmq_timeout=90 # a first boot takes 15 s on two cores, one with 10,000 durable queues 54 s
rabbitmq_ports=(main distribution management metrics epmd)

# /usr/sbin/rabbitmq-server of the package insists on root or user rabbitmq; what it wraps does not.
rabbitmq_program() {
  local folder
  for folder in /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/*/sbin /opt/rabbitmq/sbin; do
    if [[ -x $folder/$1 ]]; then echo "$folder/$1"; return; fi
  done
  command -v "$1"
}

rabbitmq_installed() { rabbitmq_program rabbitmq-server && command -v epmd; } >/dev/null

rabbitmq_url() { echo "amqp://$RABBITMQ_USER:$(password)@127.0.0.1:$(port rabbitmq main)/%2f"; }
rabbitmq_management_url() { echo "http://$RABBITMQ_USER:$(password)@127.0.0.1:$(port rabbitmq management)"; }

# Sets the caller's rabbitmq_env: the environment that makes a broker, or rabbitmqctl, this folder's own.
rabbitmq_environment() {
  local home=$STATE/rabbitmq
  rabbitmq_env=(env
    HOME="$home/home" # of the Erlang cookie
    RABBITMQ_NODENAME=orchestrator@localhost
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$(port rabbitmq main)"
    RABBITMQ_DIST_PORT="$(port rabbitmq distribution)"
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$(port rabbitmq epmd)"
    RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_FEATURE_FLAGS_FILE="$home/data/feature_flags"
    RABBITMQ_LOG_BASE="$home" RABBITMQ_LOGS="$home/log" RABBITMQ_PID_FILE="$home/data/pid"
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins"
    RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_GENERATED_CONFIG_DIR="$home/data/config"
    RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config"
    RUNNING_UNDER_SYSTEMD=true # the start script then becomes the broker instead of its parent
    # Distribution on 127.0.0.1 only; idle schedulers sleep instead of spinning, the cores are shared.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none')
}

rabbitmq_configure() {
  local home=$STATE/rabbitmq
  mkdir -p "$home/home" "$home/data"
  # A copy: the broker may write to this file, and the repository's is not its to change.
  cp "$ROOT/rabbitmq/enabled_plugins" "$home/enabled_plugins"
  (
    umask 077
    cat "$ROOT/rabbitmq/rabbitmq.conf" - >"$home/rabbitmq.conf" <<CONF

# --- added by scripts/services ---
default_user = $RABBITMQ_USER
default_pass = $(password)
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port rabbitmq management)
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = $(port rabbitmq metrics)
CONF
  )
}

rabbitmq_start() {
  local home=$STATE/rabbitmq rabbitmq_env
  rabbitmq_configure
  rabbitmq_environment
  # The port mapper would be started by the broker, outlive it, and be nobody's: so it is ours first.
  if ! live_pid "$home/epmd.pid" >/dev/null; then
    spawn "$home/epmd.pid" "$home/epmd.log" epmd -port "$(port rabbitmq epmd)" -address 127.0.0.1
    until listening 127.0.0.1 "$(port rabbitmq epmd)"; do
      live_pid "$home/epmd.pid" >/dev/null || return 1
      sleep 0.05
    done
  fi
  spawn "$home/rabbitmq.pid" "$home/log" "${rabbitmq_env[@]}" "$(rabbitmq_program rabbitmq-server)"
}

# Ready once it answers an AMQP 0-9-1 greeting with a method frame (its first byte is 1), and both
# plugins serve. The listener opens last in a boot; `rabbitmqctl await_startup` would say the same,
# after booting an Erlang of its own.
rabbitmq_ready() {
  local first_byte
  first_byte=$(printf 'AMQP\0\0\11\1' | talk "$(port rabbitmq main)" -c 1 | od -An -tu1)
  [[ ${first_byte// /} == 1 ]] &&
    http_answers "$(port rabbitmq management)" / 200 &&
    http_answers "$(port rabbitmq metrics)" /metrics 200
}

rabbitmq_stop() {
  if [[ $1 == discard ]]; then
    end_process "$STATE/rabbitmq/rabbitmq.pid" KILL 0 # an orderly stop takes seconds, for nothing
  else
    end_process "$STATE/rabbitmq/rabbitmq.pid" TERM 60
  fi
  end_process "$STATE/rabbitmq/epmd.pid" TERM 5
}

rabbitmq_remove_data() { rm -rf "$STATE/rabbitmq/data"; }

rabbitmq_ctl() {
  local rabbitmq_env
  rabbitmq_environment
  "${rabbitmq_env[@]}" "$(rabbitmq_program rabbitmqctl)" "$@"
}
