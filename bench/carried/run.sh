#!/bin/sh
# Measures Attune on this machine's GPU: ./run.sh [MINUTES [FILE [OPTIONS]]]. See README.txt.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
node=$here/bin/node
add() { export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib/$1"; }

# What the system has goes first, since its driver may need it newer than what lies here.
"$node" -e '' 2> /dev/null || add runtime
"$node" -e '' || { echo 'Node does not start. It needs Linux on x86-64, glibc 2.34.' >&2; exit 1; }
missing=$("$node" -e "process.dlopen({ exports: {} }, 'libvulkan.so.1')" 2>&1)
case $missing in *'cannot open shared object'*) add vulkan ;; esac

# Where hosts of containers mount NVIDIA's driver; loaders look for manifests elsewhere.
mounted=/usr/local/nvidia
for manifest in "$mounted"/share/vulkan/icd.d/*.json; do
  [ -f "$manifest" ] || continue
  export VK_ADD_DRIVER_FILES="${VK_ADD_DRIVER_FILES:+$VK_ADD_DRIVER_FILES:}$manifest"
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$mounted/lib64"
done

# Choices that were measured at other times do not count.
if [ -z "$ATTUNE_CACHE_DIR" ]; then
  ATTUNE_CACHE_DIR=$(mktemp -d) || exit 1
  export ATTUNE_CACHE_DIR
  trap 'rm -rf "$ATTUNE_CACHE_DIR"' EXIT
fi
export MESA_SHADER_CACHE_DISABLE="${MESA_SHADER_CACHE_DISABLE:-true}"
"$node" "$here/app/driver.js" "$@"
