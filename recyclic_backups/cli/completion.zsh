# zsh: eval "$(recyclic-backups completion zsh)", in ~/.zshrc
_recyclic_backups() {
    local at= word list= before=${words[CURRENT-1]}
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "$at $word" in
            @PATHS@) at="${at:+$at }$word" ;;
        esac
    done
    case "$at $before" in
@VALUES@
        @FILES@) _files; return ;;
        @NOTHING@) return ;;
        *)
            case "$at" in
@WORDS@
            esac ;;
    esac
    compadd -- ${=list}
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _recyclic_backups recyclic-backups
