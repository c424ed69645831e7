//! The thin binary: everything is in the library.

fn main() {
    println!("postcall {}", env!("CARGO_PKG_VERSION"));
}
