# Fish completion for gantry; goes to /usr/share/fish/vendor_completions.d/gantry.fish.
# The program knows its own flags: the script is made by the version that is installed.
gantry completion fish 2>/dev/null | source
