//! Passwords against the hashes of a password file.
//!
//! A check costs milliseconds by design, so it is made on a thread of its own, one at a time: an attack costs one core
//! at most, and never the one that serves.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use ring::{digest, pbkdf2};
use tidegate_config::{HashMethod, Login, PasswordHash};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The users of a password file.
pub(crate) struct Passwords {
    by_name: Arc<HashMap<Box<str>, PasswordHash>>,
    /// What an unknown user's password is compared with, so that the time of an answer tells no names.
    nobody: PasswordHash,
}

impl Passwords {
    pub(crate) fn new(logins: &[Login]) -> Passwords {
        let method =
            logins.first().map_or(HashMethod::Pbkdf2(NonZeroU32::MIN), |login| login.password.method);
        let by_name =
            logins.iter().map(|login| (login.username.as_str().into(), login.password.clone())).collect();
        Passwords {
            by_name: Arc::new(by_name),
            nobody: PasswordHash { method, salt: vec![0; 12], hash: vec![0; digest::SHA512_OUTPUT_LEN] },
        }
    }

    /// What a user's password has to give.
    pub(crate) fn hash(&self, username: &str) -> Option<&PasswordHash> {
        self.by_name.get(username)
    }

    /// Whether this is the user's password. `turns` bounds how many are checked at a time.
    pub(crate) async fn check(&self, turns: &Semaphore, username: &str, password: &[u8]) -> bool {
        let known = self.by_name.get(username);
        let is_known = known.is_some();
        let (hash, password) = (known.unwrap_or(&self.nobody).clone(), password.to_vec());
        let Ok(_turn) = turns.acquire().await else { return false };
        spawn_blocking(move || is_password(&hash, &password)).await.unwrap_or(false) && is_known
    }
}

fn is_password(hash: &PasswordHash, password: &[u8]) -> bool {
    match hash.method {
        HashMethod::Pbkdf2(iterations) => {
            pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &hash.salt, password, &hash.hash).is_ok()
        }
        HashMethod::Sha512 => {
            let mut context = digest::Context::new(&digest::SHA512);
            context.update(password);
            context.update(&hash.salt);
            are_equal(context.finish().as_ref(), &hash.hash)
        }
    }
}

/// Compares in a time that does not depend on where the difference is.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let difference =
        one.iter().zip(other).fold(0, |difference, (one, other)| black_box(difference | (one ^ other)));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ring::{digest, pbkdf2};
    use tidegate_config::{HashMethod, Login, PasswordHash};
    use tokio::sync::Semaphore;

    use super::{Passwords, are_equal};

    fn logins() -> [Login; 2] {
        let iterations = NonZeroU32::new(101).unwrap();
        let mut derived = vec![0; 64];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, b"salt", b"seven", &mut derived);
        let digest = digest::digest(&digest::SHA512, b"sixsalt");
        let login = |username: &str, method, hash: &[u8]| Login {
            username: username.to_owned(),
            password: PasswordHash { method, salt: b"salt".to_vec(), hash: hash.to_vec() },
        };
        [
            login("seven", HashMethod::Pbkdf2(iterations), &derived),
            login("six", HashMethod::Sha512, digest.as_ref()),
        ]
    }

    #[test]
    fn only_the_right_password_of_a_known_user() {
        let passwords = Passwords::new(&logins());
        let turns = Semaphore::new(1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (username, password, right) in [
            ("seven", "seven", true),
            ("six", "six", true),
            ("seven", "six", false),
            ("six", "seven", false),
            ("six", "sixs", false),
            ("seven", "", false),
            ("eight", "eight", false),
            ("", "", false),
        ] {
            let found = runtime.block_on(passwords.check(&turns, username, password.as_bytes()));
            assert_eq!(found, right, "{username} {password}");
        }
    }

    #[test]
    fn equal_is_equal() {
        for (one, other, equal) in
            [("", "", true), ("ab", "ab", true), ("ab", "ac", false), ("ab", "abc", false)]
        {
            assert_eq!(are_equal(one.as_bytes(), other.as_bytes()), equal, "{one} {other}");
        }
    }
}
