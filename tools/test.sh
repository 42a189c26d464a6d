#!/usr/bin/env bash
# tools/test.sh JOBS PRESET...: builds each preset and runs its tests. Goes on after a failure, says what failed, and ends
# with the sum over all presets, "N passed, N failed"; a preset that does not build counts as one failure.
set -uo pipefail
cd "$(dirname "$0")/.."
jobs=$1
shift

passed=0
failed=0
summary=()

run_preset() {
  local preset=$1 start=$SECONDS built log=build/$1.ctest.log
  if ! tools/build.sh "$preset" "$jobs"; then
    failed=$((failed + 1))
    summary+=("$preset: does not build")
    return
  fi
  built=$SECONDS

  local leave_out=()
  [[ $preset != asan ]] || leave_out=(--label-exclude '^slow$')
  ctest --test-dir "build/$preset" --parallel "$jobs" --output-on-failure --no-tests=error "${leave_out[@]}" | tee "$log"
  local status=$? line=''
  line=$(grep -E 'tests passed, [0-9]+ tests failed out of [0-9]+' "$log")
  if [[ $line =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]; then
    failed=$((failed + BASH_REMATCH[1]))
    passed=$((passed + BASH_REMATCH[2] - BASH_REMATCH[1]))
    if ((status != 0 && BASH_REMATCH[1] == 0)); then failed=$((failed + 1)); fi
  else
    failed=$((failed + 1))
    line="no test ran"
  fi
  summary+=("$preset: $line (build $((built - start)) s, tests $((SECONDS - built)) s)")
}

for preset in "$@"; do run_preset "$preset"; done

echo
printf '%s\n' "${summary[@]}"
echo "$SECONDS s"
echo "$passed passed, $failed failed"
((failed == 0))
