//! Watches the files of a project and says when a change makes the module out of date.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};

use crate::cmd::dev::watched::Watched;
use crate::failure::{Done, Failure};
use crate::project::Project;

/// Quiet time after which a burst of changes is over: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is not waited for any longer.
const BURST_MAX: Duration = Duration::from_millis(500);
/// Paths noted before they are looked at; more changes at once are one change of everything.
const NOTED_MAX: usize = 4_096;
/// Folders that are watched: each costs one of the kernel's watches, of which a user has as few as 8,192.
const FOLDERS_MAX: usize = 4_096;
/// Files whose content is remembered; it is forgotten beyond that, which costs one build too many.
const REMEMBERED_MAX: usize = 4_096;
/// A larger file is told from another by its length and time, not by reading it.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What makes a build necessary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What has changed; never nothing.
    pub paths: BTreeSet<PathBuf>,
    /// Whether that was while the build ran, or just after: it may be what the build writes.
    pub is_of_build: bool,
}

impl Change {
    /// One of them, to be named.
    pub fn first(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// How long after a build what it has written is still told of.
const OF_BUILD_GRACE: Duration = Duration::from_millis(200);

/// What has happened and has not been looked at yet.
#[derive(Default)]
pub struct Noted {
    inner: Mutex<Inner>,
    grown: Condvar,
}

#[derive(Default)]
struct Inner {
    paths: BTreeSet<PathBuf>,
    /// Counts events, to see whether there are new ones.
    events: u64,
    stopped: bool,
}

impl Noted {
    /// Ends the waiting.
    pub fn stop(&self) {
        self.inner.lock().stopped = true;
        self.grown.notify_all();
    }

    fn note(&self, event: notify::Event) {
        // Builds read files all the time.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let mut inner = self.inner.lock();
        inner.events += 1;
        for path in event.paths {
            if inner.paths.len() < NOTED_MAX {
                inner.paths.insert(path);
            }
        }
        self.grown.notify_all();
    }

    /// Waits for a burst of changes and its end. `None` if stopped, or if there is none by `deadline`.
    fn burst(&self, deadline: Option<Instant>) -> Option<BTreeSet<PathBuf>> {
        let mut inner = self.inner.lock();
        while inner.paths.is_empty() {
            if inner.stopped {
                return None;
            }
            match deadline {
                None => self.grown.wait(&mut inner),
                Some(deadline) if self.grown.wait_until(&mut inner, deadline).timed_out() => return None,
                Some(_) => {}
            }
        }
        let begun = Instant::now();
        loop {
            let events = inner.events;
            self.grown.wait_for(&mut inner, QUIET);
            if inner.stopped {
                return None;
            }
            if inner.events == events || begun.elapsed() > BURST_MAX {
                return Some(std::mem::take(&mut inner.paths));
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.inner.lock().stopped
    }
}

/// The changes of one project.
pub struct Changes {
    noted: Arc<Noted>,
    watcher: RecommendedWatcher,
    watched: Watched,
    folders: HashSet<PathBuf>,
    /// What each changed file held when it was last looked at.
    remembered: HashMap<PathBuf, u64>,
}

impl Changes {
    /// Begins to watch `project`.
    pub fn of(project: &Project, noted: Arc<Noted>) -> Done<Self> {
        let told = noted.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error is about events that were lost; the next change is seen again.
            if let Ok(event) = event {
                told.note(event);
            }
        });
        let watcher = watcher.map_err(|error| unwatchable(project.folder(), &error))?;
        let watched = Watched::of(project)?;
        let mut changes =
            Self { noted, watcher, watched, folders: HashSet::new(), remembered: HashMap::new() };
        changes.watch_all()?;
        Ok(changes)
    }

    /// Goes by what the project says now.
    pub fn follow(&mut self, project: &Project) -> Done {
        let watched = Watched::of(project)?;
        if watched != self.watched {
            self.watched = watched;
            self.watch_all()?;
        }
        Ok(())
    }

    /// Waits for the next change; `None` when it is told to stop.
    ///
    /// A change from the time of the build just ended may be the build's own doing: it counts only if the file
    /// holds something it did not hold before, so that a build that writes what it watches comes to rest. Of files that each
    /// build writes anew, `own`, it does not count at all.
    pub fn next(&mut self, own: &BTreeSet<PathBuf>) -> Done<Option<Change>> {
        let built = Instant::now();
        let mut since_build = self.noted.burst(Some(built + QUIET));
        while !self.noted.is_stopped() {
            let (paths, is_of_build) = match since_build.take() {
                Some(paths) => (paths, true),
                None => match self.noted.burst(None) {
                    Some(paths) => (paths, built.elapsed() < OF_BUILD_GRACE + QUIET),
                    None => return Ok(None),
                },
            };
            let mut paths = self.look_at(paths, is_of_build)?;
            if is_of_build {
                paths.retain(|path| !own.contains(path));
            }
            if !paths.is_empty() {
                return Ok(Some(Change { paths, is_of_build }));
            }
        }
        Ok(None)
    }

    /// Those of `paths` that make a build necessary.
    fn look_at(&mut self, paths: BTreeSet<PathBuf>, is_of_build: bool) -> Done<BTreeSet<PathBuf>> {
        let mut changed = BTreeSet::new();
        for path in paths {
            if path.is_dir() && self.watched.leads_to_watched(&path) {
                // One of the same name may have been watched and removed.
                self.folders.remove(&path);
                self.watch_below(&path)?;
            }
            if self.watched.covers(&path) && (self.is_news(&path) || !is_of_build) {
                changed.insert(path);
            }
        }
        Ok(changed)
    }

    /// Whether `path` holds something else than when this was last asked.
    fn is_news(&mut self, path: &Path) -> bool {
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        let now = content(path);
        self.remembered.insert(path.to_owned(), now) != Some(now)
    }

    fn watch_all(&mut self) -> Done {
        for folder in self.watched.folders() {
            self.watch_below(&folder)?;
        }
        Ok(())
    }

    /// Watches a folder and those in it, except what does not matter: an installed package may have thousands.
    fn watch_below(&mut self, folder: &Path) -> Done {
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            if !self.folders.contains(&folder) {
                if self.folders.len() >= FOLDERS_MAX {
                    return Err(Failure::new(format!(
                        "{} holds more than {FOLDERS_MAX} folders",
                        self.watched.root().display()
                    ))
                    .remedy("watch = [\"src\"] in the table [build] of wfn.toml, with what matters"));
                }
                match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    // Gone again.
                    Err(_) if !folder.is_dir() => continue,
                    Err(error) => return Err(unwatchable(&folder, &error)),
                }
                self.folders.insert(folder.clone());
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting
                .extend(folders.map(|entry| entry.path()).filter(|path| self.watched.leads_to_watched(path)));
        }
        Ok(())
    }
}

/// A number that stands for what a file holds.
fn content(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    match fs::metadata(path) {
        // Reading a pipe would wait for a writer.
        Ok(metadata) if !metadata.is_file() => "folder".hash(&mut hasher),
        Ok(metadata) if metadata.len() > READ_BYTES_MAX => {
            (metadata.len(), metadata.modified().ok()).hash(&mut hasher);
        }
        Ok(_) => fs::read(path).ok().hash(&mut hasher),
        Err(_) => "nothing".hash(&mut hasher),
    }
    hasher.finish()
}

fn unwatchable(folder: &Path, error: &notify::Error) -> Failure {
    let failure = Failure::new(format!("{} cannot be watched: {error}", folder.display()));
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => failure.remedy("sysctl fs.inotify.max_user_watches=524288"),
        notify::ErrorKind::Io(error) if error.kind() == ErrorKind::StorageFull => {
            failure.remedy("sysctl fs.inotify.max_user_watches=524288")
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(24) => {
            failure.remedy("sysctl fs.inotify.max_user_instances=1024")
        }
        _ => failure,
    }
}
