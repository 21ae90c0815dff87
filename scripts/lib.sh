# shellcheck shell=bash
# What scripts/demo and scripts/test share: installing what is missing, and building below build/.

say()
{
    printf '%s\n' "$*"
}

stop()
{
    printf '%s\n' "$*" >&2
    exit 1
}

# Can the compiler include this header?
has_header()
{
    command -v cc >/dev/null && printf '#include <%s>\n' "$1" | cc -E - >/dev/null 2>&1
}

# The Debian packages that are missing, as words: what a build needs, and with "tests" what the
# suites need too.
missing_packages()
{
    command -v cc >/dev/null && has_header stdio.h || printf 'gcc libc6-dev '
    command -v meson >/dev/null || printf 'meson '
    command -v ninja >/dev/null || printf 'ninja-build '
    command -v pkg-config >/dev/null || printf 'pkg-config '
    has_header blis.h || printf 'libblis-openmp-dev '
    has_header png.h || printf 'libpng-dev '
    [ "${1:-}" = tests ] || return 0
    command -v c++ >/dev/null || printf 'g++ '
    has_header check.h || printf 'check '
}

# Installs what is missing, after saying what and how; without apt, or without the right to install,
# it stops with the list. The argument is handed to missing_packages.
install_missing()
{
    local as_root='' list
    list=$(missing_packages "${1:-}")
    [ -n "$list" ] || return 0
    list=${list% }
    if ! command -v apt-get >/dev/null; then
        stop "Missing here, under their Debian names: $list." \
            "Please install what your system calls them, and run this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            stop "Missing here: $list." \
                "Please have them installed (as root: apt-get install $list), and run this again."
        fi
    fi
    say "Weft needs what is not here yet: $list"
    say "It is installed now, with ${as_root:+sudo }apt-get install."
    local began=$SECONDS
    mkdir -p build
    # A failed update is only said: a foreign source that does not answer must not be in the way.
    $as_root apt-get update -q >/dev/null ||
        say "apt-get update failed; going on with the lists that are here."
    # shellcheck disable=SC2086  # the list is words
    quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends $list
    list=$(missing_packages "${1:-}")
    [ -z "$list" ] || stop "Still missing after the installation: ${list% }."
    say "Installed in $((SECONDS - began)) s."
}

# Runs a command; on a terminal it speaks for itself, otherwise only a failure shows the end of what
# it said.
quietly()
{
    local log=build/last-command.log
    if [ -t 1 ]; then
        "$@"
    elif ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 100 "$log"
        return 1
    fi
}

# Configures the folder build/NAME with the Meson options that follow, and builds it; false if that
# fails.
build_in()
{
    local folder=build/$1 began=$SECONDS
    shift
    mkdir -p build
    say "== building $folder"
    if [ -f "$folder/build.ninja" ]; then
        quietly meson configure "$folder" "$@" || return 1
    else
        rm -rf "$folder"
        quietly meson setup "$folder" "$@" || return 1
    fi
    quietly ninja -C "$folder" || return 1
    say "   built in $((SECONDS - began)) s"
}
