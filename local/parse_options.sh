# shellcheck shell=bash
# Reads a script's options; to be sourced by it, below the lines that set their defaults:
#
#   stage=1 # first stage
#   . local/parse_options.sh
#
# Each line "name=default # meaning" above is an option: --name value or --name=value, with
# _ or - in the name. Where the default is true, false or a number, values have to be, too.
# --help prints the script's first comment block and the options. What is wrong is said on
# stderr, with exit status 2.

declare -A _default=() _meaning=()
_names=()
while read -r _name _text; do
    _names+=("${_name}")
    _default[${_name}]=${!_name}
    _meaning[${_name}]=${_text}
done < <(head -n "${BASH_LINENO[0]}" "${BASH_SOURCE[1]}" |
    sed -nE 's/^([a-z][a-z0-9_]*)=.* # (.*)$/\1 \2/p')

_print_options() {
    local name
    echo "Options (value without them):"
    for name in "${_names[@]}"; do
        printf '  --%-22s %s\n' "${name}" "${_meaning[${name}]}${!name:+ (${!name})}"
    done
}

_refuse() {
    echo "${0##*/}: error: $1" >&2
    exit 2
}

_check_value() { # NAME VALUE
    if [[ ${_default[$1]} =~ ^(true|false)$ ]]; then
        [[ $2 =~ ^(true|false)$ ]] || _refuse "--$1 '$2': give true or false"
    elif [[ ${_default[$1]} =~ ^[0-9]+$ ]]; then
        [[ $2 =~ ^(0|[1-9][0-9]*)$ ]] || _refuse "--$1 '$2': give a whole number"
    elif [[ ${_default[$1]} =~ ^[0-9]+\.[0-9]+$ ]]; then
        [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || _refuse "--$1 '$2': give a number"
    fi
}

_name_of() { # WORD: the option's name in it
    local name=${1%%=*}
    name=${name#--}
    echo "${name//-/_}"
}

_is_option() {
    [[ $1 == --* && -n ${_default[$(_name_of "$1")]+known} ]]
}

while [[ $# -gt 0 ]]; do
    if [[ $1 == --help || $1 == -h ]]; then
        sed -n '2,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[1]}"
        echo
        _print_options
        exit 0
    fi
    if ! _is_option "$1"; then
        _print_options >&2
        _refuse "unknown option '$1'; the options are listed above"
    fi
    _name=$(_name_of "$1")
    if [[ $1 == *=* ]]; then
        _value=${1#*=}
    else
        shift
        # A value may begin with --, as in --enh_args "--max_epoch 2", but not be an option.
        if [[ $# -eq 0 ]] || _is_option "$1"; then
            _refuse "--${_name} needs a value"
        fi
        _value=$1
    fi
    shift
    _check_value "${_name}" "${_value}"
    printf -v "${_name}" '%s' "${_value}"
done
