# A menu over `cargo xtask` and the two scripts; nothing is decided here.

# Show this list.
default:
    @just --list

# Build, start a daemon, serve a page from a container.
quickstart:
    ./quickstart

# All checks and tests.
test:
    ./test

# The rules that need no build of the product.
tidy:
    cargo fmt --all --check
    cargo xtask tidy

# Generated documents.
docs:
    cargo xtask commands
    cargo xtask protocol

# Compare with another daemon.
bench peer:
    cargo xtask bench --peer {{ peer }}
