//! The global flags: which host, which token, which data directory, and where each came from.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::client::{Client, Token, TokenSource};
use crate::failure::{Done, Failure};

const SERVER_DEFAULT: &str = "http://127.0.0.1:8081";

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Admin API of the host [default: http://127.0.0.1:8081]
    #[arg(long, global = true, value_name = "URL", env = "WFN_SERVER", hide_env_values = true)]
    server: Option<String>,

    /// Admin token [default: the content of the file "token" in the data directory]
    #[arg(long, global = true, value_name = "TOKEN", env = "WFN_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Where a host keeps its state [default: $XDG_DATA_HOME/wfn or ~/.local/share/wfn]
    #[arg(long, global = true, value_name = "DIR", env = "WFN_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The admin API to talk to, without a slash at its end.
    pub fn server(&self) -> Done<String> {
        // In CI an unset variable is often an empty one.
        let given = self.server.as_deref().filter(|server| !server.is_empty()).unwrap_or(SERVER_DEFAULT);
        if given.starts_with("https://") {
            return Err(Failure::usage(format!("{given}: the admin API speaks plain HTTP")).remedy(
                "an http:// address; reach a distant host through 'ssh -L 8081:127.0.0.1:8081 HOST'",
            ));
        }
        let server = match given.contains("://") {
            true => given.to_owned(),
            false => format!("http://{given}"),
        };
        Ok(server.trim_end_matches('/').to_owned())
    }

    /// The data directory, if one was named.
    pub fn given_data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().filter(|path| !path.as_os_str().is_empty())
    }

    /// The data directory.
    pub fn data_dir(&self) -> Done<PathBuf> {
        if let Some(given) = self.given_data_dir() {
            return Ok(given);
        }
        default_data_dir().ok_or_else(|| {
            Failure::usage("there is no data directory: HOME is not set").remedy("--data-dir DIR")
        })
    }

    /// The token, and where it came from.
    pub fn token(&self) -> Token {
        if let Some(given) = self.token.as_ref().filter(|token| !token.is_empty()) {
            let from_environment = env::var("WFN_TOKEN").is_ok_and(|token| token == *given);
            let source = if from_environment { TokenSource::Environment } else { TokenSource::Flag };
            return Token { text: given.trim().to_owned(), source };
        }
        let missing = |why| Token { text: String::new(), source: TokenSource::Missing(why) };
        let path = match self.data_dir() {
            Ok(data_dir) => data_dir.join("token"),
            Err(_) => return missing("there is no data directory".to_owned()),
        };
        match fs::read_to_string(&path) {
            Ok(text) => Token { text: text.trim().to_owned(), source: TokenSource::File(path) },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing(format!("there is no file {}", path.display()))
            }
            Err(error) => missing(format!("{}: {error}", path.display())),
        }
    }

    /// A client of the host's admin API.
    pub fn client(&self) -> Done<Client> {
        Ok(Client::new(self.server()?, self.token()))
    }
}

/// Where a host keeps its state if nobody says otherwise.
pub fn default_data_dir() -> Option<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share")
}

/// The folder `wfn` of a user in the folder that `variable` names, or else in `in_home`; none if there is no home either.
pub fn user_folder(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(in_home)));
    folder.map(|folder| folder.join("wfn"))
}
