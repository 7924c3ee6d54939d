//! The binary under test: the exit code of [`tidegate::main`], nothing more.

fn main() -> std::process::ExitCode {
    tidegate::main()
}
