//! The binary `onsale`: a thin shell over the library.

/// Worth a fifth of the throughput at a thousand connections.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    onsale::cli::main()
}
