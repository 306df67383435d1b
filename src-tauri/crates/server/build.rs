//! A fresh clone compiles without npm: an absent `ui/dist` is made, empty, so that there is a folder to embed.

use std::path::Path;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../ui/dist");
    if let Err(error) = std::fs::create_dir_all(&dist) {
        println!("cargo::warning=failed to make {}: {error}", dist.display());
    }
    // What is embedded must follow what was built.
    println!("cargo::rerun-if-changed={}", dist.display());
}
