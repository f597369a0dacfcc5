#!/bin/bash
# Starts a fresh clone with npm 10, which deletes the link to the Node that it installs, and ends it through npm.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --prefix "$folder/old" --no-save npm@10.9.4
export PATH="$folder/old/node_modules/.bin:$PATH"
git clone --quiet . "$folder/clone"
cd "$folder/clone"
npm ci

PORT=0 npm start >"$folder/output" 2>&1 &
npm_id=$!
for _ in $(seq 600); do
  grep -q 'listens on' "$folder/output" && break
  kill -0 "$npm_id" || { cat "$folder/output"; exit 1; }
  sleep 0.1
done
address=$(grep -o 'http://[^ ]*' "$folder/output" | head -1)
curl --fail --silent --show-error "$address/.well-known/jwks.json" >/dev/null

kill -TERM "$npm_id"
wait "$npm_id" || true
for _ in $(seq 200); do
  curl --silent "$address/.well-known/jwks.json" >/dev/null || break
  sleep 0.1
done
if curl --silent "$address/.well-known/jwks.json" >/dev/null; then
  echo "the server outlived npm $(npm --version)"
  exit 1
fi
echo "npm $(npm --version) started a fresh clone at $address, and ended it"
