//! The library as its users see it: archives written, read, damaged and restored.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod base;
mod chain;
mod chain_merge;
mod classic;
mod classic_walker;
mod classic_write;
mod damage;
mod delete;
mod diff;
mod dump;
mod extras;
mod faults;
mod forge;
mod hostile;
mod lies;
mod limits;
mod list;
mod methods;
mod open;
mod outside;
mod properties;
mod repair;
mod rewrite;
mod sources;
mod support;
mod testdata;
mod threads;
mod verify;
mod verify_threads;
mod write;

/// Every file beside this one is a module of it: a forgotten one would never run.
#[test]
fn every_file_is_a_module() {
    let main = include_str!("main.rs");
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("\nmod {module};\n")), "{name}");
    }
}
