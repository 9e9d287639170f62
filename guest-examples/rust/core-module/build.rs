//! Tells the linker to leave out its last step, in which it would make a component.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo:rustc-link-arg=--skip-wit-component");
    }
}
