#!/bin/sh
# Installs RadLite from this bundle, without a network:
#     sh install.sh [--prefix DIR] [--python PYTHON]        DIR: /opt/radlite; PYTHON: python3
# Goes back to the version before, or forward again:
#     sh DIR/current/install.sh --rollback
# Nothing of the bundle runs before its checksums are right. A version is a folder of its own under DIR/versions, and the
# link DIR/current is switched to it last of all, after each of its models has answered: what was there stays until then.
# Exit codes: 0 done, 2 not done, with DIR/current as it was.
set -eu
umask 022
unset PYTHONPATH PYTHONHOME

fail() {
  echo "install: $1" >&2
  exit 2
}

# The link $1 of the prefix leads to $2; there is no instant without it.
point() {
  rm -f "$prefix/.$1.new"
  ln -s "$2" "$prefix/.$1.new"
  "$python" -I -c 'import os, sys; os.replace(*sys.argv[1:])' "$prefix/.$1.new" "$prefix/$1"
}

fact() {
  sed -n "s/^$1 //p" "$here/VERSION"
}

# The files that the list of checksums has under such names.
listed() {
  sed -n "s|^[0-9a-f]*  $1\$|\\1|p" "$here/SHA256SUMS"
}

hash_of() {
  sha256sum <"$1" | cut -c 1-64
}

tidy() {
  [ -z "$half" ] || rm -rf "$half"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
prefix='' python=python3 rollback='' half=''
while [ $# -gt 0 ]; do
  case $1 in
    --rollback) rollback=yes ;;
    --prefix | --python)
      [ $# -gt 1 ] || fail "$1 needs a value."
      if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
      shift
      ;;
    *) fail "I do not know $1; see the head of install.sh." ;;
  esac
  shift
done
versions=$(dirname -- "$here")
if [ -z "$prefix" ] && [ "$(basename -- "$versions")" = versions ]; then prefix=$(dirname -- "$versions"); fi
prefix=${prefix:-/opt/radlite}
case $prefix in
  /*) ;;
  *) fail "The prefix $prefix is no absolute path; give one that begins with /." ;;
esac
case $prefix in
  *[!A-Za-z0-9/._+-]*) fail "The prefix has characters other than letters, digits, / . _ + and -; choose another." ;;
esac
for tool in sha256sum flock; do
  command -v $tool >/dev/null || fail "$tool is missing; it belongs to coreutils and util-linux."
done
"$python" -I -c '' 2>/dev/null || fail "There is no $python; install Python, or name it with --python."
{ mkdir -p "$prefix/versions" && [ -w "$prefix" ] && [ -w "$prefix/versions" ]; } || fail "Cannot write $prefix; run this as root, or give a --prefix of yours."
exec 9>"$prefix/.lock"
flock -n 9 || fail "Another installation is at work in $prefix; wait for it."
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

current=$(readlink "$prefix/current" || true)
if [ -n "$rollback" ]; then
  previous=$(readlink "$prefix/previous" || true)
  [ -n "$previous" ] && [ "$previous" != "$current" ] || fail "$prefix has no version before this one."
  [ -e "$prefix/$previous/.whole" ] || fail "$prefix/$previous is not whole; install its bundle again."
  point current "$previous"
  point previous "$current"
  echo "$prefix/current is $previous again. If it runs as a service: systemctl restart radlite"
  exit 0
fi

(cd "$here" && sha256sum -c SHA256SUMS >/dev/null 2>&1) ||
  fail "The bundle is damaged or was altered (see: cd $here && sha256sum -c SHA256SUMS); copy it again."
release=$(fact radlite)
wanted=$(fact python)
found=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$found" = "$wanted" ] || fail "This bundle is for Python $wanted, but $python is $found; name another with --python."
[ "$(uname -m)" = "$(fact machine)" ] || fail "This bundle is for $(fact machine), but this machine is $(uname -m)."
"$python" -I -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null ||
  fail "The system's libgomp.so.1 is missing; install it (Debian and Ubuntu: libgomp1, Red Hat and SUSE: libgomp or libgomp1)."

version=versions/$release-$(hash_of "$here/SHA256SUMS" | cut -c 1-12)
new=$prefix/$version
if [ ! -e "$new/.whole" ]; then
  rm -rf "$new"
  half=$new
  "$python" -I -m venv --without-pip "$new" || fail "$python cannot make an environment in $new."
  # The bundle's pip, straight from its wheel; only what is listed, with the hashes that are listed, and no settings of this
  # machine's pip.
  pip=$(listed '\(wheels/pip-.*\.whl\)')
  env PIP_CONFIG_FILE=/dev/null "$new/bin/python" -I "$here/$pip/pip" --isolated --disable-pip-version-check --no-input install \
    --quiet --no-index --no-cache-dir --only-binary :all: --find-links "$here/wheels" \
    --require-hashes -r "$here/requirements.txt" || fail "The wheels could not be installed into $new; pip says above why (an older Linux needs a bundle made with --platform)."
  cp "$here/VERSION" "$here/SHA256SUMS" "$here/requirements.txt" "$here/sbom.cdx.json" "$here/install.sh" "$new/"
  listed '\(models/.*\)' | while read -r name; do # nothing that somebody put beside them
    mkdir -p "$new/$(dirname -- "$name")"
    cp "$here/$name" "$new/$name"
  done
  for file in models.env radlite.service radlite.toml; do
    sed "s|/opt/radlite/|$prefix/|g" "$here/$file" >"$new/$file"
  done
  chmod -R a+rX,go-w "$new" # however the bundle was unpacked: the service is another user
  [ "$("$new/bin/radlite" --version)" = "$release" ] || fail "What was installed is not RadLite $release."
  echo "Asking the model, to see that this machine can ..."
  for model in "$new"/models/*/*.gguf; do
    echo "Chest CT for staging of lung cancer. Several new lesions of the liver, typical of metastases." |
      "$new/bin/radlite" read - --task m_staging --any-model --model "$model" >/dev/null ||
      fail "$(basename -- "$model") does not answer on this machine."
  done
  : >"$new/.whole"
  half=''
fi

if [ "$current" != "$version" ]; then
  point current "$version"
  [ -z "$current" ] || point previous "$current"
fi
previous=$(readlink "$prefix/previous" || true)
for old in "$prefix"/versions/*; do
  case $old in
    "$prefix/$version" | "$prefix/$previous") ;;
    *) rm -rf "$old" ;;
  esac
done
echo "RadLite $release is in $prefix/current, with its unit for systemd, radlite.service."
case $("$python" -I -c 'import sys; print(sys.base_prefix)') in
  /home/* | /root/*) echo "Note: the service cannot use a Python in a home directory; for it, give the system's with --python." ;;
esac
echo "Checksums: $(hash_of "$here/SHA256SUMS") (SHA256SUMS, as radlite bundle told it)"
[ -z "$current" ] || [ "$current" = "$version" ] || echo "Before: $prefix/$current. Back to it: sh $prefix/current/install.sh --rollback"
[ -z "$current" ] || echo "If it runs as a service: systemctl restart radlite"
