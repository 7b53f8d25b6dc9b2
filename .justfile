# Short names for what people do often; `just` lists them.

_list:
    @just --list

# Everything CI checks.
ci:
    bash tests/run

# The quick half of it, while writing.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test --lib

# Writes the expected results of data cases, schemas and generated documentation anew.
update:
    BKPCTL_UPDATE=1 cargo test --lib --test it
