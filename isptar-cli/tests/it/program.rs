//! What needs no archive: help, usage errors, completions, manual pages, opening what is not one.

use crate::support::World;

#[test]
fn help_goes_to_standard_output() {
    let world = World::new();
    let done = world.run(&["create", "--help"]).with_status(0);
    assert!(done.text().contains("Examples:") && done.err.is_empty());
    let done = world.run(&["--version"]).with_status(0);
    assert!(done.text().starts_with("isptar "));
}

#[test]
fn usage_errors_have_status_2() {
    let world = World::new();
    for args in [&["frobnicate"][..], &["create", "a"], &["cat", "a", "b", "--range", "9-1"]] {
        let done = world.run(args).with_status(2);
        assert!(done.out.is_empty() && !done.err.is_empty());
    }
    let done = world.run(&["create", "a", "b", "--exclude", "[z-a]"]).with_status(2);
    assert!(done.err.starts_with("isptar: error: bad pattern [z-a]: "), "{}", done.err);
    assert!(done.err.contains("\nisptar: hint: "), "{}", done.err);
}

#[test]
fn an_archive_that_is_not_there_is_named_with_the_reason() {
    let world = World::new();
    for command in ["ls", "info", "extract"] {
        let done = world.run(&[command, "gone.tar.gz"]).with_status(4);
        let expected = "isptar: error: cannot open gone.tar.gz: No such file or directory";
        assert!(done.err.starts_with(expected), "{}", done.err);
    }
    let done = world.run(&["ls", "."]).with_status(4);
    assert!(done.err.starts_with("isptar: error: cannot open .: is a directory"), "{}", done.err);
}

#[test]
fn colours_are_there_when_asked_for() {
    let world = World::new();
    let done = world.run(&["ls", "gone", "--color", "always"]).with_status(4);
    assert!(done.err.starts_with("isptar: \u{1b}[1;31merror:\u{1b}[0m "), "{:?}", done.err);
}

#[test]
fn completions_and_manual_pages_are_written() {
    let world = World::new();
    let done = world.run(&["completions", "bash"]).with_status(0);
    assert!(done.text().contains("isptar"));
    world.run(&["man", "man1"]).with_status(0);
    for page in ["isptar.1", "isptar-create.1", "isptar-ls.1", "isptar-cat.1"] {
        assert!(world.read(&format!("man1/{page}")).starts_with(b".ie"), "{page}");
    }
    let done = world.run(&["man"]).with_status(0);
    assert_eq!(done.out, world.read("man1/isptar.1"));
}
