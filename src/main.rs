//! The thin binary: everything is in the library.

/// Many small values live from the door to the commit on different threads; mimalloc is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    postcall::cli::main()
}
