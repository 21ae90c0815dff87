# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is for the checks
# What the checks that are scripts share: their two arguments, where things are, and counting in the
# suites' way. Every check is called as: tests/check_NAME BUILD INSTALLED, the folder of a finished
# build and the DESTDIR into which it was installed.

[ $# -eq 2 ] || { echo "usage: $0 BUILD INSTALLED" >&2 && exit 2; }
build=$(cd "$1" && pwd)
installed=$(cd "$2" && pwd)
cd "$(dirname "$0")/.." || exit 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

passed=0 failed=0 skipped=0

pass()
{
    passed=$((passed + 1))
}

# usage: fail SENTENCE [FILE with what was said]
fail()
{
    failed=$((failed + 1))
    printf 'failed: %s\n' "$1"
    [ $# -lt 2 ] || sed 's/^/    /' "$2"
}

skip()
{
    skipped=$((skipped + 1))
    printf 'skipped: %s\n' "$*"
}

# usage: holds SENTENCE COMMAND...: passes when the command succeeds.
holds()
{
    local sentence=$1
    shift
    if "$@"; then pass; else fail "$sentence"; fi
}

# Passes when the file is empty; what is in it are the offences. usage: none SENTENCE FILE
none()
{
    if [ -s "$2" ]; then fail "$1" "$2"; else pass; fi
}

# The last act of every check.
finish()
{
    printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ] || exit 1
    exit 0
}

# The install: its headers, its libraries, and an environment in which pkg-config, cc and programs
# find them.
pc=$(find "$installed" -name weft.pc)
[ -f "$pc" ] || { fail "weft.pc is installed once" && finish; }
libraries=$(cd "$(dirname "$pc")/.." && pwd)
include=$(find "$installed" -type d -path '*/include/weft')
export PKG_CONFIG_PATH=${pc%/weft.pc} LD_LIBRARY_PATH=$libraries
