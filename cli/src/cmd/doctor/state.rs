//! The checks of the data directory: it belongs to its owner alone, and there is room in it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::getuid;

use crate::cmd::doctor::Finding;
use crate::output::bytes;

/// Less free space than this may not take the next module and its machine code.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

/// Looks at the data directory.
pub fn check(data_dir: &Path) -> Vec<Finding> {
    let shown = data_dir.display();
    let mode = match fs::metadata(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Finding::ok("data directory", format!("{shown} is made by the first 'wfn up'"))];
        }
        Err(error) => {
            let seen = format!("{shown}: {error}");
            return vec![Finding::fail("data directory", seen, "--data-dir DIR with a folder of your own")];
        }
        Ok(metadata) if !metadata.is_dir() => {
            let seen = format!("{shown} is not a directory");
            return vec![Finding::fail("data directory", seen, "--data-dir DIR with a folder of your own")];
        }
        Ok(metadata) if metadata.uid() != getuid().as_raw() => Finding::warn(
            "data directory",
            format!("{shown} belongs to another user (id {})", metadata.uid()),
            "run wfn as that user, or name another --data-dir",
        ),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Finding::fail(
            "data directory",
            format!(
                "{shown} is open to others (mode {:03o}): machine code is loaded from it",
                metadata.mode() & 0o777
            ),
            match data_dir.join("wfn.db").exists() {
                true => format!("chmod 700 {shown}"),
                false => {
                    "--data-dir DIR with a folder for wfn alone: 'wfn up' closes it to others".to_owned()
                }
            },
        ),
        Ok(_) => Finding::ok("data directory", format!("{shown}, for its owner alone")),
    };
    vec![mode, check_space(data_dir), check_token(&data_dir.join("token"))]
}

fn check_space(data_dir: &Path) -> Finding {
    let free = match rustix::fs::statvfs(data_dir) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => return Finding::warn("disk", error.to_string(), "df, on the data directory"),
    };
    match free < FREE_BYTES_MIN {
        true => Finding::warn(
            "disk",
            format!("{} free", bytes(free)),
            "make room: deploys are refused on a full disk",
        ),
        false => Finding::ok("disk", format!("{} free", bytes(free))),
    }
}

fn check_token(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Finding::fail(
            "token",
            format!("{shown} can be read by others (mode {:03o})", metadata.mode() & 0o777),
            format!(
                "chmod 600 {shown}; if others were on this machine: stop the host, remove the file, start it"
            ),
        ),
        Ok(_) => Finding::ok("token", format!("{shown}, for its owner alone")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::warn("token", format!("there is no {shown}"), "the next 'wfn up' makes one")
        }
        Err(error) => {
            Finding::fail("token", format!("{shown}: {error}"), "look at the file's owner and mode")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::doctor::Level;

    #[test]
    fn what_others_may_read_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (data_dir, token) = (folder.path().join("wfn"), folder.path().join("wfn/token"));
        let levels = || check(&data_dir).iter().map(|finding| finding.level).collect::<Vec<_>>();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(levels(), [Level::Ok]);
        fs::create_dir(&data_dir).unwrap();
        set(&data_dir, 0o755);
        let seen = levels();
        assert_eq!((seen[0], seen[2]), (Level::Fail, Level::Warn));
        fs::write(&token, "x").unwrap();
        set(&data_dir, 0o700);
        set(&token, 0o644);
        let seen = levels();
        assert_eq!((seen[0], seen[2]), (Level::Ok, Level::Fail));
        set(&token, 0o600);
        assert_eq!(levels()[2], Level::Ok);
    }
}
