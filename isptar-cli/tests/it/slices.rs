//! Archives in slices, as a user meets them.

use crate::support::World;

/// Cuts a file into slices of any size, as `split` does, and removes it.
fn split(world: &World, name: &str, size: usize) {
    for (index, slice) in world.read(name).chunks(size).enumerate() {
        world.file(&format!("{name}.part{}", index + 1), slice);
    }
    std::fs::remove_file(world.path(name)).unwrap();
}

#[test]
fn what_is_cut_anywhere_reads_as_one() {
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let listed = world.run(&["ls", "-l", "a.tar.gz"]).with_status(0);
    split(&world, "a.tar.gz", 700);
    let again = world.run(&["ls", "-l", "a.tar.gz"]).with_status(0);
    assert_eq!((again.text(), &again.err), (listed.text(), &listed.err));
    world.run(&["verify", "-q", "a.tar.gz"]).with_status(0);
    let done = world.run(&["cat", "a.tar.gz", "tree/sub/b.conf"]).with_status(0);
    assert_eq!(done.text(), "0123456789");
    world.run(&["extract", "-q", "a.tar.gz", "-C", "target"]).with_status(0);
    assert_eq!(world.read("target/tree/a.txt"), b"first\n");
    world.run(&["diff", "-q", "a.tar.gz", "-C", "."]).with_status(0);
    let Some(done) = world.tool("tar", &["-czf", "foreign.tgz", "tree"], b"") else { return };
    done.with_status(0);
    split(&world, "foreign.tgz", 100);
    let done = world.run(&["cat", "foreign.tgz", "tree/a.txt"]).with_status(0);
    assert_eq!(done.text(), "first\n");
}
