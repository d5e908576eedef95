#!/bin/sh
# Makes the Debian package of a program that is built already:
#   deploy/debian/build.sh target/release/p2psp target/debian
# Needs debhelper. Depends on the C library of the machine that built the program, or a newer one.
set -eu
program=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/../.."

source=$out/source
rm -rf "$source"
mkdir -p "$source/completions" "$source/man" "$source/docs" "$source/deploy"
cp "$program" "$source/p2psp"
cp README.md "$source"
cp docs/operating.md docs/metrics.md "$source/docs"
cp -r deploy/debian "$source/debian"
cp -r deploy/grafana deploy/prometheus deploy/systemd "$source/deploy"

cd "$source"
said=$(./p2psp --version)
version=$(dpkg-parsechangelog --show-field Version)
if [ "$said" != "p2psp $version" ]; then
    echo "deploy/debian/changelog is about p2psp $version, and the program is $said" >&2
    exit 1
fi
dpkg-buildpackage --build=binary --no-sign
rm -rf "$source"
