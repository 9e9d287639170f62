//! `wfn cert`: the certificates with which the host serves HTTPS.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::encoded_segment;
use crate::cmd::text_of;
use crate::failure::{Done, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn cert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Certificates come from files ('wfn up --tls-cert', '--tls-certs'), which are read again when they change, and from an
authority ('wfn up --acme'), for every host name that an app claims.")]
pub struct Cert {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the certificates, and the names that wait for one
    #[command(visible_alias = "ls")]
    List,
    /// Order a new certificate from the authority now
    Renew {
        /// A host name that an app claims
        #[arg(value_name = "NAME")]
        name: String,
    },
}

impl Cert {
    /// Does what is asked.
    pub fn run(self, global: &Global) -> Done {
        match self.what {
            What::List => {
                let found = global.client()?.get("/v1/certificates");
                let found = found.while_doing(|| "list the certificates".to_owned())?;
                if global.json {
                    return output::print_json(&found);
                }
                output::print(&shown(&found))
            }
            What::Renew { name } => {
                let path = format!("/v1/certificates/{}/renew", encoded_segment(&name));
                let done = global.client()?.change(Method::POST, &path, &json!({}));
                let done = done.while_doing(|| format!("renew the certificate for {name}"))?;
                if global.json {
                    return output::print_json(&done);
                }
                output::print(&format!(
                    "a new certificate for {name} is ordered; 'wfn cert ls' shows when it is there"
                ))
            }
        }
    }
}

fn shown(found: &Value) -> String {
    let all = found["certificates"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "there is no certificate; 'wfn up --help' says how to serve HTTPS".to_owned();
    }
    let time =
        |seconds: &Value| seconds.as_u64().map_or("-".to_owned(), |seconds| output::time(seconds * 1_000));
    let rows: Vec<_> = all
        .iter()
        .map(|one| {
            let names = one["names"].as_array().map(Vec::as_slice).unwrap_or_default();
            let names: Vec<_> = names.iter().map(text_of).collect();
            let error = one["error"].as_str().map(|error| output::line(error).into_owned());
            vec![
                names.join(" "),
                text_of(&one["source"]),
                time(&one["not_after_s"]),
                time(&one["next_order_s"]),
                error.unwrap_or_default(),
            ]
        })
        .collect();
    output::table(&["NAMES", "FROM", "UNTIL", "NEXT ORDER", "LAST ERROR"], &rows)
}
