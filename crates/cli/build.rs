//! How the program is linked.

fn main() {
    // At an address of its own: one that may lie anywhere has tens of thousands of addresses to write
    // down before it begins, a good part of what a build takes that finds everything in its cache.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rerun-if-changed=build.rs");
}
