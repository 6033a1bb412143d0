# shellcheck shell=bash
# Options of a script, which sources this file, declares and reads them:
#
#   . local/parse_options.sh
#   option stage 1 "first stage"
#   parse_options "$@"
#
# An option is a variable, set by --name value or --name=value, with _ or - in the name. Where
# the default is true, false or a number, values have to be, too. --help prints the script's
# first comment block and the options. A wrong option is named on stderr, with exit status 2.

declare -A _default=() _meaning=()
_names=()
other_options=() # what parse_own_options leaves for the next script
_script=$(realpath "${BASH_SOURCE[1]}")

option() { # NAME DEFAULT MEANING
    _names+=("$1")
    _default[$1]=$2
    _meaning[$1]=$3
    printf -v "$1" '%s' "$2"
}

fail() { # MESSAGE...
    echo "${0##*/}: error: $*" >&2
    exit 2
}

parse_options() { # ARGUMENT...: all of them must be known
    parse_own_options "$@"
    ((${#other_options[@]} > 0)) || return 0
    [[ ! ${other_options[0]} =~ ^(--help|-h)$ ]] || exit 0
    _print_options >&2
    fail "unknown option '${other_options[0]}'; the options are listed above"
}

# parse_own_options ARGUMENT...: read what is declared, let other_options be the rest.
# --help is answered here, and remains for the next script.
parse_own_options() {
    local name
    while (($# > 0)); do
        if ! _is_option "$1"; then
            [[ ! $1 =~ ^(--help|-h)$ ]] || _print_help
            other_options+=("$1")
            shift
            continue
        fi
        name=$(_name_of "$1")
        if [[ $1 != *=* ]]; then
            # A value may begin with --, as in --enh_args "--max_epoch 2", but not be an option.
            if (($# == 1)) || _is_option "$2"; then
                fail "--${name} needs a value"
            fi
            set -- "--${name}=$2" "${@:3}"
        fi
        _check_value "${name}" "${1#*=}"
        printf -v "${name}" '%s' "${1#*=}"
        shift
    done
}

_name_of() { # WORD: the option's name in it
    local name=${1%%=*}
    name=${name#--}
    echo "${name//-/_}"
}

_is_option() {
    [[ $1 == --* && -n ${_default[$(_name_of "$1")]+known} ]]
}

_check_value() { # NAME VALUE
    if [[ ${_default[$1]} =~ ^(true|false)$ ]]; then
        [[ $2 =~ ^(true|false)$ ]] || fail "--$1 '$2': give true or false"
    elif [[ ${_default[$1]} =~ ^[0-9]+$ ]]; then
        [[ $2 =~ ^(0|[1-9][0-9]*)$ ]] || fail "--$1 '$2': give a whole number"
    elif [[ ${_default[$1]} =~ ^[0-9]+\.[0-9]+$ ]]; then
        [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--$1 '$2': give a number"
    fi
}

_print_help() {
    sed -n '2,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p}' "${_script}"
    echo
    _print_options
}

_print_options() {
    local name
    echo "Options (value without them):"
    for name in "${_names[@]}"; do
        printf '  --%-22s %s\n' "${name}" "${_meaning[${name}]}${!name:+ (${!name})}"
    done
}
