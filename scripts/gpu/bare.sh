#!/bin/sh
# Runs Python in an environment with nothing but Python: no Node, no project, no network. For rehearsals of the kit.
#
#   sh scripts/gpu/bare.sh ROOT PYTHON [SHARED…] -- ARGUMENTS…
#
# ROOT is a folder that becomes the root, with its contents. Besides these, there are only the system's libraries,
# PYTHON with its packages, and the folders SHARED, all read-only. Needs unshare (util-linux), as root or on a system
# that lets users make namespaces.
set -eu
if [ "${1:-}" = --help ] || [ $# -lt 3 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'
  [ "${1:-}" = --help ] && exit 0 || exit 2
fi
if [ "${BARE_INSIDE:-}" != 1 ]; then
  export BARE_INSIDE=1
  exec unshare --map-root-user --mount --net --pid --ipc --fork --kill-child sh "$0" "$@"
fi
root=$1 python=$2
shift 2
mount --make-rprivate /
bind() {
  mkdir -p "$root$1"
  mount --rbind "$1" "$root$1"
  # In a user namespace, some mounts cannot be changed.
  [ "$2" = rw ] || mount -o remount,bind,ro "$root$1" 2>/dev/null || true
}
for folder in /usr/lib/x86_64-linux-gnu /usr/lib64 /lib/x86_64-linux-gnu /lib64; do
  [ ! -d "$folder" ] || bind "$folder" ro
done
bind /dev rw
for folder in $("$python" -c 'import sys; print(sys.base_prefix, sys.prefix)'); do bind "$folder" ro; done
while [ "$1" != -- ]; do bind "$1" ro; shift; done
shift
mkdir -p "$root/proc" "$root/tmp"
mount -t proc proc "$root/proc"
exec env -i HOME=/tmp PATH=/nowhere PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 /usr/sbin/chroot "$root" "$python" "$@"
