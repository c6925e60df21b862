# A systemd of its own: pid 1 of new namespaces, in new cgroups named $1.
# $2 is this folder, $3 the test program, $4 where it relays.
set -e
for h in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -f "$h/cgroup.procs" ] || continue
  mkdir -p "$h/$1"
  if [ -f "$h/cpuset.mems" ] && [ ! -f "$h/cgroup.controllers" ]; then
    cat "$h/cpuset.cpus" > "$h/$1/cpuset.cpus"
    cat "$h/cpuset.mems" > "$h/$1/cpuset.mems"
  fi
  echo $$ > "$h/$1/cgroup.procs"
  [ ! -f "$h/cgroup.controllers" ] || [ "$h" != /sys/fs/cgroup ] || break
done
exec unshare -f -p -m -i -u -C --kill-child --mount-proc sh "$2/inner.sh" "$2" "$3" "$4"
