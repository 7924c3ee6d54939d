//! Finds the files, reads them, and puts what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::access::AccessFiles;
use crate::files::{Files, Place, lines_around};
use crate::merge::merge;
use crate::mistake::Mistake;
use crate::tree::{self, Table, Value};
use crate::{Config, Report, layer, read};

/// The largest file that is read. Larger ones are hardly settings, and would not fit a small gateway's memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The largest password file or access list that is read: some 60,000 users.
const ACCESS_FILE_BYTES_MAX: u64 = 8 << 20;

/// The most files of a folder that are read.
const FOLDER_FILES_MAX: usize = 1000;

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; `Some` if and only if the report has no errors.
    pub config: Option<Config>,
    /// Everything that is wrong.
    pub report: Report,
}

/// Settings that are laid over those of the files: what came through an uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// As a file of `conf.d` after all others. Reports call it `config`.
    pub config: String,
    /// As one more file of `rules.d`. Reports call it `rules`.
    pub rules: String,
}

/// As [`load`], with `layer` laid over the files. Two things a layer cannot have: `remote_config`, since who may send
/// settings is not decided by those who send them, and a `command` that gives a password, which would be a program of
/// theirs.
pub fn load_with(path: &Path, layer: &Layer) -> Loaded {
    load_on(path, Some(layer), host_name)
}

/// Reads the file at `path`, merges `conf.d/*.toml` beside it over it in the order of their names, and reads
/// `rules.d/*.toml`. Reports all mistakes of all files at once; files of more than 1 MiB are refused. Relative
/// paths in them are relative to the folder of `path`.
pub fn load(path: &Path) -> Loaded {
    load_on(path, None, host_name)
}

/// As [`load`], on a host of the given name.
pub(crate) fn load_on(
    path: &Path,
    layer: Option<&Layer>,
    host_name: impl FnOnce() -> Option<String>,
) -> Loaded {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut loader = Loader::default();
    let main = loader.add(path);
    let mut settings = loader.trees.remove(&main).unwrap_or_default();
    for file in loader.add_folder(&folder.join("conf.d")) {
        merge(&mut settings, loader.trees.remove(&file).unwrap_or_default());
    }
    if let Some(layer) = layer {
        let file = loader.add_text(Path::new("config"), layer.config.clone());
        let over = loader.trees.remove(&file).unwrap_or_default();
        layer::check(&over, &mut loader.mistakes);
        merge(&mut settings, over);
    }
    let mut rule_files = loader.add_folder(&folder.join("rules.d"));
    rule_files.extend(layer.map(|layer| loader.add_text(Path::new("rules"), layer.rules.clone())));
    let rule_files: Vec<(Place, Table)> = rule_files
        .into_iter()
        .map(|file| (Place::whole(file), loader.trees.remove(&file).unwrap_or_default()))
        .collect();
    let access = loader.add_access(&settings, folder);
    let mut mistakes = Vec::new();
    let input = read::Input {
        files: &loader.files,
        main,
        folder,
        settings: &settings,
        rule_files: &rule_files,
        access: &access,
    };
    // A file that could not be read makes no further mistakes.
    let config =
        if loader.main_is_read(main) { read::config(&input, host_name, &mut mistakes) } else { None };
    loader.add_mistakes(mistakes);
    let report = Report::new(loader.files, loader.mistakes);
    Loaded { config: config.filter(|_| report.errors() == 0), report }
}

/// The name of this host, as it was set, or else as it is now.
fn host_name() -> Option<String> {
    let read = |path| {
        fs::read_to_string(path).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    };
    read("/etc/hostname").or_else(|| read("/proc/sys/kernel/hostname"))
}

#[derive(Default)]
struct Loader {
    files: Files,
    /// What files hold, by their index.
    trees: BTreeMap<usize, Table>,
    /// Files that cannot be read, and TOML that is none.
    mistakes: Vec<Mistake>,
}

impl Loader {
    /// Reads one file.
    fn add(&mut self, path: &Path) -> usize {
        match read_text(path, FILE_BYTES_MAX) {
            Ok(text) => self.add_text(path, text),
            Err(message) => self.add_unread(path, message),
        }
    }

    /// Takes what stands in a file, or would.
    fn add_text(&mut self, path: &Path, text: String) -> usize {
        let file = self.files.add(path, Some(text));
        let tree = tree::parse(&self.files, file, &mut self.mistakes);
        hide_passwords(&mut self.files, &tree);
        self.trees.insert(file, tree);
        file
    }

    /// Reads the `.toml` files of a folder, which need not be there, in the order of their names.
    fn add_folder(&mut self, folder: &Path) -> Vec<usize> {
        let paths = match toml_files(folder) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                return vec![self.add_unread(folder, format!("this folder cannot be read: {error}"))];
            }
        };
        if paths.len() > FOLDER_FILES_MAX {
            return vec![
                self.add_unread(folder, format!("a folder may have at most {FOLDER_FILES_MAX} files")),
            ];
        }
        paths.iter().map(|path| self.add(path)).collect()
    }

    /// Reads each password file and access list that the settings name, once.
    fn add_access(&mut self, settings: &Table, folder: &Path) -> AccessFiles {
        let mut access = AccessFiles::default();
        for (path, kind) in access_paths(settings) {
            let path = folder.join(path);
            match kind {
                AccessKind::Passwords if !access.has_logins(&path) => {
                    let file = self.add_plain(&path);
                    access.add_logins(&path, file, &mut self.files, &mut self.mistakes);
                }
                AccessKind::Acl if !access.has_acl(&path) => {
                    let file = self.add_plain(&path);
                    access.add_acl(&path, file, &self.files, &mut self.mistakes);
                }
                _ => {}
            }
        }
        access
    }

    /// Reads a file that is not TOML.
    fn add_plain(&mut self, path: &Path) -> usize {
        match read_text(path, ACCESS_FILE_BYTES_MAX) {
            Ok(text) => self.files.add(path, Some(text)),
            Err(message) => self.add_unread(path, message),
        }
    }

    fn add_unread(&mut self, path: &Path, message: String) -> usize {
        let file = self.files.add(path, None);
        self.mistakes.push(Mistake::error(&Place::whole(file), message));
        file
    }

    fn main_is_read(&self, main: usize) -> bool {
        self.files.paths().next().is_some_and(|first| first == self.files.path(main))
    }

    /// Adds what is wrong with settings, except where the file is no TOML: what is read there is a guess.
    fn add_mistakes(&mut self, mistakes: Vec<Mistake>) {
        let broken: BTreeSet<(usize, usize)> =
            self.mistakes.iter().flat_map(|mistake| self.broken_lines(&mistake.place)).collect();
        let is_guess = |mistake: &Mistake| {
            let file = mistake.place.file;
            let Some(span) = &mistake.place.span else { return false };
            let lines = lines_around(self.files.text(file), span);
            let is_broken = broken.range((file, lines.start)..=(file, lines.end)).next().is_some();
            // The parser gives a value that is missing no place.
            is_broken || (*span == (0..0) && broken.range((file, 0)..(file + 1, 0)).next().is_some())
        };
        let mistakes: Vec<Mistake> = mistakes.into_iter().filter(|mistake| !is_guess(mistake)).collect();
        self.mistakes.extend(mistakes);
    }

    /// Where lines begin that cannot be trusted: that of the mistake, and if it is a header those below it, up to the
    /// next.
    fn broken_lines(&self, place: &Place) -> Vec<(usize, usize)> {
        let text = self.files.text(place.file);
        let Some(span) = &place.span else { return Vec::new() };
        let line = lines_around(text, &(span.start..span.start));
        let mut broken = vec![(place.file, line.start)];
        if !text.get(line.clone()).is_some_and(is_header) {
            return broken;
        }
        let mut start = line.end + 1;
        for line in text.get(start..).unwrap_or_default().split('\n').take_while(|line| !is_header(line)) {
            broken.push((place.file, start));
            start += line.len() + 1;
        }
        broken
    }
}

#[derive(Clone, Copy)]
enum AccessKind {
    Passwords,
    Acl,
}

/// The files that `[access]` and the `access` of listeners name.
fn access_paths(settings: &Table) -> Vec<(&str, AccessKind)> {
    let mut tables: Vec<&Table> = access_table(settings).into_iter().collect();
    if let Some(Value::Array(listeners)) = settings.get("listener").map(|entry| &entry.node.value) {
        tables.extend(listeners.iter().filter_map(|node| match &node.value {
            Value::Table(listener) => access_table(listener),
            _ => None,
        }));
    }
    let kinds = [("password_file", AccessKind::Passwords), ("acl_file", AccessKind::Acl)];
    let paths = tables.into_iter().flat_map(|table| {
        kinds.into_iter().filter_map(|(key, kind)| match &table.get(key)?.node.value {
            Value::Text(path) if !path.is_empty() => Some((path.as_str(), kind)),
            _ => None,
        })
    });
    paths.collect()
}

fn access_table(table: &Table) -> Option<&Table> {
    match &table.get("access")?.node.value {
        Value::Table(access) => Some(access),
        _ => None,
    }
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

fn toml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let failed = |error: io::Error| format!("this file cannot be read: {error}");
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err("this is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("a file of this kind may have at most {} MiB", bytes_max >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!("this file is not UTF-8 text, from line {line} on")
    })
}

/// A password that somebody wrote into a file is a mistake, and must not get into a log with it.
fn is_secret(key: &str, text: &str) -> bool {
    key == "password" || (["url", "urls", "proxy"].contains(&key) && text.contains('@'))
}

/// See [`is_secret`].
fn hide_passwords(files: &mut Files, table: &Table) {
    for (key, entry) in table {
        match &entry.node.value {
            Value::Text(text) if is_secret(key, text) => files.hide(&entry.node.place),
            Value::Table(table) => hide_passwords(files, table),
            Value::Array(nodes) => {
                for node in nodes {
                    match &node.value {
                        Value::Table(table) => hide_passwords(files, table),
                        Value::Text(text) if is_secret(key, text) => files.hide(&node.place),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
