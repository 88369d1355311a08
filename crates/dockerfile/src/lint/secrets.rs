//! Names that speak of secrets.

const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that take the suspicion away: a public key, the file a password is in, a module version.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name is likely to hold a secret: one of the words between its
/// underscores says so, and none says otherwise.
pub fn is_secret_name(name: &str) -> bool {
    let has = |words: &[&str]| {
        name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_and_not_letters() {
        for name in ["SUPER_Secret", "password", "git_key", "AWS_ACCESS_KEY_ID", "auth"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["sunflower", "MONKEY", "PUBLIC_KEY", "password_file", "AUTH_MODULE_VERSION"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
