//! Prints `docs/configuration.md`; `cargo xtask codegen` writes it there.

fn main() {
    print!("{}", meta::config::reference());
}
