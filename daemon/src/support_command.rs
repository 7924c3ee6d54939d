//! `tidegate support-bundle`: one text file with what somebody needs to see who is to help, and without secrets. It can be
//! read before it is sent.
//!
//! Settings are those in effect, which know where secrets are and not what they are. No password file, key, payload or
//! log is in it; of warnings the last ones are, which name clients and topics.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use tidegate_buffer::Stamp;
use tidegate_buffer::inspect::Inspector;
use tidegate_config::Config;

use crate::cli::SupportBundle;
use crate::control::{Answer, Request, ask};
use crate::exit::{Exit, Fatal};
use crate::{buffer_command, complain, remote, text};

/// Of a file of the system.
const SYSTEM_BYTES_MAX: usize = 16 << 10;

/// What the system says of itself.
const SYSTEM_FILES: [&str; 7] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/mounts",
    "/proc/sys/kernel/random/boot_id",
];

/// Runs the command and gives its exit code.
pub(crate) fn run(bundle: &SupportBundle) -> Result<ExitCode, Fatal> {
    let path = &bundle.out;
    let failed = |error| Fatal::new(Exit::Io, format!("{}: {error}", path.display()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text_of(&bundle.config).as_bytes()).map_err(failed)?;
    complain(&format!(
        "{}: read it before you send it; it has no passwords, keys or payloads, but names of hosts, clients and topics\n",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn text_of(config: &Path) -> String {
    let mut out = String::new();
    section(
        &mut out,
        "tidegate",
        &format!("version {}\nmade {}", env!("CARGO_PKG_VERSION"), text::time(Stamp::now().wall_ms)),
    );
    let (loaded, left_out) = remote::load_accepted(config);
    section(&mut out, "settings from the cloud", left_out.as_deref().unwrap_or("nothing is wrong with them"));
    let said = if loaded.report.is_empty() { "no mistakes".to_owned() } else { loaded.report.render(false) };
    section(&mut out, "tidegate check", &said);
    section(&mut out, "files", &files(config));
    if let Some(config) = &loaded.config {
        section(&mut out, "tidegate config show", &tidegate_config::to_toml(&config.effective()));
        section(&mut out, "rules", &rules(config));
        section(&mut out, "tidegate status", &status(&config.buffer.dir));
        section(&mut out, "tidegate buffer status", &buffer(&config.buffer.dir));
    }
    for path in SYSTEM_FILES {
        section(&mut out, path, &system(path));
    }
    out
}

fn section(out: &mut String, name: &str, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "===== {name} =====\n{}\n", text.trim_end());
}

/// Names, sizes, modes and times of what is read; not what is in it.
fn files(config: &Path) -> String {
    let folder = config.parent().unwrap_or(Path::new(""));
    let mut out = describe(config);
    for name in ["conf.d", "rules.d"] {
        let Ok(entries) = fs::read_dir(folder.join(name)) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        out.extend(paths.iter().map(|path| describe(path)));
    }
    out
}

fn describe(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(data) => {
            let (mode, owner, group) = (data.mode() & 0o7777, data.uid(), data.gid());
            let changed = text::time(data.mtime().saturating_mul(1000));
            format!(
                "{} {} bytes, mode {mode:04o}, owner {owner}:{group}, changed {changed}\n",
                path.display(),
                data.len()
            )
        }
        Err(error) => format!("{}: {error}\n", path.display()),
    }
}

fn rules(config: &Config) -> String {
    config.rules.iter().map(|rule| format!("{}\n", rule.rule.name())).collect()
}

fn status(dir: &Path) -> String {
    match ask(dir, &Request::Status) {
        Ok(Answer::Found(value)) => serde_json::to_string_pretty(&value).unwrap_or_default(),
        Ok(_) => "the gateway answered another question".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn buffer(dir: &Path) -> String {
    let shown = Inspector::open(dir).and_then(|mut inspector| inspector.status());
    let shown = shown.map(|status| buffer_command::status_text(dir, &status));
    let files = fs::read_dir(dir).map(|entries| {
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.iter().map(|path| describe(path)).collect::<String>()
    });
    let (shown, files) = (shown.unwrap_or_else(|error| error.to_string()), files.unwrap_or_default());
    format!("{shown}\n{files}")
}

fn system(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    text.get(..text.floor_char_boundary(SYSTEM_BYTES_MAX)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::text_of;

    /// Everywhere that somebody may have put one, by right or by mistake.
    #[test]
    fn no_secret_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let good = "gateway.id = 'plant-7'\nbuffer.dir = 'buffer'\naccess = { password_file = 'passwd' }\n\
            # SECRET-in-a-comment\n[[uplink]]\nname = 'a'\nurl = 'mqtt://broker'\nforward = ['#']\nusername = 'u'\n\
            password = { file = 'cloud-password' }\nproxy = { url = 'http://proxy', username = 'p', password = { env = 'PROXY' } }\n\
            [[uplink]]\nname = 'b'\nurl = 'mqtt://broker'\nforward = ['#']\nusername = 'u'\n\
            password = { command = ['/bin/token', '--key', 'SECRET-argument'] }\n";
        write("cloud-password", "SECRET-file");
        write("passwd", "u:$7$101$U0VDUkVULXNhbHQ=$U0VDUkVU\n");
        let config = folder.path().join("tidegate.toml");
        let mistakes = [
            good.to_owned(),
            good.replace("password = { file = 'cloud-password' }", "password = 'SECRET-plain'"),
            good.replace("mqtt://broker'", "mqtt://u:SECRET-url@broker'"),
            good.replace("'http://proxy'", "'http://p:SECRET-proxy@proxy'"),
        ];
        for text in mistakes {
            write("tidegate.toml", &text);
            write("passwd", "u:SECRET-unhashed\n");
            let bundle = text_of(&config);
            assert!(bundle.contains("===== tidegate check ====="), "{bundle}");
            for secret in ["SECRET", "U0VDUkVU"] {
                assert!(!bundle.contains(secret), "{secret} is in\n{bundle}");
            }
        }
        write("passwd", "");
        write("tidegate.toml", good);
        let bundle = text_of(&config);
        for said in
            ["no mistakes", "name = \"a\"", "no gateway is running", "route:#", "/bin/token", "mode 06"]
        {
            assert!(bundle.contains(said), "no {said:?} in\n{bundle}");
        }
        assert!(!bundle.contains("SECRET"), "{bundle}");
    }
}
