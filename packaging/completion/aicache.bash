# bash completion of aicache; made by `aicache completion bash`
_aicache() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-} words='' options='' files='' value=''
    COMPREPLY=()
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --url) value=1 ;;
    --unix) value=1 files=-f ;;
    --api-key) value=1 ;;
    --ca) value=1 files=-f ;;
    --timeout) value=1 ;;
    --namespace) value=1 ;;
    --options) value=1 ;;
    --model) value=1 ;;
    --question) value=1 ;;
    --ttl) value=1 ;;
    --tag) value=1 ;;
    --prompt-tokens) value=1 ;;
    --completion-tokens) value=1 ;;
    --cost-usd) value=1 ;;
    --durability) value=1 words='memory storage disk' ;;
    --operation) value=1 ;;
    --limit) value=1 ;;
    --cursor) value=1 ;;
    --pattern) value=1 ;;
    --older-than) value=1 ;;
    --tier) value=1 words='memory storage' ;;
    --context) value=1 ;;
    --multiplier) value=1 ;;
    --data-dir) value=1 files=-d ;;
    --secret-file) value=1 files=-f ;;
    --answer-bytes) value=1 ;;
    --mode) value=1 words='lookup get put mixed' ;;
    --duration) value=1 ;;
    --connections) value=1 ;;
    --threads) value=1 ;;
    --keys) value=1 ;;
    --bytes) value=1 ;;
    --id) value=1 ;;
    --preset) value=1 words='disabled minimal simple development production ai-development ai-production' ;;
    --override) value=1 ;;
    esac
    if [ -z "$value" ] && [ "$COMP_CWORD" -eq 1 ]; then
        words='get put lookup explain delete list invalidate stats health memory warnings slow top export import warm verify replay bench key config completion manual help'
    elif [ -z "$value" ]; then
        case $command in
        get) words='' options=' --namespace --metadata' ;;
        put) words='' options=' --namespace --options --model --question --string --ttl --tag --prompt-tokens --completion-tokens --cost-usd --durability' ;;
        lookup) words='' options=' --namespace --options --model --question' ;;
        explain) words='' options=' --namespace --options --model --question' ;;
        delete) words='' options=' --namespace' ;;
        list) words='' options=' --namespace --all-namespaces --operation --model --tag --limit --cursor --all' ;;
        invalidate) words='' options=' --namespace --all-namespaces --operation --model --tag --pattern --older-than --tier --context --dry-run --all' ;;
        stats) words='' options='' ;;
        health) words='' options='' ;;
        memory) words='' options='' ;;
        warnings) words='' options='' ;;
        slow) words='' options=' --multiplier' ;;
        top) words='' options=' --once' ;;
        export) words='' options=' --namespace --all-namespaces --operation --model --tag' files=-f ;;
        import) words='' options=' --warm --namespace' files=-f ;;
        warm) words='' options=' --namespace' files=-f ;;
        verify) words='' options=' --data-dir --secret-file' ;;
        replay) words='' options=' --namespace --answer-bytes --ttl --limit' files=-f ;;
        bench) words='' options=' --namespace --mode --duration --connections --threads --keys --bytes' ;;
        key) words='new ' options=' --namespace --admin --id' ;;
        config) words='presets recommend check ' options=' --preset --override' files=-f ;;
        completion) words='bash zsh' options='' ;;
        manual) words='' options='' ;;
        help) words='get put lookup explain delete list invalidate stats health memory warnings slow top export import warm verify replay bench key config completion manual help' options='' ;;
        esac
    fi
    [ -n "$value" ] || options+=' --url --unix --api-key --ca --timeout --json --help --version'
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    case $word in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
    @*) mapfile -t COMPREPLY < <(compgen -f -P @ -- "${word#@}") ;;
    *) [ -z "$files" ] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen "$files" -- "$word") ;;
    esac
}
complete -F _aicache aicache
