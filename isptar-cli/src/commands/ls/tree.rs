//! A tree drawn by indentation.

use isptar_core::{EntryRef, KindRef};

use crate::output::{leads_to, plain_name};
use crate::ui::Look;

/// Draws a tree by indentation: whether a directory is the last one of its parent is not known
/// before all that is in it was listed, so there are no lines that join them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The components of the name drawn last.
    last: Vec<Vec<u8>>,
}

impl Tree {
    /// Returns the lines of an entry: its own, and those of directories above it that were not
    /// listed themselves.
    pub(super) fn lines(&mut self, entry: &EntryRef<'_>, look: Look) -> Vec<u8> {
        let name = plain_name(&entry.path);
        if name.is_root() {
            return b".\n".to_vec();
        }
        let parts: Vec<&[u8]> = name.as_bytes().split(|&byte| byte == b'/').collect();
        let known = parts.iter().zip(&self.last).take_while(|(part, last)| *part == last).count();
        // A name that stands twice, or a directory after its contents, is drawn again.
        let known = known.min(parts.len() - 1);
        let mut text = Vec::new();
        for (depth, part) in parts.iter().enumerate().skip(known) {
            text.resize(text.len() + 2 * depth, b' ');
            look.push(part, &mut text);
            if depth + 1 < parts.len() || entry.kind == KindRef::Directory {
                text.push(b'/');
            }
            if depth + 1 == parts.len()
                && let Some((words, target)) = leads_to(&entry.kind)
            {
                text.extend_from_slice(words.as_bytes());
                look.push(target, &mut text);
            }
            text.push(b'\n');
        }
        self.last = parts.iter().map(|part| part.to_vec()).collect();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::{Entry, Kind};

    #[test]
    fn trees_are_indented_and_complete() {
        let mut tree = Tree::default();
        let look = Look { terminal: false, color: false };
        let mut draw = |path: &str, kind| {
            let lines = tree.lines(&Entry::new(path.into(), kind).borrowed(), look);
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(draw(".", Kind::Directory), ".\n");
        assert_eq!(draw("a", Kind::Directory), "a/\n");
        assert_eq!(draw("a/b", Kind::File { size: 0 }), "  b\n");
        assert_eq!(draw("a/c/d", Kind::File { size: 0 }), "  c/\n    d\n");
        assert_eq!(draw("a/e", Kind::Symlink { target: b"b".to_vec() }), "  e -> b\n");
        assert_eq!(draw("./a/e/", Kind::Directory), "  e/\n");
    }
}
