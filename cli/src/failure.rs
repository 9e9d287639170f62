//! How a command ends without success: one line for people, an exit code for scripts.

use std::fmt::Display;
use std::process::ExitCode;

/// Refused or failed.
const EXIT_FAILED: u8 = 1;
/// Wrong usage; clap ends with the same code.
const EXIT_USAGE: u8 = 2;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    message: String,
    /// What would help, for the line `try: …`.
    remedy: Option<String>,
    /// The stable code of the host, where it was the host that refused.
    code: Option<String>,
    exit: u8,
}

/// What every command ends with.
pub type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// Something was refused or failed.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), remedy: None, code: None, exit: EXIT_FAILED }
    }

    /// The command was called in a way that cannot work.
    pub fn usage(message: impl Display) -> Self {
        Self { exit: EXIT_USAGE, ..Self::new(message) }
    }

    /// Adds the line `try: …`.
    pub fn remedy(self, remedy: impl Display) -> Self {
        Self { remedy: Some(remedy.to_string()), ..self }
    }

    /// Adds the host's stable code.
    pub fn with_code(self, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..self }
    }

    /// The host's stable code, if the host refused.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What is wrong, without code and remedy.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts "failed to …:" before the message.
    pub fn while_doing(self, what: impl Display) -> Self {
        Self { message: format!("failed to {what}: {}", self.message), ..self }
    }

    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wfn: {}", self.message)?;
        if let Some(code) = &self.code {
            write!(f, " [{code}]")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\ntry: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Says what was being done when something failed.
pub trait WhileDoing<T> {
    /// Puts "failed to …:" before the message of a failure.
    fn while_doing(self, what: impl FnOnce() -> String) -> Done<T>;
}

impl<T> WhileDoing<T> for Done<T> {
    fn while_doing(self, what: impl FnOnce() -> String) -> Done<T> {
        self.map_err(|failure| failure.while_doing(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_remedy() {
        let failure = Failure::new("no room").with_code("over-quota").remedy("wfn up --memory-quota-mb 9000");
        let text = failure.while_doing("deploy hello").to_string();
        assert_eq!(
            text,
            "wfn: failed to deploy hello: no room [over-quota]\ntry: wfn up --memory-quota-mb 9000"
        );
    }
}
