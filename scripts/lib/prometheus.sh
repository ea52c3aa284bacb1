# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables by composed names
# Prometheus: scrapes producer, workers and broker.

prometheus_package=prometheus
prometheus_variable=PROMETHEUS_URL
prometheus_default_port=9090
prometheus_timeout=30
prometheus_ports=(main)

prometheus_installed() { command -v prometheus >/dev/null; }

prometheus_url() { echo "http://127.0.0.1:$(port prometheus main)"; }

# The repository's configuration, with this machine's addresses. Rules are read where they are.
prometheus_start() {
  local home=$STATE/prometheus broker_metrics
  mkdir -p "$home/data" "$home/targets"
  # Without a broker of ours (AMQP_URL was given) its usual metrics port is the best guess.
  broker_metrics=$(port rabbitmq metrics 2>/dev/null) || broker_metrics=15692
  sed -e 's/"host\.docker\.internal:/"127.0.0.1:/' -e "s/\"rabbitmq:15692\"/\"127.0.0.1:$broker_metrics\"/" \
    "$ROOT/grafana/prometheus/prometheus.yml" >"$home/prometheus.yml"
  ln -sfn "$ROOT/grafana/prometheus/rules" "$home/rules"
  spawn "$home/prometheus.pid" "$home/log" prometheus --config.file="$home/prometheus.yml" \
    --storage.tsdb.path="$home/data" --storage.tsdb.retention.time=7d \
    --web.listen-address="127.0.0.1:$(port prometheus main)"
}

prometheus_ready() { http_answers "$(port prometheus main)" /-/ready 200; }

prometheus_stop() { end_process "$STATE/prometheus/prometheus.pid" TERM 15; }

prometheus_remove_data() { rm -rf "$STATE/prometheus/data"; }
