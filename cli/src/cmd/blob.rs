//! `wfn blob`: the blobs of an app, to look at and to change. They stream; none is held in memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use ureq::SendBody;
use ureq::http::Method;
use wfn_manifest::limits;
use wfn_manifest::names::AppName;

use crate::client::{Client, app_path, encoded_segment};
use crate::cmd::stores::{Overview, print_pages};
use crate::cmd::{app_name, text_of};
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;

/// Arguments of `wfn blob`.
#[derive(Debug, Args)]
#[command(after_help = "An app has the containers that its wfn.toml names as blob_containers.")]
pub struct Blob {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a blob, or write it to a file
    Get(Get),
    /// Store a file, or standard input, as a blob
    Put(Put),
    /// List the blobs of a container, or the containers of an app
    Ls(List),
    /// Remove a blob
    Rm(Remove),
}

/// Which blob.
#[derive(Debug, Args)]
struct Place {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its containers
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// The blob's name
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    name: String,
}

#[derive(Debug, Args)]
struct Get {
    #[command(flatten)]
    place: Place,

    /// Write it to this file, whole or not at all, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    place: Place,

    /// What to store; - is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// What it is, for whoever reads it, such as image/png
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    /// Name of the app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: AppName,

    /// One of its containers
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,

    /// Blobs whose names begin with this alone
    #[arg(long, value_name = "TEXT", requires = "container", allow_hyphen_values = true)]
    prefix: Option<String>,
}

#[derive(Debug, Args)]
struct Remove {
    #[command(flatten)]
    place: Place,
}

impl Blob {
    /// Does it.
    pub fn run(self, global: &Global) -> Done {
        let client = global.client()?;
        match self.action {
            Action::Get(get) => get.run(&client).while_doing(|| format!("get a blob of {}", get.place.app)),
            Action::Put(put) => {
                put.run(&client, global.json).while_doing(|| format!("put a blob of {}", put.place.app))
            }
            Action::Ls(list) => {
                list.run(&client, global.json).while_doing(|| format!("list the blobs of {}", list.app))
            }
            Action::Rm(Remove { place }) => {
                remove(&client, &place, global.json).while_doing(|| format!("remove a blob of {}", place.app))
            }
        }
    }
}

impl Place {
    fn path(&self) -> String {
        let (container, name) = (encoded_segment(&self.container), encoded_segment(&self.name));
        app_path(&self.app, &format!("/blobs/{container}/{name}"))
    }
}

impl Get {
    fn run(&self, client: &Client) -> Done {
        let mut bytes = client.stream(&self.place.path())?.into_body().into_reader();
        let Some(path) = &self.output else {
            let mut chunk = vec![0; limits::BLOB_CHUNK_BYTES];
            loop {
                match bytes.read(&mut chunk).map_err(cut)? {
                    0 => return Ok(()),
                    count => output::write(&chunk[..count])?,
                }
            }
        };
        let unwritable = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder).map_err(unwritable)?;
        let mut chunk = vec![0; limits::BLOB_CHUNK_BYTES];
        loop {
            match bytes.read(&mut chunk).map_err(cut)? {
                0 => break,
                count => file.write_all(&chunk[..count]).map_err(unwritable)?,
            }
        }
        file.persist(path).map(drop).map_err(|error| unwritable(error.error))
    }
}

fn cut(error: io::Error) -> Failure {
    Failure::new(format!("the answer was cut: {error}"))
}

/// Counts what is read.
struct Counted<R>(R, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

impl Put {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let mut request = client.request(Method::PUT, &self.place.path());
        if let Some(content_type) = &self.content_type {
            request = request.header("content-type", content_type);
        }
        let source: Box<dyn Read> = match self.file.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => {
                let unreadable = |error| Failure::usage(format!("{}: {error}", self.file.display()));
                let file = File::open(&self.file).map_err(unreadable)?;
                let metadata = file.metadata().map_err(unreadable)?;
                if metadata.is_file() {
                    check_length(metadata.len())?;
                    request = request.header("content-length", metadata.len());
                }
                Box::new(file)
            }
        };
        let mut source = Counted(source, 0);
        let response = client.send(request.body(SendBody::from_reader(&mut source)), None)?;
        let response = client.accepted(response)?;
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
        if as_json {
            return output::print_json(&json!({ "name": self.place.name, "etag": tag, "bytes": source.1 }));
        }
        output::print(&format!(
            "put {} in {}: {}",
            output::line(&self.place.name),
            self.place.container,
            output::bytes(source.1)
        ))
    }
}

/// What the host would not take is not sent.
fn check_length(bytes: u64) -> Done {
    let most = limits::BLOB_BYTES_MAX;
    match bytes <= most {
        true => Ok(()),
        false => Err(Failure::new(format!("the file has more than {most} bytes, which is the most"))
            .with_code("blob-too-large")),
    }
}

const CONTAINERS: Overview = Overview {
    path: "/blobs",
    list: "containers",
    columns: &[("container", "CONTAINER"), ("blobs", "BLOBS")],
};

impl List {
    fn run(&self, client: &Client, as_json: bool) -> Done {
        let Some(container) = &self.container else { return CONTAINERS.print(client, &self.app, as_json) };
        let (container, prefix) =
            (encoded_segment(container), encoded_segment(self.prefix.as_deref().unwrap_or_default()));
        let path = |next: &Value| {
            let after = encoded_segment(next.as_str().unwrap_or_default());
            app_path(&self.app, &format!("/blobs/{container}?prefix={prefix}&after={after}"))
        };
        let line = |blob: &Value| {
            let bytes = output::bytes(blob["bytes"].as_u64().unwrap_or_default());
            format!("{}  {bytes:>10}  {}", text_of(&blob["modified"]), text_of(&blob["name"]))
        };
        print_pages(client, "blobs", as_json, path, line)
    }
}

fn remove(client: &Client, place: &Place, as_json: bool) -> Done {
    let request = client.request(Method::DELETE, &place.path()).header("if-match", "*");
    let removed = match client.accepted(client.send(request.body(SendBody::none()), None)?) {
        Ok(_) => true,
        Err(failure) if failure.code() == Some("blob-changed") => false,
        Err(failure) => return Err(failure),
    };
    if as_json {
        return output::print_json(&json!({ "name": place.name, "removed": removed }));
    }
    output::print(&match removed {
        true => format!("removed {} from {}", output::line(&place.name), place.container),
        false => format!("{} is not in {}", output::line(&place.name), place.container),
    })
}
