//! The loop of `wfn dev`: build, deploy, wait for a change. What fails is shown, and what served goes on.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wfn_manifest::manifest::Manifest;
use wfn_manifest::names::AppName;

use crate::bundle::Bundle;
use crate::client::Client;
use crate::cmd::deploy::source::Source;
use crate::cmd::deploy::{env_of_environment, source};
use crate::cmd::dev::changes::{Change, Changes, Noted};
use crate::cmd::dev::follower::Follower;
use crate::cmd::dev::runner::Runner;
use crate::cmd::text_of;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output::say;
use crate::project::Project;
use crate::publish::{Manner, publish};

/// What the session and whoever ends it share.
#[derive(Default)]
pub struct Control {
    runner: Runner,
    noted: Arc<Noted>,
}

impl Control {
    /// Ends the build that runs, and the session after what it is doing.
    pub fn stop(&self) {
        self.noted.stop();
        self.runner.stop();
    }

    /// Ends the build that runs without asking it.
    pub fn kill(&self) {
        self.noted.stop();
        self.runner.kill();
    }
}

/// One function under development.
pub struct Session {
    /// The manifest's file.
    pub file: PathBuf,
    /// The app, whose name holds for the whole session.
    pub name: AppName,
    /// The host in this process.
    pub client: Client,
    /// Where the function answers.
    pub url: String,
    /// Shows what the function writes.
    pub follower: Follower,
    /// How the session is ended.
    pub control: Arc<Control>,
}

/// Builds one after another, each because of what changed in the one before, after which that counts no more.
const ROUNDS_MAX: u32 = 5;

/// What builds write themselves, as far as that can be told.
#[derive(Default)]
struct OwnChanges {
    /// How many builds have followed one another by themselves.
    rounds: u32,
    /// What changed in each of them.
    each_time: BTreeSet<PathBuf>,
    /// What was found to be written by each build: it leads to no more.
    own: BTreeSet<PathBuf>,
}

impl OwnChanges {
    /// Whether `change` would lead to one build too many in a row. Then what has changed in each of them is the build's own;
    /// where nothing has, because each writes other files, it is what has changed now.
    fn is_one_too_many(&mut self, change: &Change) -> bool {
        if !change.is_of_build {
            self.rounds = 0;
            return false;
        }
        self.rounds += 1;
        if self.rounds == 1 {
            self.each_time.clone_from(&change.paths);
        } else {
            self.each_time.retain(|path| change.paths.contains(path));
        }
        if self.rounds < ROUNDS_MAX {
            return false;
        }
        self.rounds = 0;
        let each_time = std::mem::take(&mut self.each_time);
        self.own.extend(if each_time.is_empty() { change.paths.clone() } else { each_time });
        true
    }
}

/// What serves: nothing is deployed twice.
type Served = (Manifest, [u8; 32]);

/// How a round ended that was not stopped.
enum Round {
    Deployed { built_in: Duration, served_in: Duration, revision: String },
    Unchanged { built_in: Duration },
}

impl Session {
    /// Goes on until it is stopped. Fails only if the project cannot be watched at all.
    pub fn run(mut self, project: &Project) -> Done {
        let mut changes = Changes::of(project, self.control.noted.clone())?;
        let mut served = None;
        let mut own = OwnChanges::default();
        loop {
            match self.round(&mut changes, &mut served) {
                Ok(None) => return Ok(()),
                Ok(Some(round)) => say(&self.shown(&round)),
                Err(failure) => {
                    let then = match &served {
                        Some(_) => "\nthe version before goes on serving; waiting for a change",
                        None => "\nnothing is served yet; waiting for a change",
                    };
                    say(&format!("{failure}{then}"));
                }
            }
            match self.next_change(&mut changes, &mut own)? {
                Some(path) => say(&format!("changed: {}", self.shown_path(&path))),
                None => return Ok(()),
            }
        }
    }

    /// Waits for the next change that is worth a build; `None` if it was stopped.
    fn next_change(&self, changes: &mut Changes, own: &mut OwnChanges) -> Done<Option<PathBuf>> {
        loop {
            let Some(change) = changes.next(&own.own)? else { return Ok(None) };
            if !own.is_one_too_many(&change) {
                return Ok(Some(change.first().to_owned()));
            }
            let named =
                change.paths.iter().find(|path| own.own.contains(*path)).map_or(change.first(), |path| path);
            say(&format!(
                "{} has changed in each of the last {ROUNDS_MAX} builds: the build writes it, and it is watched; \
                 waiting for another change\ntry: let it write elsewhere, or watch = [\"src\"] in the table [build] \
                 of wfn.toml, with what matters",
                self.shown_path(named)
            ));
        }
    }

    /// Builds and deploys what there is now; `None` if it was stopped.
    fn round(&mut self, changes: &mut Changes, served: &mut Option<Served>) -> Done<Option<Round>> {
        let project = Project::find(&self.file)?;
        changes.follow(&project)?;
        let begun = Instant::now();
        let status = self.control.runner.run(&mut project.command());
        let Some(status) = status.map_err(|error| project.not_run(&error))? else { return Ok(None) };
        let doing = || format!("build {}", self.name);
        project.check_status(status).while_doing(doing)?;
        let module = project.read_module().while_doing(doing)?;
        let built_in = begun.elapsed();

        let (manifest, bundles) = self.manifest()?;
        let now = (manifest, Sha256::digest(&module.bytes).into());
        if served.as_ref() == Some(&now) {
            return Ok(Some(Round::Unchanged { built_in }));
        }
        let begun = Instant::now();
        let deployed = publish(&self.client, &now.0, bundles, Cursor::new(module.bytes), Manner::default())
            .while_doing(|| format!("deploy {}", self.name))?;
        let served_in = begun.elapsed();
        *served = Some(now);
        self.follower.start()?;
        Ok(Some(Round::Deployed { built_in, served_in, revision: text_of(&deployed["revision"]) }))
    }

    /// What the file says now, with the variables of the environment as `wfn deploy` takes them, and the folders that
    /// it mounts.
    fn manifest(&self) -> Done<(Manifest, Vec<Bundle>)> {
        let Source { mut manifest, bundles, .. } = source::find(&self.file, None)?;
        if manifest.name != self.name {
            return Err(Failure::new(format!(
                "{} names the app {} now, which was {}",
                self.file.display(),
                manifest.name,
                self.name
            ))
            .remedy("Ctrl-C and 'wfn dev' again"));
        }
        manifest.env.extend(env_of_environment());
        manifest.check().map_err(Failure::new)?;
        Ok((manifest, bundles))
    }

    fn shown(&self, round: &Round) -> String {
        let ms = |time: &Duration| time.as_millis();
        match round {
            Round::Deployed { built_in, served_in, revision } if revision == "1" => {
                format!("built in {} ms, serving in {} ms: {}", ms(built_in), ms(served_in), self.url)
            }
            Round::Deployed { built_in, served_in, revision } => format!(
                "rebuilt in {} ms, serving in {} ms: {} revision {revision}",
                ms(built_in),
                ms(served_in),
                self.url
            ),
            Round::Unchanged { built_in } => {
                format!("rebuilt in {} ms: the module is the same, nothing to deploy", ms(built_in))
            }
        }
    }

    fn shown_path(&self, path: &Path) -> String {
        let folder = self.file.parent().and_then(|folder| folder.canonicalize().ok());
        let below = folder.and_then(|folder| path.strip_prefix(folder).map(Path::to_owned).ok());
        below.unwrap_or_else(|| path.to_owned()).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(paths: &[&str], is_of_build: bool) -> Change {
        Change { paths: paths.iter().map(PathBuf::from).collect(), is_of_build }
    }

    #[test]
    fn what_each_of_five_builds_writes_is_its_own() {
        let mut own = OwnChanges::default();
        for round in 1..5 {
            let edited = format!("edited-{round}");
            assert!(!own.is_one_too_many(&change(&["generated", &edited], true)), "{round}");
        }
        assert!(own.is_one_too_many(&change(&["generated", "edited-5"], true)));
        assert_eq!(own.own, change(&["generated"], true).paths, "and not what somebody edited meanwhile");
        // Somebody's change begins anew.
        for round in 0..4 {
            assert!(!own.is_one_too_many(&change(&[&format!("new-{round}")], true)));
        }
        assert!(!own.is_one_too_many(&change(&["edited"], false)));
        for round in 0..4 {
            assert!(!own.is_one_too_many(&change(&[&format!("new-{round}")], true)));
        }
        assert!(own.is_one_too_many(&change(&["new-4"], true)));
    }
}
