//! Files of variables: `.env` and `env_file`.

/// The variables of a file, in the order they are in. A name without a value has none of its own: it
/// is taken from the environment.
///
/// # Errors
/// The number of the line that is no variable.
pub fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, usize> {
    let mut variables = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (line, None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(number + 1);
        }
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

/// A value without its quotes, and without a comment behind it.
fn unquoted(value: &str) -> String {
    if let Some((text, _)) = value.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        return text.to_owned();
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut text = String::new();
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => return text,
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => {}
                },
                other => text.push(other),
            }
        }
        // Not closed: it is part of the value.
        return value.to_owned();
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_bare_names() {
        let text = "# first\nA=1\nexport B = two words # said\nC=\"x \\\"y\\\"\\n\" # z\nD='$raw'\nE\nF=\n";
        let parsed = parse(text).unwrap_or_default();
        let expected = [
            ("A", Some("1")),
            ("B", Some("two words")),
            ("C", Some("x \"y\"\n")),
            ("D", Some("$raw")),
            ("E", None),
            ("F", Some("")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(parsed, expected);
        assert_eq!(parse("A=1\nno variable\n"), Err(2));
    }
}
