# bash completion of aicache; made by `aicache completion bash`
_aicache() {
    local word=${COMP_WORDS[COMP_CWORD]} line more
    COMPREPLY=()
    while IFS= read -r line; do
        more=("${line%%$'\t'*}")
        case $line in
        :files) mapfile -t more < <(compgen -f -- "$word") ;;
        :folders) mapfile -t more < <(compgen -d -- "$word") ;;
        :values) mapfile -t more < <(compgen -f -P @ -- "${word#@}") ;;
        esac
        COMPREPLY+=("${more[@]}")
    done < <("${COMP_WORDS[0]}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _aicache aicache
