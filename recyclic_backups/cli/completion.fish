# fish: recyclic-backups completion fish | source, in ~/.config/fish/config.fish
function __recyclic_backups
    set -l typed (commandline -opc)
    set -l at ''
    for word in $typed[2..]
        switch "$at $word"
            case @PATHS@
                set at (string trim -- "$at $word")
        end
    end
    switch "$at $typed[-1]"
@VALUES@
        case @FILES@
            __fish_complete_path (commandline -ct)
        case @NOTHING@
            true
        case '*'
            switch "$at"
@WORDS@
            end
    end
end
complete -c recyclic-backups -f -a '(__recyclic_backups)'
