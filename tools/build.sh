#!/usr/bin/env bash
# tools/build.sh PRESET JOBS [TARGET...]: configures and compiles into build/PRESET; all where no target is named.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
jobs=$2
targets=("${@:3}")

if [[ -z "${CMAKE_GENERATOR:-}" ]] && command -v ninja >/dev/null; then
  export CMAKE_GENERATOR=Ninja
fi

echo "build: $preset"
log=build/$preset.configure.log
mkdir -p build
if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
cmake --build --preset "$preset" -j "$jobs" ${targets[@]+--target "${targets[@]}"}
