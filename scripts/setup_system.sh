#!/usr/bin/env bash
# Find or install what pip cannot: a Python with venv, and the libraries of a window.
#
# Prints the path of the Python to use on stdout; everything else goes to stderr.
# On Debian and its children, as root, what is missing is installed with apt-get;
# elsewhere one line says what is missing, and the exit status is 1.
# With everything in place it changes nothing and takes a blink.
# SKIP_SYSTEM=1 goes on without what is missing (a headless server that only trains).
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

# --- Python ------------------------------------------------------------------------
usable() { # 3.10 to 3.13 that really runs
    "$1" -c 'import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# --- Libraries: "what the loader or the shell looks for" -> Debian's package ----------
# Qt's xcb platform plugin and OpenGL, software rendering, a font, a virtual screen.
LIBRARIES=(
    libdbus-1.so.3=libdbus-1-3
    libEGL.so.1=libegl1
    libfontconfig.so.1=libfontconfig1
    libfreetype.so.6=libfreetype6
    libGL.so.1=libgl1
    libglib-2.0.so.0=libglib2.0-0
    libopengl.so.0=libopengl0
    libX11-xcb.so.1=libx11-xcb1
    libxcb-cursor.so.0=libxcb-cursor0
    libxcb-icccm.so.4=libxcb-icccm4
    libxcb-image.so.0=libxcb-image0
    libxcb-keysyms.so.1=libxcb-keysyms1
    libxcb-randr.so.0=libxcb-randr0
    libxcb-render-util.so.0=libxcb-render-util0
    libxcb-shape.so.0=libxcb-shape0
    libxcb-xkb.so.1=libxcb-xkb1
    libxkbcommon.so.0=libxkbcommon0
    libxkbcommon-x11.so.0=libxkbcommon-x11-0
)
COMMANDS=(Xvfb=xvfb xvfb-run=xvfb xauth=xauth)

some_file() { # does any of the patterns match a file?
    compgen -G "$1" >/dev/null
}

missing_packages() {
    local cache entry
    cache=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true)
    for entry in "${LIBRARIES[@]}"; do
        grep -qiF "${entry%%=*} " <<<"$cache" || echo "${entry##*=}"
    done
    for entry in "${COMMANDS[@]}"; do
        command -v "${entry%%=*}" >/dev/null || echo "${entry##*=}"
    done
    some_file '/usr/lib*/dri/swrast_dri.so' || some_file '/usr/lib/*/dri/swrast_dri.so' ||
        some_file '/usr/lib/*/libgallium-*.so' || some_file '/usr/lib*/libgallium-*.so' ||
        echo libgl1-mesa-dri
    some_file '/usr/share/fonts/*/*/*.ttf' || some_file '/usr/share/fonts/*/*.ttf' ||
        some_file '/usr/share/fonts/*.ttf' || some_file '/usr/share/fonts/*/*/*.otf' ||
        echo fonts-dejavu-core
}

missing=()
python=$(find_python)
if [ -z "$python" ]; then
    missing+=(python3 python3-venv)
elif ! has_venv "$python"; then
    missing+=(python3-venv)
fi
if [ "$(uname -s)" = Linux ]; then
    mapfile -t -O "${#missing[@]}" missing < <(missing_packages | sort -u)
fi

if [ "${#missing[@]}" -gt 0 ] && [ -z "${SKIP_SYSTEM:-}" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >&2
        python=$(find_python)
    elif command -v apt-get >/dev/null; then
        say "Missing packages; install them with: sudo apt-get install ${missing[*]}"
        exit 1
    else
        say "Missing (Debian's names; SKIP_SYSTEM=1 goes on without): ${missing[*]}"
        exit 1
    fi
fi

if [ -z "$python" ]; then
    say "No Python 3.10 to 3.13 was found; install one, or name it: make PYTHON=/path/to/python3"
    exit 1
fi
if ! has_venv "$python"; then
    say "$python cannot make a virtual environment (no venv); name another: make PYTHON=/path/to/python3"
    exit 1
fi
printf '%s\n' "$python"
