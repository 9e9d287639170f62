//! What shells and `man` get of the commands.

use crate::harness::wfn;

#[test]
fn shells_complete_every_command() {
    for (shell, mark) in [("bash", "complete -F _wfn"), ("zsh", "#compdef wfn"), ("fish", "complete -c wfn")]
    {
        let script = wfn(&["completion", shell]).ok();
        assert!(script.contains(mark), "{shell}: {script}");
        for command in ["deploy", "rollback", "max-instances", "completion"] {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
    }
    assert_eq!(wfn(&["completion", "tcsh"]).code, Some(2));
}

#[test]
fn each_command_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    wfn(&["man", pages.to_str().unwrap()]).ok();
    for (page, word) in [("wfn.1", "rollback"), ("wfn-deploy.1", "canary"), ("wfn-kv-put.1", "KEY")] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap_or_default();
        assert!(text.starts_with(".ie") && text.contains(".TH") && text.contains(word), "{page}: {text}");
    }
    // A file stands where the folder should be.
    let failed = wfn(&["man", pages.join("wfn.1").to_str().unwrap()]);
    assert_eq!(failed.code, Some(1));
}
