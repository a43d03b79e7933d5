#!/bin/sh
# Build pyslurm for the Slurm in a folder that another-debian.sh filled. Arguments: FOLDER PIP. A stamp has the hash of
# the inputs.
#
# PyPI has pyslurm for Slurm 25.11, which no Debian has. 26.05 differs little in what pyslurm uses, and a header maps the
# differences. The deprecated half of pyslurm's API is removed, because 26.05 lacks its functions; the hub does not use it.
# A failed build is reported but is not an error: the tests run without pyslurm.
set -eu
target=$1
pip=$2
here=$(cd "$(dirname "$0")" && pwd)
# 0x1a05: 26.05
grep -q '^#define SLURM_VERSION_NUMBER 0x1a05' "$target/usr/include/slurm/slurm_version.h" 2>/dev/null || exit 0
stamp=$(cat "$0" "$here/requirements.txt" "$here/slurm-26.05.h" "$target/stamp" | sha256sum | cut -d' ' -f1)
[ "$(cat "$target/opt/pyslurm/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

echo "Building pyslurm in $target (about five minutes, once)"
log=$target.pyslurm.log
source=$target/opt/pyslurm-source
rm -rf "$source" "$target/opt/pyslurm"
mkdir -p "$source"

build() {
    "$pip" download --quiet --no-deps --no-binary pyslurm --require-hashes -r "$here/requirements.txt" -d "$source" &&
    tar --no-same-owner -xzf "$source"/pyslurm-*.tar.gz -C "$source" --strip-components=1 &&
    cp "$here/slurm-26.05.h" "$source" &&
    # Its version must match that of Slurm.
    sed -i 's/^__version__ = .*/__version__ = "26.5.0"/' "$source/pyslurm/version.py" &&
    rm "$source/pyslurm/deprecated.pyx" &&
    sed -i '/pyslurm\.deprecated/d' "$source/pyslurm/__init__.py" &&
    libraries=$(cd "$target" && dirname usr/lib/*/slurm-wlm) &&
    # shellcheck disable=SC2016 # the inner shell expands them
    chroot "$target" env -i PATH=/usr/bin:/bin HOME=/root PYSLURM_BUILD_JOBS=2 \
        CFLAGS="-O0 -include /opt/pyslurm-source/slurm-26.05.h" SLURM_LIB_DIR="/$libraries" SLURM_INCLUDE_DIR=/usr/include \
        sh -c 'cd /opt/pyslurm-source && python3 setup.py build_ext --inplace -j2' &&
    find "$source/pyslurm" -type f ! -name '*.py' ! -name '*.so' -delete
}

if build >"$log" 2>&1; then
    mkdir "$target/opt/pyslurm"
    mv "$source/pyslurm" "$target/opt/pyslurm/"
    echo "$stamp" >"$target/opt/pyslurm/stamp"
    rm "$log"
else
    tail -n 3 "$log" >&2
    echo "pyslurm cannot be built; its tests are skipped. See $log." >&2
fi
rm -rf "$source"
