//! Blobs in S3: the same behaviour against a server that somebody else wrote (moto).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::blobs::{CONTAINER, ask, conditions_hold, what_is_put_is_got};
use crate::harness::{DataDir, Host, root, run, until};

/// Serves S3 on a port of its own, with a bucket. For each line `PREFIX` it says which keys begin so, and how many uploads
/// in parts are unfinished.
const SERVER: &str = r"
import logging, sys
import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
url = 'http://%s:%d' % server.get_host_and_port()
s3 = boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id='key',
                  aws_secret_access_key='secret', config=Config(s3={'addressing_style': 'path'}))
s3.create_bucket(Bucket='bucket')
print(url, flush=True)
for line in sys.stdin:
    keys = [found['Key'] for found in s3.list_objects_v2(Bucket='bucket', Prefix=line.strip()).get('Contents', [])]
    unfinished = len(s3.list_multipart_uploads(Bucket='bucket').get('Uploads', []))
    print(unfinished, *keys, flush=True)
";

struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Server {
    fn start() -> Self {
        let python = root().join("target/tools/tests/bin/python");
        assert!(python.is_file(), "run 'cargo xtask guests --with python' first");
        let mut child = Command::new(python)
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, lines, url: String::new() };
        server.url = server.line();
        server
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(
            !line.is_empty(),
            "the server of S3 has ended; 'cargo xtask guests --with python' installs it"
        );
        line.trim_end().to_owned()
    }

    /// How many uploads are unfinished, and the keys that begin with `prefix`.
    fn holds(&mut self, prefix: &str) -> (usize, Vec<String>) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{prefix}").unwrap();
        let line = self.line();
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().unwrap().parse().unwrap(), words.collect())
    }

    fn host(&self, data: &DataDir) -> Host {
        let environment = [
            ("WFN_BLOBS", "s3://bucket/some/prefix"),
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        Host::start_as(data, &[], &environment)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what this is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn s3_holds_blobs_as_the_data_directory_does() {
    let mut server = Server::start();
    let data = DataDir::new();
    let host = server.host(&data);
    host.deploy("fetch", &CONTAINER);
    what_is_put_is_got(&host);
    conditions_hold(&host);
    until("what is gone is gone from the bucket", || server.holds("").1.is_empty().then_some(()));

    // In parts, the last one shorter; then again from the command line.
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(ask(&host, "PUT", "images/large", &[], &large).status, 204);
    assert!(ask(&host, "GET", "images/large", &[], b"").body == large);
    let part = ask(&host, "GET", "images/large", &[("range", "bytes=6000000-6000003")], b"");
    assert_eq!((part.status, &part.body[..]), (206, &large[6_000_000..6_000_004]));
    let (unfinished, keys) = server.holds("some/prefix/fetch/images/");
    assert_eq!((unfinished, keys.len()), (0, 1), "{keys:?}");

    let host = server.host(&host.kill());
    let file = data.path().join("out");
    host.wfn(&["blob", "get", "fetch", "images", "large", "-o", file.to_str().unwrap()]).ok();
    assert!(std::fs::read(&file).unwrap() == large);
    host.wfn(&["rm", "fetch", "-y", "--with-data"]).ok();
    until("nothing of the app is left in the bucket", || server.holds("").1.is_empty().then_some(()));
}

#[test]
fn s3_that_fails_is_said_and_loses_nothing() {
    let mut server = Server::start();
    let data = DataDir::new();
    let host = server.host(&data);
    host.deploy("fetch", &CONTAINER);
    assert_eq!(ask(&host, "PUT", "images/n", &[], b"old").status, 204);
    assert_eq!(server.holds("").1.len(), 1);
    drop(server);
    for (method, body) in [("PUT", &b"new"[..]), ("GET", b"")] {
        let answer = ask(&host, method, "images/n", &[], body);
        assert_eq!((answer.status, answer.code().as_str()), (502, "blob-store-failed"), "{}", answer.text());
    }
    assert_eq!(ask(&host, "HEAD", "images/n", &[], b"").header("length"), Some("3"));
    // Nor does a host take other bytes for these.
    host.kill();
    let refused = run(Command::new(env!("CARGO_BIN_EXE_wfn"))
        .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(data.path()));
    let message = "the blobs of this host are in s3://bucket/some/prefix, not in the data directory";
    assert!(refused.code == Some(1) && refused.stderr.contains(message), "{refused:?}");
}
