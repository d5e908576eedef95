#!/bin/sh
# Prints the Secret with which splitter, peers and Prometheus know each other: a certificate for a year, its key, and three tokens.
#   deploy/kubernetes/secrets.sh | kubectl apply -n p2psp -f -
# Run again it makes new ones; restart the pods then. Needs openssl.
set -eu
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl req -x509 -newkey ed25519 -nodes -days 365 -subj /CN=p2psp -addext subjectAltName=DNS:p2psp \
    -addext basicConstraints=critical,CA:FALSE -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
for name in scrape operator admin; do openssl rand -hex 32 >"$work/$name"; done

indented() { sed 's/^/    /' "$work/$1"; }
cat <<END
apiVersion: v1
kind: Secret
metadata:
  name: p2psp-admin
type: Opaque
stringData:
  tls.crt: |
$(indented tls.crt)
  tls.key: |
$(indented tls.key)
  tokens: |
    prometheus read $(cat "$work/scrape")
    operator operate $(cat "$work/operator")
    admin admin $(cat "$work/admin")
  scrape-token: $(cat "$work/scrape")
END
