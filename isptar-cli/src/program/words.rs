//! The words of a command line that a user gave as one text: quotes as in a shell, and no shell.

/// Why a text is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCommand {
    /// There is nothing in it to be run.
    #[error("the command is empty")]
    Empty,
    /// A quote is opened and not closed.
    #[error("a {0} is opened and not closed")]
    OpenQuote(char),
    /// It ends with a backslash, which takes what follows it literally.
    #[error("nothing follows the backslash at the end")]
    Backslash,
}

/// Splits a text into words at blanks. Single quotes take everything literally; in double quotes a
/// backslash does that to `"` and `\`, outside to any byte. Nothing else has a meaning: no
/// variables, no patterns, no pipes.
pub(super) fn split(text: &[u8]) -> Result<Vec<Vec<u8>>, BadCommand> {
    let mut words = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        if bytes.peek().is_none() {
            break;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'\'' => single(&mut bytes, &mut word)?,
                b'"' => double(&mut bytes, &mut word)?,
                b'\\' => word.push(bytes.next().ok_or(BadCommand::Backslash)?),
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
    if words.first().is_none_or(Vec::is_empty) {
        return Err(BadCommand::Empty);
    }
    Ok(words)
}

fn single(bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<(), BadCommand> {
    loop {
        match bytes.next().ok_or(BadCommand::OpenQuote('\''))? {
            b'\'' => return Ok(()),
            byte => word.push(byte),
        }
    }
}

fn double(bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<(), BadCommand> {
    let open = BadCommand::OpenQuote('"');
    loop {
        match bytes.next().ok_or(open)? {
            b'"' => return Ok(()),
            b'\\' => match bytes.next().ok_or(open)? {
                byte @ (b'"' | b'\\') => word.push(byte),
                byte => word.extend([b'\\', byte]),
            },
            byte => word.push(byte),
        }
    }
}

/// Returns a word with the values in the place of their names in braces. What is in a value stays
/// as it is, and so do braces around anything that is no name.
pub(super) fn fill(word: &[u8], values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        let found = values.iter().find_map(|(name, value)| {
            let after = tail.strip_prefix(name.as_bytes())?.strip_prefix(b"}")?;
            (byte == b'{').then_some((value, after))
        });
        match found {
            Some((value, after)) => {
                filled.extend_from_slice(value);
                rest = after;
            }
            None => {
                filled.push(byte);
                rest = tail;
            }
        }
    }
    filled
}

/// Returns words as one line of which [`split`] makes the same words; for messages.
pub(super) fn join(words: &[Vec<u8>]) -> String {
    let quoted = words.iter().map(|word| {
        let text = String::from_utf8_lossy(word).into_owned();
        let plain = |byte: char| byte.is_alphanumeric() || "-_./=:,+@%{}".contains(byte);
        match !text.is_empty() && text.chars().all(plain) {
            true => text,
            false => format!("'{}'", text.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, BadCommand> {
        let words = split(text.as_bytes())?;
        Ok(words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect())
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_hold_them_together() {
        for (text, expected) in [
            ("a", vec!["a"]),
            ("  a\tb\nc ", vec!["a", "b", "c"]),
            ("a '' \"\"", vec!["a", "", ""]),
            ("sh -c 'a \"b\" \\ $x'", vec!["sh", "-c", "a \"b\" \\ $x"]),
            (r#"a "b 'c' \" \\ \n $d""#, vec!["a", r#"b 'c' " \ \n $d"#]),
            (r"a\ b \'c\' \\", vec!["a b", "'c'", r"\"]),
            ("pre'fix 'post", vec!["prefix post"]),
            ("a | b > c # d; $(e) *", vec!["a", "|", "b", ">", "c", "#", "d;", "$(e)", "*"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_end_or_no_program_is_refused() {
        assert_eq!(words("  "), Err(BadCommand::Empty));
        assert_eq!(words("'' a"), Err(BadCommand::Empty));
        assert_eq!(words("a 'b"), Err(BadCommand::OpenQuote('\'')));
        assert_eq!(words("a \"b\\"), Err(BadCommand::OpenQuote('"')));
        assert_eq!(words("a b\\"), Err(BadCommand::Backslash));
    }

    #[test]
    fn values_take_the_place_of_their_names_and_stay_as_they_are() {
        let values = [("path", b"-a 'b'\n{name}".to_vec()), ("name", b"n".to_vec())];
        let filled = |word: &str| String::from_utf8(fill(word.as_bytes(), &values)).unwrap();
        assert_eq!(filled("{path}"), "-a 'b'\n{name}");
        assert_eq!(filled("to={name}/{name}.x"), "to=n/n.x");
        assert_eq!(filled("{print $1} {} {na me} {name"), "{print $1} {} {na me} {name");
        assert_eq!(filled("{{name}}"), "{n}");
    }

    #[test]
    fn joined_words_are_the_same_words_again() {
        for text in ["a b", "sh -c 'x y' \"it's\" ''", "a '\n'"] {
            let words = split(text.as_bytes()).unwrap();
            assert_eq!(split(join(&words).as_bytes()).unwrap(), words, "{text}");
        }
        assert_eq!(join(&split(b"a b/c.d 'e f'").unwrap()), "a b/c.d 'e f'");
    }
}
