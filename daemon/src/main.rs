//! The binary: the exit code of [`tidegate::main`], nothing more.

fn main() -> std::process::ExitCode {
    tidegate::main()
}
