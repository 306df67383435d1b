//! Tauri's build step. A fresh clone compiles without npm: an absent panel is made, empty.

use std::path::Path;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/dist");
    let page = dist.join("index.html");
    if !page.exists() {
        let absent = "<!doctype html><meta charset=\"utf-8\"><title>Flotilla</title><p>This build of Flotilla has no panel inside. \
                      <code>cargo xtask run</code> builds it and opens it.";
        if let Err(error) =
            std::fs::create_dir_all(&dist).and_then(|()| std::fs::write(&page, absent))
        {
            println!("cargo::warning=failed to make {}: {error}", page.display());
        }
    }
    // What is embedded must follow what was built.
    println!("cargo::rerun-if-changed={}", dist.display());
    tauri_build::build();
}
