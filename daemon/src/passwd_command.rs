//! `tidegate passwd`: users of a password file in mosquitto's format. The file is replaced as a whole, so that a gateway
//! that reads it meanwhile, or a power cut, finds the old one or the new one.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::Passwd;
use crate::complain;
use crate::exit::{Exit, Fatal};

/// As `mosquitto_passwd` has it, and what every version of mosquitto reads.
const SALT_BYTES: usize = 12;
const HASH_BYTES: usize = 64;
/// MQTT counts the bytes of a password with 16 bits (MQTT 5.0, 3.1.3.6).
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Runs the command and gives its exit code.
pub(crate) fn run(passwd: &Passwd) -> Result<ExitCode, Fatal> {
    let Passwd { file, user, delete, iterations } = passwd;
    check_user(user).map_err(|error| Fatal::new(Exit::Usage, error))?;
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !delete => String::new(),
        Err(error) => return Err(Fatal::new(Exit::NoInput, format!("{}: {error}", file.display()))),
    };
    let (new, done) = if *delete {
        let new = without(&text, user);
        (new.ok_or_else(|| Fatal::new(Exit::NoInput, format!("there is no user `{user}`")))?, "deleted")
    } else {
        let password = read_password().map_err(|error| Fatal::new(Exit::NoInput, error))?;
        with(&text, user, &hashed(&password, *iterations)?)
    };
    replace(file, &new).map_err(|error| Fatal::new(Exit::Io, format!("{}: {error}", file.display())))?;
    complain(&format!("user {user} {done}; `tidegate reload` has a running gateway read it\n"));
    Ok(ExitCode::SUCCESS)
}

/// What the file, and CONNECT, cannot have in a name.
fn check_user(user: &str) -> Result<(), String> {
    let is_wrong = |c: char| c == ':' || c.is_control();
    if user.is_empty() || user.trim() != user || user.starts_with('#') || user.contains(is_wrong) {
        return Err(format!(
            "`{}` cannot be a user name: it is empty, or has `:` or a control character, or begins with `#`, or blanks are around it",
            user.escape_debug()
        ));
    }
    Ok(())
}

/// The user of a line; comments have none.
fn user_of(line: &str) -> Option<&str> {
    let line = line.trim();
    line.split_once(':').map(|(user, _)| user).filter(|_| !line.starts_with('#'))
}

/// The text with this user's line replaced, or added at its end, and what that is called.
fn with(text: &str, user: &str, hash: &str) -> (String, &'static str) {
    let new = format!("{user}:{hash}");
    let is_there = text.lines().any(|line| user_of(line) == Some(user));
    let lines = text.lines().map(|line| if user_of(line) == Some(user) { &new } else { line });
    let lines: Vec<&str> = lines.chain((!is_there).then_some(new.as_str())).collect();
    (lines.join("\n") + "\n", if is_there { "changed" } else { "added" })
}

/// The text without this user; `None` if there is none.
fn without(text: &str, user: &str) -> Option<String> {
    let left: String = text.split_inclusive('\n').filter(|line| user_of(line) != Some(user)).collect();
    (left.len() < text.len()).then_some(left)
}

/// `$7$ITERATIONS$SALT$HASH`: PBKDF2 with HMAC-SHA-512, and a salt of its own.
fn hashed(password: &[u8], iterations: NonZeroU32) -> Result<String, Fatal> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Fatal::new(Exit::Os, "the system gives no random numbers"))?;
    let mut hash = [0; HASH_BYTES];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &salt, password, &mut hash);
    Ok(format!("$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

/// Twice from a terminal, without showing it; otherwise the first line of standard input.
fn read_password() -> Result<Vec<u8>, String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = ask("password: ")?;
        if ask("the same again: ")? != first {
            return Err("the two are not the same; nothing was changed".to_owned());
        }
        first
    } else {
        line(&mut stdin.lock()).map_err(|error| format!("standard input: {error}"))?
    };
    match password.len() {
        0 => Err("the password is empty; nothing was changed".to_owned()),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => Err(format!("a password has at most {PASSWORD_BYTES_MAX} bytes")),
    }
}

fn ask(prompt: &str) -> Result<Vec<u8>, String> {
    complain(prompt);
    let stdin = io::stdin();
    let terminal = |error| format!("the terminal: {error}");
    let before = tcgetattr(&stdin).map_err(terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(terminal)?;
    let password = line(&mut stdin.lock());
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(terminal)?;
    complain("\n");
    password.map_err(|error| format!("the terminal: {error}"))
}

fn line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::Read::take(input, PASSWORD_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|last| [b'\n', b'\r'].contains(last)) {
        line.pop();
    }
    Ok(line)
}

/// Puts a new file in the place of the old one, with its permissions and its owner; a first one is this user's alone.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let old = fs::metadata(&path).ok();
    let new = temporary(&path);
    let written = write(&new, text, old.as_ref()).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn write(path: &Path, text: &str, old: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{check_user, hashed, line, replace, with, without};

    #[test]
    fn one_line_changes_and_the_others_stay_as_they_are() {
        let text = "# users\n\n a:$7$x\nb:$6$y\n#b:old\n";
        assert_eq!(with(text, "b", "H"), ("# users\n\n a:$7$x\nb:H\n#b:old\n".to_owned(), "changed"));
        assert_eq!(with(text, "a", "H"), ("# users\n\na:H\nb:$6$y\n#b:old\n".to_owned(), "changed"));
        assert_eq!(with("a:x", "c", "H"), ("a:x\nc:H\n".to_owned(), "added"));
        assert_eq!(with("", "c", "H"), ("c:H\n".to_owned(), "added"));
        assert_eq!(without(text, "b").as_deref(), Some("# users\n\n a:$7$x\n#b:old\n"));
        assert_eq!(without(text, "c"), None);
        assert_eq!(without(text, "# users"), None);
    }

    #[test]
    fn names_that_the_file_cannot_have_are_refused() {
        for name in ["", "a:b", "#a", " a", "a\n", "a\0"] {
            assert!(check_user(name).is_err(), "{name:?}");
        }
        assert_eq!(check_user("pump 7, hall é"), Ok(()));
    }

    #[test]
    fn two_hashes_of_a_password_differ_in_all_but_their_form() {
        let iterations = 7.try_into().unwrap();
        let [one, other] = [(); 2].map(|()| hashed(b"secret", iterations).unwrap());
        assert_ne!(one, other);
        let fields: Vec<&str> = one.split('$').collect();
        assert_eq!(
            (fields.len(), fields[1], fields[2], fields[3].len(), fields[4].len()),
            (5, "7", "7", 16, 88)
        );
    }

    #[test]
    fn a_line_ends_where_a_terminal_ends_it() {
        for (input, expected) in [("a b\n", "a b"), ("a\r\nb", "a"), ("a", "a"), ("", "")] {
            assert_eq!(line(&mut input.as_bytes()).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn the_new_file_is_as_open_as_the_old_one_and_a_first_one_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, "a:x\n").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, "b:y\n").unwrap();
        assert_eq!((mode(), fs::read_to_string(&path).unwrap().as_str()), (0o640, "b:y\n"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
        assert!(replace(&folder.path().join("none/passwd"), "").is_err());
    }
}
