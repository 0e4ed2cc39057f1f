#!/bin/sh
# The first program of a machine: gives it what a real one has and a container lacks, a boot id of
# its own at every boot and shared mounts, and takes away what would change the host: settings of
# the kernel that no namespace has for itself.
set -e
for part in kernel vm fs; do
    mount --bind "/proc/sys/$part" "/proc/sys/$part"
    mount -o remount,bind,ro "/proc/sys/$part"
done
cat /proc/sys/kernel/random/uuid > /run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
mount --make-rshared /
exec /sbin/init
