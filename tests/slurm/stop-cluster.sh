#!/usr/bin/env bash
# Stop what start-cluster.sh started, by pid file. PURGE=1 also removes the state. Leaves munged (a system service) unless MUNGE=1.
set -uo pipefail
BOX=${SLURM_SANDBOX:-/var/tmp/slurm-sandbox}
stop_one() { # pidfile, seconds
  [ -s "$1" ] || return 0
  local pid; pid=$(cat "$1"); kill "$pid" 2>/dev/null || { rm -f "$1"; return 0; }
  for _ in $(seq $(( $2 * 10 ))); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null; rm -f "$1"
}
if [ -s "$BOX/run/slurmctld.pid" ]; then timeout 10 scancel -u "$(id -un)" 2>/dev/null; fi
for p in "$BOX"/run/slurmd.*.pid; do stop_one "$p" 5; done
stop_one "$BOX/run/slurmctld.pid" 10
stop_one "$BOX/run/slurmdbd.pid" 10
stop_one "$BOX/run/mariadb.pid" 15
mountpoint -q "$BOX/disks" && umount -l "$BOX/disks"
[ "${MUNGE:-0}" = 1 ] && stop_one /run/munge/munged.pid 5
[ "${PURGE:-0}" = 1 ] && rm -rf "$BOX"
exit 0
