# bash: eval "$(recyclic-backups completion bash)", in ~/.bashrc
_recyclic_backups() {
    local at= word words= current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$at $word" in
            @PATHS@) at="${at:+$at }$word" ;;
        esac
    done
    case "$at $before" in
@VALUES@
        @FILES@) COMPREPLY=($(compgen -f -- "$current")); return ;;
        @NOTHING@) return ;;
        *)
            case "$at" in
@WORDS@
            esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -o default -F _recyclic_backups recyclic-backups
