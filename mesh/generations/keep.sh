#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First process of the container of a ztunnel or waypoint: starts the supervisor, and again at once when it is killed or breaks. A
# container ends with its first process; a data process that has lost its supervisor is to serve on until the next one
# takes it over.
# usage: keep.sh [--forgive SECONDS] PROGRAM [OPTIONS]
#   --forgive SECONDS   who has lived so long (60) has all restarts before it again

# Beyond these the container ends: whoever runs it waits longer each time.
all_restarts=5
forgive=60
if [ "$1" = --forgive ]; then
  forgive=$2
  shift 2
fi
restarts=$all_restarts
child=
ending=
started=
now=
# Seconds since the machine started. Only what a shell has built in: the image has no other programs.
look_at_clock() {
  read -r now _ </proc/uptime
  now=${now%.*}
}
# An upgrade of the data process: the supervisor's business.
trap '[ -z "$child" ] || kill -HUP "$child" 2>/dev/null' HUP
trap 'ending=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
while :; do
  look_at_clock
  started=$now
  "$@" &
  child=$!
  # The signal may have come before the child had a name.
  [ -z "$ending" ] || kill -TERM "$child" 2>/dev/null
  wait "$child"
  status=$?
  # A signal to this process ends the wait, not the child.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
  done
  look_at_clock
  [ $((now - started)) -lt "$forgive" ] || restarts=$all_restarts
  # 0: it was told to end. 2: somebody has to change something first.
  if [ -n "$ending" ] || [ "$status" -eq 0 ] || [ "$status" -eq 2 ] || [ "$restarts" -eq 0 ]; then
    exit "$status"
  fi
  restarts=$((restarts - 1))
  echo "{\"level\":50,\"component\":\"keeper\",\"status\":$status,\"msg\":\"the supervisor has ended, starting it again\"}"
done
