//! Tells the crate whether it is compiled without optimization, which `cfg(debug_assertions)` does not say: a profile may
//! turn on either without the other.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    // The level of this package in the profile of the build, overrides for single packages included.
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
        println!("cargo::rustc-cfg=unoptimized");
    }
}
