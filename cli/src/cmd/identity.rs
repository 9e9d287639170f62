//! `wfn identity`: the keys by which the host signs who its apps are.

use clap::{Args, Subcommand};
use ureq::http::Method;

use crate::client::nothing;
use crate::failure::{Done, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn identity`.
#[derive(Debug, Args)]
#[command(after_help = "\
A function gets a token at http://wfn.internal/identity/token?audience=NAME. Others check it with the keys at
/.well-known/jwks.json of the functions' address. The host replaces its key every 30 days by itself.")]
pub struct Identity {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sign with a new key from now on; the one before stays published for a day
    Rotate,
}

impl Identity {
    /// Does what is asked.
    pub fn run(self, global: &Global) -> Done {
        let What::Rotate = self.what;
        let rotated = global
            .client()?
            .change(Method::POST, "/v1/identity/rotate", &nothing())
            .while_doing(|| "replace the signing key".to_owned())?;
        if global.json {
            return output::print_json(&rotated);
        }
        output::print("tokens are signed with a new key from now on")
    }
}
