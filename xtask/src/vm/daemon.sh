#!/bin/sh
# The first process of a guest that tries the daemon on a kernel as users have it: pure cgroup v2, modules loaded by need.
# Started by `cargo xtask vm`; words after it are the names of cases, none means all. Each case prints one line.

# The initial file system can be neither pivoted away nor be an overlay's upper layer; its files move into a tmpfs.
if [ "${1:-}" != --moved ]; then
  /bin/busybox mkdir -p /new && /bin/busybox mount -t tmpfs -o size=75% tmpfs /new
  for entry in bin sbin lib init; do /bin/busybox cp -a /$entry /new/; done
  /bin/busybox mkdir -p /new/dev /new/proc /new/sys /new/run /new/tmp /new/etc /new/root /new/var/lib
  exec /bin/busybox switch_root /new /init --moved "$@"
fi
shift
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo nameserver 192.0.2.53 >/etc/resolv.conf

LOG=/run/daemon.log
pid=
start_daemon() {
  gantry daemon >>$LOG 2>&1 &
  pid=$!
  for _ in $(seq 600); do
    gantry version >/dev/null 2>&1 && return
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
  done
  echo "machine: the daemon does not answer"; tail -n 30 $LOG
  return 1
}

# Fails unless the second word is what was expected.
equal() { [ "$1" = "$2" ] || { echo "  $3: expected '$1', got '$2'"; return 1; }; }
contains() { case $2 in *"$1"*) ;; *) echo "  $3: no '$1' in '$2'"; return 1 ;; esac; }
state() { gantry inspect --format "{{$1}}" "$2"; }
# Tries for ten seconds.
until_true() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; "$@"; }
run() { gantry run --rm --network none "$@"; }

case_info() {
  equal "2 cgroupfs" "$(gantry info --format '{{.CgroupVersion}} {{.CgroupDriver}}')" cgroups
  contains overlay "$(gantry info --format '{{.Driver}}')" driver
}

case_hello() { contains "Hello" "$(gantry run --rm gantry/hello)" greeting; }

case_limits() {
  equal "67108864 50000 100000 20 0" "$(echo $(run -m 64m --cpus .5 --pids-limit 20 --memory-swap 64m box \
    sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max memory.swap.max'))" limits
  equal "100 0 33554432" "$(echo $(run --cpu-shares 1024 --cpuset-cpus 0 --memory-reservation 32m box \
    sh -c 'cd /sys/fs/cgroup; cat cpu.weight cpuset.cpus memory.low'))" weights
  gantry run -d --name limits --network none -m 64m --ulimit nofile=77 box sleep 1000 >/dev/null
  equal "67108864 77 0" "$(echo $(gantry exec limits sh -c 'cat /sys/fs/cgroup/memory.max; ulimit -n; cat /proc/self/oom_score_adj'))" exec
  gantry rm -f limits >/dev/null
  equal "0 300 -17" "$(for score in 0 300 -17; do run --oom-score-adj $score box cat /proc/self/oom_score_adj; done | xargs)" "score for being killed"
}

case_out_of_memory() {
  gantry run --name oom --network none -m 16m --memory-swap 16m box tail /dev/zero
  equal 137 $? status
  equal "true 137 exited" "$(state '.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status' oom)" state
  gantry rm oom >/dev/null
}

case_views() {
  local text
  text=$(run --read-only -v /etc:/given:ro --tmpfs /scratch:size=1m --ulimit nofile=77 --sysctl kernel.msgmax=9000 box sh -c 'exec 2>&1
    echo made >/etc/x; echo made >/given/x; echo made >/scratch/x; cat /scratch/x
    ulimit -n; cat /proc/sys/kernel/msgmax; echo x >/proc/sysrq-trigger; head -c1 /proc/kcore | wc -c; ls /sys/firmware | wc -l')
  contains "can't create /etc/x: Read-only file system" "$text" root
  contains "can't create /given/x: Read-only file system" "$text" bind
  contains "can't create /proc/sysrq-trigger: Read-only file system" "$text" proc
  contains "$(printf 'made\n77\n9000\n')" "$text" values
  contains "$(printf '\n0\n0\n')" "$text" masked
  # A /dev of the host has no null device that could be trusted, so one is made to mask with.
  mkdir -p /run/empty
  equal 0 "$(run -v /run/empty:/dev box sh -c 'cat /proc/kcore | wc -c')" null
  equal "made" "$(run --privileged box sh -c 'mount -t tmpfs x /mnt && mkdir /sys/fs/cgroup/below && echo made')" privileged
  equal 17 "$(run --user 17 box id -u)" user
  local namespaces='for kind in pid ipc uts; do readlink /proc/self/ns/$kind; done'
  equal "$(sh -c "$namespaces")" "$(run --pid host --ipc host --uts host box sh -c "$namespaces")" host
  equal "crw-rw-rw-" "$(run --device /dev/null:/dev/other box ls -l /dev/other | cut -c1-10)" device
  run box dd if=/dev/mem count=1 >/dev/null 2>&1
  equal 1 $? memory
  contains "not permitted" "$(run --cap-add MKNOD box sh -c 'mknod /m c 1 1 && cat /m' 2>&1)" "devices of the cgroup"
}

case_user_namespace() {
  contains "userns-remap" "$(gantry daemon --validate --userns-remap default 2>&1)" refusal
  equal "0 0 4294967295" "$(echo $(run --userns host box cat /proc/self/uid_map))" host
  equal refused "$(run box sh -c 'unshare -U true 2>/dev/null && echo made || echo refused')" inside
}

case_network() {
  gantry run -d --name web -p 8080:80 gantry/hello serve >/dev/null
  until_true wget -qO /dev/null http://127.0.0.1:8080
  contains "$(gantry inspect --format '{{.Config.Hostname}}' web)" "$(wget -qO- http://127.0.0.1:8080)" loopback
  local gateway address
  gateway=$(gantry network inspect --format '{{(index .IPAM.Config 0).Gateway}}' bridge)
  address=$(gantry inspect --format '{{.NetworkSettings.IPAddress}}' web)
  wget -qO /dev/null "http://$gateway:8080"; equal 0 $? "own address"
  wget -qO /dev/null "http://$address"; equal 0 $? "container's address"
  gantry run --rm box wget -qO /dev/null "http://$gateway:8080"; equal 0 $? "from a container"
  gantry run --rm box wget -qO /dev/null "http://$address"; equal 0 $? "to a container"
  # From another machine, and to another machine: a network namespace behind a veth.
  unshare -n sleep 1000 &
  local other=$!
  until_true sh -c "[ \$(readlink /proc/$other/ns/net) != \$(readlink /proc/self/ns/net) ]"; equal 0 $? "another machine"
  ip link add outer type veth
  # busybox does not name the other end.
  local inner index
  index=$(cat /sys/class/net/outer/iflink)
  inner=$(basename "$(dirname "$(grep -lx "$index" /sys/class/net/*/ifindex)")")
  ip link set "$inner" netns $other
  ip address add 198.51.100.1/24 dev outer && ip link set outer up
  nsenter -t $other -n sh -c "ip link set lo up; ip address add 198.51.100.2/24 dev $inner; ip link set $inner up"
  nsenter -t $other -n timeout 10 wget -qO /dev/null http://198.51.100.1:8080; equal 0 $? "from another machine"
  nsenter -t $other -n sh -c 'mkdir -p /run/page; echo outside >/run/page/index.html; exec httpd -f -p 81 -h /run/page' &
  local server=$!
  until_true nsenter -t $other -n wget -qO /dev/null http://127.0.0.1:81; equal 0 $? "the other machine's page"
  equal outside "$(gantry run --rm box timeout 10 wget -qO- http://198.51.100.2:81)" "to another machine"
  kill $server $other
  contains "lo:" "$(run box ip -o link)" none
  equal 1 "$(run box ip -o link | wc -l)" none
  contains "gantry0" "$(gantry run --rm --network host box ip -o link)" host
  gantry rm -f web >/dev/null
  ip link delete outer 2>/dev/null
  timeout 5 wget -qO /dev/null http://127.0.0.1:8080 2>/dev/null && { echo "  the port is still open"; return 1; }
  return 0
}

case_shared_links() {
  # Two networks without a parent have a link of their own that leads nowhere; it goes with the network.
  local driver id
  for driver in "macvlan" "ipvlan" "ipvlan -o ipvlan_mode=l3"; do
    id=$(gantry network create -d $driver --subnet 10.77.0.0/24 shared)
    equal 1 "$(ls /sys/class/net | grep -c "^d[im]-$(echo "$id" | cut -c1-12)\$")" "$driver: parent"
    gantry run -d --name one --network shared box sleep 1000 >/dev/null
    gantry run --rm --network shared box ping -c1 -W20 one >/dev/null; equal 0 $? "$driver: by name"
    gantry rm -f one >/dev/null
    gantry network rm shared >/dev/null
    equal 0 "$(ls /sys/class/net | grep -c '^d[im]-')" "$driver: what is left"
  done
  # On a link of the host, and on a VLAN of it that is made and goes with the last network that has it.
  ip link add far type veth && ip link set far up
  local near
  near=$(basename "$(dirname "$(grep -lx "$(cat /sys/class/net/far/iflink)" /sys/class/net/*/ifindex)")")
  ip link set "$near" up && ip address add 10.78.0.1/24 dev far
  for driver in "macvlan" "ipvlan"; do
    gantry network create -d $driver -o parent=$near --subnet 10.78.0.0/24 --gateway 10.78.0.1 shared >/dev/null
    gantry run --rm --network shared box ping -c1 -W10 10.78.0.1 >/dev/null; equal 0 $? "$driver: to the other end"
    gantry network rm shared >/dev/null
  done
  gantry network create -d ipvlan -o ipvlan_mode=l3 -o parent=$near --subnet 10.79.0.0/24 routed >/dev/null
  equal "default dev eth0 scope link" "$(echo $(gantry run --rm --network routed box ip route | grep default))" "l3: route"
  gantry network create -d macvlan -o parent=$near.10 --subnet 10.80.0.0/24 tagged >/dev/null
  gantry network create -d macvlan -o parent=$near.10 --subnet 10.81.0.0/24 tagged2 >/dev/null
  gantry run --rm --network tagged box true; equal 0 $? vlan
  gantry network rm tagged >/dev/null
  equal 1 "$(ls /sys/class/net | grep -c "^$near.10\$")" "vlan of two networks"
  gantry network rm tagged2 routed >/dev/null
  equal 0 "$(ls /sys/class/net | grep -c "^$near.10\$")" "vlan of none"
  ip link delete far
}

case_life() {
  gantry run -d --name life box sh -c 'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
  until_true sh -c 'gantry logs life | grep -q ready'
  equal "in" "$(gantry exec -i life cat <<-END
	in
	END
  )" "exec with input"
  gantry exec life sh -c 'exit 7'; equal 7 $? exec
  contains sleep "$(gantry top life)" top
  gantry pause life >/dev/null
  equal "paused frozen 1" "$(state .State.Status life) $(grep -h frozen /sys/fs/cgroup/gantry*/*/cgroup.events /sys/fs/cgroup/docker/*/cgroup.events 2>/dev/null | sort | uniq | tail -n1)" pause
  gantry unpause life >/dev/null
  gantry stop life >/dev/null
  equal "exited 3" "$(state '.State.Status}} {{.State.ExitCode' life)" stop
  contains bye "$(gantry logs life)" logs
  gantry start life >/dev/null
  gantry kill life >/dev/null
  gantry wait life >/dev/null
  equal "exited 137" "$(state '.State.Status}} {{.State.ExitCode' life)" kill
  gantry rm life >/dev/null
  gantry run -d --name tty -t --network none box sh -c 'tty; stty size' >/dev/null
  gantry wait tty >/dev/null
  contains /dev/pts/0 "$(gantry logs tty)" terminal
  gantry rm tty >/dev/null
  gantry run --rm box nosuch 2>/dev/null; equal 127 $? "not found"
}

case_adoption() {
  gantry run -d --name kept -p 8081:80 -m 64m gantry/hello serve >/dev/null
  gantry run -d --name short --network none box sh -c 'sleep 3; echo over; exit 5' >/dev/null
  local before
  before=$(state .State.Pid kept)
  until_true wget -qO /dev/null http://127.0.0.1:8081
  kill -9 $pid
  wait $pid 2>/dev/null
  local gateway=172.17.0.1
  wget -qO /dev/null http://$gateway:8081; equal 0 $? "without a daemon"
  sleep 4
  start_daemon
  equal "$before running" "$(state '.State.Pid}} {{.State.Status' kept)" kept
  equal "exited 5 over" "$(state '.State.Status}} {{.State.ExitCode' short) $(gantry logs short)" short
  until_true wget -qO /dev/null http://127.0.0.1:8081; equal 0 $? "with the next daemon"
  equal in "$(gantry exec kept /hello exec-probe >/dev/null 2>&1; echo in)" exec
  gantry stop kept >/dev/null
  gantry rm kept short >/dev/null
}

case_clean() {
  gantry run -d --name many1 -p 8082:80 gantry/hello serve >/dev/null
  gantry rm -f many1 >/dev/null
  equal 0 "$(gantry ps -aq | wc -l)" containers
  until_true sh -c '! pidof gantry-shim-x'
  equal 0 "$(grep -c overlay /proc/mounts)" "overlays in the host's table"
  equal 0 "$(ip -o link | grep -c veth)" veths
  kill $pid
  wait $pid
  equal 0 $? "end of the daemon"
}

if start_daemon; then
  # A file system of busybox alone.
  mkdir -p /run/box/bin /run/box/etc /run/box/tmp /run/box/mnt
  cp /bin/busybox /run/box/bin/ && for name in $(busybox --list); do [ $name = busybox ] || ln -s busybox /run/box/bin/$name; done
  tar -C /run/box -c . | gantry import - box >/dev/null && rm -rf /run/box
  [ $# = 0 ] && set -- $(sed -n 's/^case_\([a-z_]*\)() {.*/\1/p' /init)
  failed=
  for name; do
    began=$(cut -d' ' -f1 /proc/uptime)
    # Every expectation counts, not only the last one of a case.
    case_$name >/run/notes 2>&1
    cat /run/notes
    if grep -q "^  " /run/notes; then
      echo "test daemon_$name ... FAILED"; failed="$failed $name"
    else
      echo "test daemon_$name ... ok ($(cut -d' ' -f1 /proc/uptime) - $began s)"
    fi
  done
  if [ -z "$failed" ]; then
    echo "machine: all cases passed"
  else
    echo "machine: failed:$failed"
    tail -n 60 $LOG
    dmesg | tail -n 20
  fi
fi
poweroff -f
