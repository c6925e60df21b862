set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd # what it makes persistent stays here
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  all=$(for h in /sys/fs/cgroup/*/; do [ ! -f "$h/tasks" ] || basename "$h"; done)
  umount -R /sys/fs/cgroup
  mount -t tmpfs tmpfs /sys/fs/cgroup
  for c in $all; do
    o=$c
    [ "$c" != systemd ] || o=none,name=systemd
    mkdir "/sys/fs/cgroup/$c"
    mount -t cgroup -o "$o" cgroup "/sys/fs/cgroup/$c" || rmdir "/sys/fs/cgroup/$c"
  done
fi
export SYSTEMD_UNIT_PATH="/etc/systemd/system.control:/run/systemd/system.control:$1/units" SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent container=kmend-test
KMEND_TEST_RELAY="$3" "$2" &
exec /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no
