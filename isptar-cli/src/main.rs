//! The isptar program.
fn main() {}
