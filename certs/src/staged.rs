//! Writing files so that a crash leaves the old ones or the new ones. It must not know what is in
//! them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::permissions;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Audience {
    /// Only its owner (0600), from the moment that the file exists: keys and records.
    Owner,
    /// Whoever the process lets (its umask): certificates, requests and CRLs.
    Everybody,
}

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overwrite {
    /// They stay, and nothing is written. This is the default.
    #[default]
    Never,
    /// They are replaced.
    Replace,
}

/// Files that are written completely, in full and durably, before any of them takes its name.
///
/// Each file is first written beside its place, as `NAME.XXXXXXXX.new`, and made durable.
/// [`StagedFiles::commit`] then gives each its name, in the order in which they were added, each in
/// one step. So whoever looks, also after a crash, finds the old file or the new one, never half of
/// one. Of several files a crash may leave the first ones new and the others old; what is still to
/// be named then lies beside its place.
///
/// Dropping it without a commit removes what was staged.
#[derive(Debug)]
pub struct StagedFiles {
    overwrite: Overwrite,
    files: Vec<Staged>,
}

#[derive(Debug)]
struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Only the file beside the place exists.
    Beside,
    /// The new name exists, and nothing stood there before: a failure takes it back.
    Created,
    /// The new name replaced an older file, which is gone.
    Replaced,
}

impl StagedFiles {
    /// The end of the names of files that are not committed yet.
    pub const SUFFIX: &'static str = ".new";

    /// Starts with no files.
    #[must_use]
    pub const fn new(overwrite: Overwrite) -> Self {
        Self {
            overwrite,
            files: Vec::new(),
        }
    }

    /// Writes a file beside its place. Its folder is created if needed, for the owner only
    /// (0700).
    ///
    /// # Errors
    ///
    /// [`WriteError::Exists`] if the place is taken and nothing may be overwritten, and
    /// [`WriteError::Io`].
    pub fn add(&mut self, target: &Path, text: &str, audience: Audience) -> Result<(), WriteError> {
        if self.overwrite == Overwrite::Never && target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        let name = target.file_name().ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            failed(target, source)
        })?;
        let folder = folder_of(target);
        create_folder(folder).map_err(|source| failed(folder, source))?;
        let mut beside = name.to_owned();
        // A random part, so that two commands at once do not write into one file.
        beside.push(format!(".{:08x}{}", rand::random::<u32>(), Self::SUFFIX));
        let temporary = folder.join(beside);
        let opened = match audience {
            Audience::Owner => permissions::create_private(&temporary),
            Audience::Everybody => File::create_new(&temporary),
        };
        let mut file = opened.map_err(|source| failed(target, source))?;
        self.files.push(Staged {
            temporary,
            target: target.to_path_buf(),
            progress: Progress::Beside,
        });
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|source| failed(target, source))
    }

    /// Gives all files their names, and makes the names durable.
    ///
    /// # Errors
    ///
    /// [`WriteError`] names the file. Files that this call had created are removed again. If it had
    /// replaced some already, these stay new, and the rest stays beside its place.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let overwrite = self.overwrite;
        for file in &mut self.files {
            file.progress = file.take_its_name(overwrite)?;
        }
        for file in &self.files {
            let folder = folder_of(&file.target);
            permissions::sync_folder(folder).map_err(|source| failed(folder, source))?;
        }
        self.files.clear();
        Ok(())
    }
}

impl Staged {
    fn take_its_name(&self, overwrite: Overwrite) -> Result<Progress, WriteError> {
        let (temporary, target) = (&self.temporary, &self.target);
        let io = |source| failed(target, source);
        if overwrite == Overwrite::Replace {
            let progress = if target.symlink_metadata().is_ok() {
                Progress::Replaced
            } else {
                Progress::Created
            };
            fs::rename(temporary, target).map_err(io)?;
            return Ok(progress);
        }
        // A rename would replace a file that came meanwhile; a second name for the same file
        // fails if the place is taken.
        match fs::hard_link(temporary, target) {
            Ok(()) => fs::remove_file(temporary).map_err(io)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(exists(target));
            }
            // Some file systems have no second names. What is left is to look once more.
            Err(_) if target.symlink_metadata().is_ok() => return Err(exists(target)),
            Err(_) => fs::rename(temporary, target).map_err(io)?,
        }
        Ok(Progress::Created)
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        let is_torn = self
            .files
            .iter()
            .any(|file| file.progress == Progress::Replaced);
        for file in &self.files {
            let leftovers: &[&PathBuf] = match file.progress {
                // What was replaced is gone, so what belongs to its successor must not go too.
                Progress::Beside if is_torn => &[],
                Progress::Beside => &[&file.temporary],
                Progress::Created => &[&file.target],
                Progress::Replaced => &[],
            };
            for path in leftovers {
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!(
                        target: "quicraft::link",
                        file = %path.display(),
                        "a file that could not be finished is left behind: {error}"
                    );
                }
            }
        }
    }
}

/// Creates a folder and those above it, and makes their names durable: a file is not safe in a
/// folder that may be forgotten.
fn create_folder(folder: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for path in folder.ancestors() {
        if path.as_os_str().is_empty() || path.exists() {
            break;
        }
        missing.push(path);
    }
    permissions::create_folder(folder)?;
    for made in missing {
        permissions::sync_folder(folder_of(made))?;
    }
    Ok(())
}

/// The folder of a file; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> WriteError {
    WriteError::Exists {
        file: path.to_path_buf(),
    }
}

fn failed(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io {
        file: path.to_path_buf(),
        source,
    }
}

/// Why files cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file exists; it may be the key that a node uses.
    #[error("{} exists and is not overwritten; move it away first", file.display())]
    Exists {
        /// The path.
        file: PathBuf,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", file.display())]
    Io {
        /// The path.
        file: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_has_its_name_before_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let mut files = StagedFiles::new(Overwrite::Never);
        files.add(&one, "1", Audience::Owner).unwrap();
        files.add(&two, "2", Audience::Everybody).unwrap();
        assert!(!one.exists() && !two.exists());
        assert!(
            names(folder.path())
                .iter()
                .all(|name| name.ends_with(".new"))
        );
        files.commit().unwrap();
        assert_eq!(names(folder.path()), ["one", "two"]);
        assert_eq!(fs::read(&one).unwrap(), b"1");
    }

    #[test]
    fn a_drop_without_a_commit_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = StagedFiles::new(Overwrite::Replace);
        files
            .add(&folder.path().join("one"), "1", Audience::Owner)
            .unwrap();
        drop(files);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_file_that_came_meanwhile_stays_and_the_others_are_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let mut files = StagedFiles::new(Overwrite::Never);
        files.add(&one, "1", Audience::Owner).unwrap();
        files.add(&two, "2", Audience::Owner).unwrap();
        fs::write(&two, "theirs").unwrap();
        let refused = files.commit();
        assert!(matches!(refused, Err(WriteError::Exists { file }) if file == two));
        assert_eq!(names(folder.path()), ["two"]);
        assert_eq!(fs::read(&two).unwrap(), b"theirs");
    }

    #[test]
    fn what_belongs_to_a_replaced_file_stays_beside_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key"), folder.path().join("cert"));
        fs::write(&key, "old").unwrap();
        let mut files = StagedFiles::new(Overwrite::Replace);
        files.add(&key, "new", Audience::Owner).unwrap();
        files.add(&certificate, "new", Audience::Everybody).unwrap();
        // A folder cannot be replaced by a file.
        fs::create_dir(&certificate).unwrap();
        let refused = files.commit();
        assert!(matches!(refused, Err(WriteError::Io { file, .. }) if file == certificate));
        assert_eq!(fs::read(&key).unwrap(), b"new");
        let names = names(folder.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[1].starts_with("cert.") && names[1].ends_with(".new"));
    }

    #[test]
    fn folders_are_made_as_needed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c/file");
        let mut files = StagedFiles::new(Overwrite::Never);
        files.add(&deep, "1", Audience::Owner).unwrap();
        files.commit().unwrap();
        assert_eq!(fs::read(&deep).unwrap(), b"1");
    }

    #[test]
    fn replacing_gives_the_new_file_its_own_mode() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "old").unwrap();
        let mut refused = StagedFiles::new(Overwrite::Never);
        assert!(matches!(
            refused.add(&key, "new", Audience::Owner),
            Err(WriteError::Exists { .. })
        ));
        let mut files = StagedFiles::new(Overwrite::Replace);
        files.add(&key, "new", Audience::Owner).unwrap();
        assert_eq!(fs::read(&key).unwrap(), b"old");
        files.commit().unwrap();
        assert_eq!(fs::read(&key).unwrap(), b"new");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
