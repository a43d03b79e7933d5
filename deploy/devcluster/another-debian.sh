#!/bin/sh
# Install the Slurm of another Debian release in a folder. Arguments: RELEASE FOLDER. A stamp marks a complete folder.
# The packages come from the mirror that apt uses on this machine.
set -eu
release=$1
target=$2
here=$(cd "$(dirname "$0")" && pwd)
packages=slurmctld,slurmd,slurm-client,slurmdbd,slurmrestd,slurm-wlm-basic-plugins,slurm-wlm-jwt-plugin,slurm-wlm-mysql-plugin,python3,environment-modules
# For pyslurm/build.sh, which supports the Slurm of forky only.
[ "$release" != forky ] || packages=$packages,gcc,libc6-dev,python3-dev,libslurm-dev,cython3,python3-setuptools,python3-packaging
[ "$(cat "$target/stamp" 2>/dev/null)" != "$packages" ] || exit 0

"$here/../../tests/debian.sh" debootstrap:debootstrap
mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | grep -v -- '-security/$' | head -n 1)
[ -n "$mirror" ] || { echo "apt has no Debian mirror. Add one to /etc/apt/sources.list." >&2; exit 1; }
# For a release that is newer than debootstrap, use the script for sid.
recipe=/usr/share/debootstrap/scripts/$release
[ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/sid

echo "Installing Slurm of Debian $release in $target (about two minutes, once)"
rm -rf "$target"
mkdir -p "$(dirname "$target")"
if ! debootstrap --variant=minbase --include="$packages" "$release" "$target" "$mirror" "$recipe" >"$target.log" 2>&1; then
    tail -n 5 "$target.log" >&2
    echo "debootstrap failed. See $target.log." >&2
    exit 1
fi
rm -rf "$target/var/cache/apt" "$target/var/lib/apt/lists" "$target.log"
echo "$packages" >"$target/stamp"
