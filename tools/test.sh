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
  local preset=$1 start=$SECONDS built
  if ! tools/build.sh "$preset" "$jobs"; then
    failed=$((failed + 1))
    summary+=("$preset: does not build")
    return
  fi
  built=$SECONDS

  local leave_out=()
  [[ $preset != asan ]] || leave_out=(--label-exclude '^slow$')
  # The counts are read from the JUnit file: what ctest prints of them differs between its versions.
  local report=build/$preset.junit.xml
  rm -f "$report"
  ctest --test-dir "build/$preset" --parallel "$jobs" --output-on-failure --no-tests=error \
    --output-junit "$PWD/$report" "${leave_out[@]}"
  local status=$? suite='' all=0 bad=0 skipped=0
  suite=$(tr '\n' ' ' 2>/dev/null <"$report" | grep -o '<testsuite [^>]*>' | tr '\t' ' ')
  [[ $suite =~ \ tests=\"([0-9]+)\" ]] && all=${BASH_REMATCH[1]}
  [[ $suite =~ \ failures=\"([0-9]+)\" ]] && bad=${BASH_REMATCH[1]}
  [[ $suite =~ \ skipped=\"([0-9]+)\" ]] && skipped=${BASH_REMATCH[1]}
  if ((all == 0 || (status != 0 && bad == 0))); then bad=$((bad + 1)) all=$((all + 1)); fi
  failed=$((failed + bad))
  passed=$((passed + all - bad - skipped))
  summary+=("$preset: $((all - bad - skipped)) passed, $bad failed, $skipped skipped (build $((built - start)) s, tests $((SECONDS - built)) s)")
}

for preset in "$@"; do run_preset "$preset"; done

echo
printf '%s\n' "${summary[@]}"
echo "$SECONDS s"
echo "$passed passed, $failed failed"
((failed == 0))
