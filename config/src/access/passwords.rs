//! The password file of mosquitto, as `mosquitto_passwd` writes it: `USER:$7$ITERATIONS$SALT$HASH` (PBKDF2 with
//! HMAC-SHA-512) or `USER:$6$SALT$HASH` (SHA-512 of password and salt), salt and hash in base64.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use ::base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::Engine as _;

use super::{MISTAKES_MAX, lines};
use crate::files::Place;
use crate::mistake::Mistake;
use crate::{HashMethod, Login, PasswordHash};

/// What one check may cost: about a second on a small board.
const ITERATIONS_MAX: u32 = 1_000_000;

const SALT_BYTES_MAX: usize = 64;

/// Both methods give as much as SHA-512.
const HASH_BYTES: usize = 64;

const HELP: &str = "write it with `mosquitto_passwd FILE USER`";

/// Reads a password file. Lines that are wrong are reported and left out.
pub(super) fn parse(file: usize, text: &str, mistakes: &mut Vec<Mistake>) -> Vec<Login> {
    let mut logins = Vec::new();
    let mut known: BTreeMap<&str, Place> = BTreeMap::new();
    for (line, span) in lines(text) {
        if mistakes.len() >= MISTAKES_MAX {
            break;
        }
        let place = Place::new(file, span);
        match login(line) {
            Ok((username, password)) => match known.get(username) {
                Some(first) => {
                    let mistake = Mistake::error(&place, format!("the user `{username}` is there twice"));
                    mistakes.push(mistake.label("again here").also(first, "first here"));
                }
                None => {
                    known.insert(username, place);
                    logins.push(Login { username: username.to_owned(), password });
                }
            },
            Err((message, help)) => mistakes.push(Mistake::error(&place, message).help(help)),
        }
    }
    logins
}

/// What is wrong with a line, and what to do about it.
type Wrong = (&'static str, &'static str);

fn login(line: &str) -> Result<(&str, PasswordHash), Wrong> {
    let (username, hash) = line.split_once(':').ok_or(("this line has no `:` behind the user name", HELP))?;
    if username.is_empty() {
        return Err(("this line has no user name", HELP));
    }
    let fields = hash.strip_prefix('$').ok_or((
        "this password is not hashed",
        "hash all passwords of the file with `mosquitto_passwd -U FILE`",
    ))?;
    Ok((username, password_hash(fields)?))
}

fn password_hash(fields: &str) -> Result<PasswordHash, Wrong> {
    let fields: Vec<&str> = fields.split('$').collect();
    let (method, salt, hash) = match *fields.as_slice() {
        ["6", salt, hash] => (HashMethod::Sha512, salt, hash),
        ["7", iterations, salt, hash] => (HashMethod::Pbkdf2(count(iterations)?), salt, hash),
        ["6" | "7", ..] => return Err(("this hash is cut short, or has too many parts", HELP)),
        _ => return Err(("this hash is neither `$6$` nor `$7$`", HELP)),
    };
    let salt = BASE64.decode(salt).ok().filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()));
    let hash = BASE64.decode(hash).ok().filter(|hash| hash.len() == HASH_BYTES);
    match (salt, hash) {
        (Some(salt), Some(hash)) => Ok(PasswordHash { method, salt, hash }),
        (None, _) => Err(("the salt is not 1 to 64 bytes in base64", HELP)),
        (_, None) => Err(("the hash is not 64 bytes in base64", HELP)),
    }
}

fn count(iterations: &str) -> Result<NonZeroU32, Wrong> {
    let count = iterations.parse().ok().filter(|count: &NonZeroU32| count.get() <= ITERATIONS_MAX);
    count.ok_or(("the iterations are not 1 to 1000000", HELP))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::HashMethod;
    use crate::mistake::Mistake;

    const HASH: &str =
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

    fn parsed(text: &str) -> (Vec<crate::Login>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let logins = parse(0, text, &mut mistakes);
        (logins, mistakes)
    }

    #[test]
    fn both_methods_are_read() {
        let text = format!("# users\n a b:$6$Zm9v${HASH}\n\nb:$7$101$Zm9vYg==${HASH}\r\n");
        let (logins, mistakes) = parsed(&text);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let found: Vec<_> =
            logins.iter().map(|login| (login.username.as_str(), login.password.method)).collect();
        assert_eq!(found, [("a b", HashMethod::Sha512), ("b", HashMethod::Pbkdf2(101.try_into().unwrap()))]);
        assert_eq!((logins[0].password.salt.as_slice(), logins[0].password.hash.len()), (&b"foo"[..], 64));
        assert!(!format!("{logins:?}").contains("102"), "no salt in a debug text");
    }

    #[test]
    fn what_is_wrong_is_said_line_by_line() {
        for (line, said) in [
            ("user", "no `:`"),
            (":$6$Zm9v$x", "no user name"),
            ("user:secret", "not hashed"),
            ("user:", "not hashed"),
            ("user:$6$Zm9v", "cut short"),
            ("user:$7$Zm9v$x", "cut short"),
            ("user:$argon2id$v=19$m=1$x$y", "neither"),
            ("user:$7$0$Zm9v$x", "iterations"),
            ("user:$7$1000001$Zm9v$x", "iterations"),
            ("user:$6$$x", "salt"),
            ("user:$6$Zm9$x", "salt"),
            ("user:$6$Zh==$x", "salt"),
            ("user:$6$Zm9v$Zm9v", "hash"),
        ] {
            let (logins, mistakes) = parsed(line);
            assert_eq!((logins.len(), mistakes.len()), (0, 1), "{line}");
            assert!(mistakes[0].message.contains(said), "{line}: {}", mistakes[0].message);
        }
        let (logins, mistakes) = parsed(&format!("u:$6$Zm9v${HASH}\nbad\nu:$6$Zm9v${HASH}\n"));
        assert_eq!((logins.len(), mistakes.len()), (1, 2));
        assert!(mistakes[1].message.contains("twice"));
        assert_eq!(parsed(&"bad\n".repeat(1000)).1.len(), 100);
    }
}
