#!/bin/busybox sh
# First process of the guest: loads modules, lays the host's root under an overlay, goes there.
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
ln -s /bin/modprobe /sbin/modprobe
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in @MODULES@; do
    modprobe $module || echo "modprobe: $module failed"
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || { echo NO9P; poweroff -f; }
mount -t tmpfs tmpfs /rw
mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t tmpfs shm /new/dev/shm
mount -t tmpfs run /new/run
# not /tmp: the repository may be there, and the overlay can be written anyway
mkdir /new/run/flarecast
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 run /new/run/flarecast
ln -sf /proc/self/fd /new/dev/fd
ip link set lo up
root=$(sed -n 's/.*flarecast=\([^ ]*\).*/\1/p' /new/proc/cmdline)
exec switch_root /new /bin/bash "$root/deploy/bluez-vm/guest.sh" "$root"
