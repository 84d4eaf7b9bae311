#!/usr/bin/env bash
# The first process of a host of tests/e2e/hosts.py: folders, a name and an address of its own, then sshd.
# Environment: NAME, ADDRESS, HOME; OWN, the folder to show as HOME; KEEP, what stays visible, one path a line.
set -euo pipefail
mount --make-rprivate /
# what is kept may lie under a folder that is covered: hold on to it by a file descriptor
declare -A kept
while IFS= read -r path; do
  case $path in "$HOME"/* | /tmp/*) exec {descriptor}<"$path" && kept[$path]=$descriptor ;; esac
done <<<"$KEEP"
mount --bind "$OWN" "$HOME"
for folder in /tmp /dev/shm /run; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
for path in "${!kept[@]}"; do
  mkdir -p "$path"
  mount --no-canonicalize --bind "/proc/self/fd/${kept[$path]}" "$path"
done
mount --bind ~/.sshd/hosts /etc/hosts
mount --bind ~/.sshd/shadow /etc/shadow # without PAM, sshd turns away an account that is locked by "!"
mkdir /run/sshd
hostname "$NAME"
ip link set lo up
read -r _ # the network card is in place
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
exec /usr/sbin/sshd -D -e -f ~/.sshd/config 2>>~/.sshd/log
