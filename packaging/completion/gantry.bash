# Bash completion for gantry; goes to /usr/share/bash-completion/completions/gantry.
# The program knows its own flags: the script is made by the version that is installed.
eval "$(gantry completion bash 2>/dev/null)"
