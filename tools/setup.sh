#!/usr/bin/env bash
# Installs what fewbits needs on Debian or Ubuntu, makes .venv with the Python parts, and .sysroot with the libraries for
# 64-bit ARM that a test cross-compiles against. Does nothing, and asks no network, when all is there.
#   tools/setup.sh          packages and .venv
#   tools/setup.sh test     the same, and what only tests need: a browser, PyTorch, Flower, ...
#   tools/setup.sh data     only the data sets of the demo and the tests
#   tools/setup.sh insteval only InstEval, a data set of R's package lme4, as build/data/insteval/insteval.csv
#   tools/setup.sh bench    only what the benchmarks compare with
# FEWBITS_SKIP_PACKAGES=1: the packages are there under other names; only .venv is made.
set -euo pipefail
cd "$(dirname "$0")/.."

data_packages=(dataset-fashion-mnist bible-kjv)
test_packages=(chromium)
bench_packages=(libbenchmark-dev libfftw3-dev libhtscodecs-dev)
packages=(
  g++ make cmake ninja-build pkg-config
  python3 python3-venv python3-dev
  libzstd-dev libxxhash-dev                                     # the library
  libeigen3-dev libopenblas-pthread-dev libtbb-dev zlib1g-dev   # the harness
  libcli11-dev nlohmann-json3-dev libzip-dev                    # the program
  libgtest-dev libbenchmark-dev clang                           # tests
  qemu-user g++-aarch64-linux-gnu libc6-dev-arm64-cross         # the kernels on NEON, emulated
  "${data_packages[@]}"
)

say() { printf '%s\n' "setup: $*"; }

fail() {
  printf '%s\n' "setup: $1" "${@:2}" >&2
  exit 1
}

installed() { [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

has_candidate() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; }

# clang finds libFuzzer and the sanitizers only in the runtime of its own version.
has_clang_runtime() {
  local resources
  resources=$(clang++ -print-resource-dir 2>/dev/null) || return 1
  compgen -G "$resources/lib/*/libclang_rt.fuzzer*.a" >/dev/null
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    installed "$package" || printf '%s\n' "$package"
  done
}

has_botan() { installed libbotan-3-dev || installed libbotan-2-dev; }

botan_package() { if has_candidate libbotan-3-dev; then echo libbotan-3-dev; else echo libbotan-2-dev; fi; }

apt() {
  local as_root=()
  [[ $EUID -eq 0 ]] || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

require_root() {
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    fail "packages are missing, and installing them needs root or sudo. As root:" \
      "  apt-get install --no-install-recommends $1"
  fi
}

refresh_lists() {
  say "reading the package lists"
  apt update -q || fail "apt-get update failed"
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)) && has_botan && has_clang_runtime; then
    return
  fi
  local others=()
  has_botan || others+=("$(botan_package)")
  has_clang_runtime || others+=(libclang-rt-dev)
  require_root "${missing[*]} ${others[*]}"
  refresh_lists
  if ! has_botan; then
    missing+=("$(botan_package)")
  fi
  install_listed "${missing[@]}"
  if ! has_clang_runtime; then
    local major
    major=$(clang++ -dumpversion | cut -d. -f1)
    install_listed "libclang-rt-$major-dev"
    has_clang_runtime || fail "clang $major has no libFuzzer: no libclang_rt.fuzzer*.a in $(clang++ -print-resource-dir)"
  fi
}

install_listed() {
  (($#)) || return 0
  say "installing $*"
  apt install -y -q --no-install-recommends "$@" || fail "apt-get could not install: $*"
}

require_debian() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && return
  fail "this system has no apt-get: only Debian and Ubuntu are set up by themselves." \
    "Install these by your system's own means, then call make with FEWBITS_SKIP_PACKAGES=1:" \
    "  g++ 11 or newer, cmake 3.22 or newer, ninja or make, pkg-config, python 3.9 or newer with venv" \
    "  for the library: zstd, xxHash" \
    "  for the program: Eigen 3, OpenBLAS with pthreads, oneTBB, zlib, CLI11, nlohmann-json, libzip, Botan 2 or 3" \
    "  for the tests:   GoogleTest, Google Benchmark, clang with libFuzzer and its sanitizers" \
    "  for the demo:    Fashion-MNIST in /usr/share/datasets/fashion-mnist (or name its folder with --data)" \
    "  for text:        the King James Bible, by the program bible (or name the folder of kjv.txt with --data)"
}

# zstd and xxHash for 64-bit ARM, unpacked and not installed: the package lists of another architecture are read into a
# folder of their own, so that the machine stays one of its architecture. Without them one test is left out.
make_sysroot() {
  local root=$PWD/.sysroot/aarch64-linux-gnu
  [[ ! -e $root && "$(dpkg --print-architecture)" != arm64 ]] || return 0
  say "unpacking libzstd-dev and libxxhash-dev for arm64 into .sysroot"
  local scratch
  scratch=$(mktemp -d)
  mkdir -p "$scratch"/{lists,cache/archives}/partial
  touch "$scratch/status"
  local options=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o "Dir::State::lists=$scratch/lists" -o "Dir::State::status=$scratch/status" -o "Dir::Cache=$scratch/cache"
    -o Acquire::Retries=3)
  local system
  system=$(. /etc/os-release && echo "$ID $VERSION_CODENAME")
  if [[ $system == ubuntu\ * ]]; then   # its other architectures have a server of their own
    printf 'deb http://ports.ubuntu.com/ubuntu-ports %s main universe\n' "${system#* }" >"$scratch/sources.list"
    options+=(-o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=/dev/null)
  fi
  if (
    cd "$scratch" &&
      apt-get "${options[@]}" update &&
      apt-get "${options[@]}" download libzstd-dev libxxhash-dev &&
      for package in ./*.deb; do dpkg-deb -x "$package" root || exit 1; done
  ) >"$scratch/log" 2>&1; then
    mkdir -p .sysroot
    mv "$scratch/root" "$root"
  else
    tail -n 5 "$scratch/log" >&2
    say "no libraries for arm64: the test of the cross-compiled library is left out"
  fi
  rm -rf "$scratch"
}

make_venv() {
  local want
  want=$(cat python/requirements.txt tools/setup.sh | sha256sum)
  if [[ -x .venv/bin/python && "$(cat .venv/stamp 2>/dev/null)" == "$want" ]] && .venv/bin/python -c ''; then
    return
  fi
  say "making .venv"
  rm -rf .venv
  # Debian's, where there is one: another python3 earlier in PATH may come without venv.
  local python=/usr/bin/python3
  [[ -x $python ]] || python=python3
  "$python" -m venv .venv || fail "$python cannot make a virtual environment"
  say "installing $(grep -v '^#' python/requirements.txt | tr '\n' ' ')into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement python/requirements.txt ||
    fail "pip could not install python/requirements.txt; is PyPI reachable?"
  printf '%s\n' "$want" >.venv/stamp
}

# PyTorch's own index has builds without CUDA, of a tenth of the size. Where it does not answer, pip's index has to do.
torch_index=https://download.pytorch.org/whl/cpu
torch_options() {
  if .venv/bin/python -c "import urllib.request; urllib.request.urlopen('$torch_index/torch/', timeout=5)" 2>/dev/null; then
    echo "--index-url $torch_index --extra-index-url https://pypi.org/simple"
  fi
}

# Each line of requirements-test.txt is a group that may fail.
install_test_requirements() {
  local want group options
  want=$(cat python/requirements-test.txt .venv/stamp | sha256sum)
  [[ "$(cat .venv/stamp-test 2>/dev/null)" != "$want" ]] || return 0
  while read -r group; do
    say "installing $group into .venv"
    options=""
    [[ $group != torch* ]] || options=$(torch_options)
    # shellcheck disable=SC2086  # a group is several words
    .venv/bin/python -m pip install --quiet --disable-pip-version-check $options $group ||
      say "pip could not install $group; tests that need it are skipped"
  done < <(grep -v '^#' python/requirements-test.txt)
  printf '%s\n' "$want" >.venv/stamp-test
}

install_part() {
  packages=("$@")
  require_debian
  local missing
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]})); then
    require_root "${missing[*]}"
    refresh_lists
    install_listed "${missing[@]}"
  fi
}

# InstEval's ratings. The package would bring R with it: it is unpacked and not installed, which needs no root.
make_insteval() {
  local out=$PWD/build/data/insteval/insteval.csv
  [[ ! -e $out ]] || return 0
  say "unpacking r-cran-lme4 for $out"
  local scratch status=0
  scratch=$(mktemp -d)
  mkdir -p "${out%/*}"
  (
    cd "$scratch" && apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download r-cran-lme4 &&
      dpkg-deb -x ./*.deb root
  ) >"$scratch/log" 2>&1 &&
    python3 datasets/convert_r.py "$scratch/root/usr/lib/R/site-library/lme4/data/Rdata" InstEval "$scratch/insteval.csv" \
      --sha256 38cfe23eb8db59a0e3e43f892368827687b0a3394ec850d1a453bee60f060afd >>"$scratch/log" 2>&1 &&
    mv "$scratch/insteval.csv" "$out" || status=1
  ((status == 0)) || tail -n 5 "$scratch/log" >&2
  rm -rf "$scratch"
  return $status
}

case "${1:-all}" in
  bench)
    [[ "${FEWBITS_SKIP_PACKAGES:-0}" == 1 ]] || install_part "${bench_packages[@]}"
    ;;
  insteval)
    require_debian
    make_insteval || fail "no InstEval. Where r-cran-lme4 is unknown: apt-get update"
    ;;
  data)
    install_part "${data_packages[@]}"
    dpkg-query -L "${data_packages[@]}" | grep -E '/datasets/.*\.gz$|/bin/bible$'
    ;;
  all | test)
    if [[ "${FEWBITS_SKIP_PACKAGES:-0}" != 1 ]]; then
      require_debian
      install_packages
      make_sysroot
    fi
    make_venv
    if [[ "${1:-all}" == test ]]; then
      if [[ "${FEWBITS_SKIP_PACKAGES:-0}" != 1 ]] && has_candidate "${test_packages[@]}"; then
        install_part "${test_packages[@]}"   # Ubuntu's is a snap, which a root shell in a container cannot run
      fi
      [[ "${FEWBITS_SKIP_PACKAGES:-0}" == 1 ]] || make_insteval || say "no InstEval: its test is skipped"
      install_test_requirements
    fi
    ;;
  *) fail "unknown part \"$1\": data, insteval, bench, test, or nothing" ;;
esac
