#!/bin/bash
# Whether what is committed can be released: all of it names one version, is built, and is without fault.
# Leaves in dist/ what a release hands out.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
  echo "$1" >&2
  exit 1
}
version_of() { node -p "JSON.parse(fs.readFileSync('$1/package.json')).version"; }

changed=$(git status --porcelain)
[ -z "$changed" ] || refuse "commit or drop what has changed: ${changed//$'\n'/,}"

version=$(version_of .)
for package in packages/client packages/verifier; do
  own=$(version_of "$package")
  [ "$own" = "$version" ] || refuse "$package has version $own, but the module $version; give both the same"
done
newest=$(sed -nE 's/^## //p' CHANGELOG.md | head -1)
[ "$newest" = "$version" ] ||
  refuse "CHANGELOG.md begins with $newest, but package.json says $version; write its section"

npm pack # builds dist/ anew
mv "cerrojo-$version.tgz" dist/
for package in packages/client packages/verifier; do (cd "$package" && npm pack --pack-destination ../../dist); done
npm run zip

tools=packages/client/node_modules/.bin
for tarball in dist/*.tgz; do
  "$tools/publint" --strict "$tarball"
  "$tools/attw" --profile esm-only "$tarball"
done
[ -z "$(git status --porcelain)" ] || refuse "the build has changed files: $(git status --porcelain)"
echo "$version can be released:"
ls dist/*.tgz dist/*.zip
