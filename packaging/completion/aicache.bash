# bash completion of aicache; made by `aicache completion bash`
_aicache() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-} words
    local common=' --url --unix --api-key --ca --timeout --json --help --version'
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'get put lookup explain delete list invalidate stats health memory warnings slow top export import warm verify replay bench key config completion manual help' -- "$word")
        return
    fi
    case $command in
    get) words=' --namespace --metadata' ;;
    put) words=' --namespace --options --question --string --ttl --tag --model --prompt-tokens --completion-tokens --cost-usd' ;;
    lookup) words=' --namespace --options --question' ;;
    explain) words=' --namespace --options --question' ;;
    delete) words=' --namespace' ;;
    list) words=' --namespace --all-namespaces --operation --model --tag --limit --cursor --all' ;;
    invalidate) words=' --namespace --all-namespaces --operation --model --tag --pattern --older-than --tier --context --dry-run --all' ;;
    stats) words='' ;;
    health) words='' ;;
    memory) words='' ;;
    warnings) words='' ;;
    slow) words=' --multiplier' ;;
    top) words=' --once' ;;
    export) words=' --namespace --all-namespaces --operation --model --tag' ;;
    import) words=' --warm --namespace' ;;
    warm) words=' --namespace' ;;
    verify) words=' --data-dir --secret-file' ;;
    replay) words=' --namespace --answer-bytes --ttl --limit' ;;
    bench) words=' --namespace --mode --duration --connections --threads --keys --bytes' ;;
    key) words='new  --namespace --admin --id' ;;
    config) words='presets recommend check  --preset --override' ;;
    completion) words='' ;;
    manual) words='' ;;
    help) words='' ;;
    *) words= ;;
    esac
    case $word in
    -*) mapfile -t COMPREPLY < <(compgen -W "$words $common" -- "$word") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$words" -f -- "$word") ;;
    esac
}
complete -o default -F _aicache aicache
