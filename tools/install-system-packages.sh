#!/bin/sh
# Installs the Debian packages that the tests need; using iree itself needs none of them.
# Does nothing where they are installed; as root it installs them; otherwise it says what to do.
set -eu

packages="
    qemu-user gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu
    libc6-dev-arm64-cross libc6-dev-riscv64-cross
    g++ libvulkan1 mesa-vulkan-drivers spirv-cross spirv-tools vulkan-tools
    vulkan-validationlayers
"

if ! command -v dpkg-query >/dev/null; then
    echo "$0: this is no Debian or Ubuntu; the tests need what these packages hold:" $packages >&2
    exit 0
fi

missing=""
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    test "$state" = installed || missing="$missing $package"
done
test -n "$missing" || exit 0

if test "$(id -u)" -ne 0; then
    echo "$0: the tests need system packages that are missing. Install them with" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing$missing ..."
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086  # one argument per package
apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing >/dev/null
