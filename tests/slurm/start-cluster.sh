#!/usr/bin/env bash
# Bring up a real SLURM cluster on this one machine, loopback only. Idempotent: running it twice leaves one cluster.
# Needs root and Debian 12's slurmctld slurmd slurm-client munge (+ slurmdbd mariadb-server for SLURM_ACCT=slurmdbd).
#   SLURM_ACCT=none|slurmdbd   SLURM_NODES=2   SLURM_CPUS_PER_NODE=4   SLURM_MEM_PER_NODE=10000   SLURM_GPUS_PER_NODE=2
#   SLURM_SANDBOX=/var/tmp/slurm-sandbox   (state, logs, pid files, fake devices, mariadb data)
# (Names with the prefix SLURM_ are only read here, never exported: the daemons would take them for their own.)
set -euo pipefail

ACCT=${SLURM_ACCT:-slurmdbd}
NODES=${SLURM_NODES:-2}
CPUS=${SLURM_CPUS_PER_NODE:-4}
MEM=${SLURM_MEM_PER_NODE:-10000}
GPUS=${SLURM_GPUS_PER_NODE:-2}
BOX=${SLURM_SANDBOX:-/var/tmp/slurm-sandbox}
HOST=$(hostname -s)

for v in ${!SLURM_@}; do unset "$v"; done   # never leak our own knobs into the daemons' environment

need=()
command -v munged     >/dev/null || need+=(munge)
command -v slurmctld  >/dev/null || need+=(slurmctld)
command -v slurmd     >/dev/null || need+=(slurmd)
command -v sbatch     >/dev/null || need+=(slurm-client)
if [ "$ACCT" = slurmdbd ]; then
  command -v slurmdbd >/dev/null || need+=(slurmdbd)
  command -v mariadbd >/dev/null || need+=(mariadb-server)
fi
if [ ${#need[@]} -gt 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${need[@]}" >/dev/null
fi

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
wait_for() { # seconds, message, command...
  local n=$1 what=$2; shift 2
  for _ in $(seq $((n * 5))); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
  say "FAILED: $what not up after ${n}s" >&2; return 1
}

mkdir -p "$BOX"/{ctld,spool,log,run,dev,mysql}
chmod 755 "$BOX" "$BOX"/*

# --- munge -----------------------------------------------------------------------------------------------------
install -d -o munge -g munge -m 755 /run/munge
if ! munge -n >/dev/null 2>&1; then
  [ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none; chown munge:munge /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
  install -d -o munge -g munge -m 700 /var/log/munge /var/lib/munge
  runuser -u munge -- munged
  wait_for 10 munged munge -n
fi

# --- configuration ---------------------------------------------------------------------------------------------
install -d -m 755 /etc/slurm
ports_lo=17001; ports_hi=$((17000 + NODES))
if [ "$NODES" -gt 1 ]; then NODELIST="n[1-$NODES]"; PORTS="[$ports_lo-$ports_hi]"; else NODELIST=n1; PORTS=$ports_lo; fi
if [ "$ACCT" = slurmdbd ]; then
  ACCT_LINES=$'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\nAccountingStoragePort=16819\nAccountingStorageTRES=gres/gpu\nAccountingStoreFlags=job_comment'
else
  ACCT_LINES='AccountingStorageType=accounting_storage/none'
fi
cat > /etc/slurm/slurm.conf.new <<CONF
ClusterName=sandbox
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=$ports_lo
AuthType=auth/munge
StateSaveLocation=$BOX/ctld
SlurmdSpoolDir=$BOX/spool/%n
SlurmctldPidFile=$BOX/run/slurmctld.pid
SlurmdPidFile=$BOX/run/slurmd.%n.pid
SlurmctldLogFile=$BOX/log/slurmctld.log
SlurmdLogFile=$BOX/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
# loopback only
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
# no cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
# quick turnaround for tests
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
KillWait=5
InactiveLimit=0
Waittime=0
CompleteWait=0
ReturnToService=2
SlurmctldTimeout=120
SlurmdTimeout=300
MessageTimeout=30
JobRequeue=1
MaxArraySize=1001
$ACCT_LINES
GresTypes=gpu
# the node is described, not detected: more CPUs than the machine has are fine
SlurmdParameters=config_overrides
DefMemPerCPU=500
NodeName=$NODELIST NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$PORTS CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM Gres=gpu:fake:$GPUS Feature=fakegpu State=UNKNOWN
PartitionName=cpu  Nodes=$NODELIST Default=YES DefaultTime=00:10:00 MaxTime=02:00:00 State=UP
PartitionName=gpu  Nodes=$NODELIST Default=NO  DefaultTime=00:10:00 MaxTime=02:00:00 State=UP
PartitionName=tiny Nodes=n1        Default=NO  DefaultTime=00:01:00 MaxTime=00:05:00 MaxMemPerNode=1000 State=UP
CONF
# fake GPUs: character devices that are copies of /dev/null (plain files are refused by slurmd; Count alone drains the node)
for i in $(seq 0 $((GPUS - 1))); do [ -c "$BOX/dev/fakegpu$i" ] || mknod "$BOX/dev/fakegpu$i" c 1 3; done
if [ "$GPUS" -gt 1 ]; then DEVS="[0-$((GPUS - 1))]"; else DEVS=0; fi
cat > /etc/slurm/gres.conf.new <<GRES
AutoDetect=off
NodeName=$NODELIST Name=gpu Type=fake File=$BOX/dev/fakegpu$DEVS
GRES
changed=0
for f in slurm.conf gres.conf; do
  if cmp -s /etc/slurm/$f.new /etc/slurm/$f; then rm /etc/slurm/$f.new; else mv /etc/slurm/$f.new /etc/slurm/$f; changed=1; fi
done
if [ $changed = 1 ]; then # a changed node list or port needs a clean restart
  env SLURM_SANDBOX="$BOX" "$(dirname "$0")/stop-cluster.sh" >/dev/null 2>&1 || true
fi

# --- accounting ------------------------------------------------------------------------------------------------
if [ "$ACCT" = slurmdbd ]; then
  SOCK=$BOX/run/mysqld.sock
  if ! alive "$BOX/run/mariadb.pid"; then
    chown -R mysql:mysql "$BOX/mysql"; chmod 777 "$BOX/run"
    [ -d "$BOX/mysql/mysql" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$BOX/mysql" --auth-root-authentication-method=normal --skip-test-db >"$BOX/log/mariadb-install.log" 2>&1
    setsid nohup mariadbd --no-defaults --user=mysql --datadir="$BOX/mysql" --socket="$SOCK" --pid-file="$BOX/run/mariadb.pid" \
      --bind-address=127.0.0.1 --port=16306 --innodb-buffer-pool-size=64M --innodb-log-file-size=16M --innodb-lock-wait-timeout=900 \
      --innodb-flush-log-at-trx-commit=0 --log-error="$BOX/log/mariadb.log" </dev/null >/dev/null 2>&1 &
    wait_for 30 mariadb mariadb-admin --no-defaults --socket="$SOCK" -uroot ping
    mariadb --no-defaults --socket="$SOCK" -uroot -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db; CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'sandbox'; CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'sandbox'; GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
  fi
  install -m 600 /dev/stdin /etc/slurm/slurmdbd.conf <<DBD
AuthType=auth/munge
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
PidFile=$BOX/run/slurmdbd.pid
LogFile=$BOX/log/slurmdbd.log
DebugLevel=info
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=16306
StorageUser=slurm
StoragePass=sandbox
StorageLoc=slurm_acct_db
DBD
  if ! alive "$BOX/run/slurmdbd.pid"; then
    slurmdbd
    wait_for 30 slurmdbd sacctmgr -n -i show cluster
  fi
  if ! sacctmgr -n -P show cluster format=cluster | grep -qx sandbox; then sacctmgr -i -Q add cluster sandbox >/dev/null; fi
  if ! sacctmgr -n -P show account format=account | grep -qx d3; then
    sacctmgr -i -Q add account d3 Description=d3 Organization=d3 >/dev/null
    sacctmgr -i -Q add user "$(id -un)" Account=d3 >/dev/null 2>&1 || sacctmgr -i -Q modify user "$(id -un)" set DefaultAccount=d3 >/dev/null
  fi
fi

# --- controller and nodes --------------------------------------------------------------------------------------
alive "$BOX/run/slurmctld.pid" || { slurmctld; }
wait_for 30 slurmctld scontrol ping
# Disks that are mounted here later are seen by the nodes too, as those of a cluster's file server are.
mkdir -p "$BOX/disks"
mountpoint -q "$BOX/disks" || mount --bind "$BOX/disks" "$BOX/disks"
mount --make-shared "$BOX/disks"
{ cat /etc/hosts; for i in $(seq "$NODES"); do echo "127.0.0.1 n$i"; done; } >"$BOX/hosts"
for i in $(seq "$NODES"); do
  alive "$BOX/run/slurmd.n$i.pid" || {
    mkdir -p "$BOX/spool/n$i"
    # a host name of its own for each node, as on a real cluster: jobs inherit it
    unshare --uts --mount --propagation slave sh -c \
      "mount --bind '$BOX/hosts' /etc/hosts && hostname n$i && exec slurmd -N n$i"
  }
done
all_idle() { [ "$(sinfo -h -N -p cpu -o '%T' | grep -cE '^(idle|mixed|allocated)$')" = "$NODES" ]; }
for i in $(seq "$NODES"); do
  case $(sinfo -h -n "n$i" -p cpu -o %T) in down*|drain*) scontrol update NodeName="n$i" State=RESUME || true ;; esac
done
wait_for 60 nodes all_idle
timeout 30 srun -p cpu -N1 -n1 -t1 true
say "cluster up: acct=$ACCT nodes=$NODES"
sinfo -o '%P %a %l %D %T %G %N'
