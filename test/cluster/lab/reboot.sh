#!/bin/bash
# reboot.sh NODE: everything that runs on the node ends at once, what only memory had is gone (/run, rules, links, conntrack), and the
# node starts again with its disk. Not node1: the control plane is in its network.
set -eu
. "$(dirname "$0")/env.sh"
n=$1; init=$(cat "$RUN/$n/init.pid")
kill -9 "$(cat "$RUN/$n/unshare.pid")" # --kill-child takes the node's init, and with it the pid namespace
for i in $(seq 100); do [ -e "/proc/$init" ] || break; sleep 0.1; done
[ ! -e "/proc/$init" ]
N="ip netns exec $PFX-$n"
for link in $($N ls /sys/class/net); do case $link in lo | eth0 | bonding_masters) ;; *) ip -n "$PFX-$n" link del "$link" 2>/dev/null || true ;; esac; done
$N nft flush ruleset
for g in /sys/fs/cgroup/*/$PFX-$n; do find "$g" -mindepth 1 -depth -type d -exec rmdir {} \; 2>/dev/null || true; done
read -r up _ < /proc/uptime
BOOT="--time --boottime -${up%.*}" exec "$HERE/node.sh" "$n" # its uptime begins again, as after a boot
