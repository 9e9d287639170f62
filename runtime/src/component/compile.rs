//! Compiling in a child process with limits: hostile modules can make a compiler take minutes and
//! gigabytes, and that must cost the host nothing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::component::code::Code;
use crate::component::componentize::componentize;
use crate::component::engine;
use crate::component::function_cache::FunctionCache;
use crate::component::inspect::{Form, GuestKind, inspect};
use crate::limits;

/// The hidden subcommand of the binary that runs [`child_main`].
pub const CHILD_COMMAND: &str = "compile-module";

/// Why a module was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler says what is wrong with the module.
    #[error("this module does not compile: {0}")]
    Invalid(String),
    /// A core module that describes a component, but does not become one that can run here.
    #[error("this core module does not become a component: {0}")]
    NotAComponent(String),
    /// The module takes more than a compilation may.
    #[error("compiling this module takes more than {0}: split it or strip what it does not use")]
    TooCostly(String),
    /// The child could not be run.
    #[error("run the compiler: {0}")]
    Child(#[from] std::io::Error),
}

/// Exit code of a child that has said on stderr what is wrong with the module.
const EXIT_INVALID: i32 = 10;
/// Exit code of a child that has said on stderr why the module does not become a component.
const EXIT_NOT_A_COMPONENT: i32 = 11;
/// How often the parent looks whether the child is done.
const POLL: Duration = Duration::from_millis(5);
/// Most bytes of the child's message that are passed on.
const MESSAGE_BYTES_MAX: u64 = 4_096;

/// Compiles `module` to `artifact` in a limited child of this binary and says what kind of guest it is. Blocks;
/// `progress` is told about every half second how long it has taken so far. Functions that the file `functions` has
/// from the compilation before are not compiled again.
pub fn in_child(
    module: &Path,
    artifact: &Path,
    functions: Option<&Path>,
    progress: &mut dyn FnMut(Duration),
) -> Result<GuestKind, CompileError> {
    let mut child = Command::new("/proc/self/exe")
        .arg(CHILD_COMMAND)
        .arg(module)
        .arg(artifact)
        .args(functions)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let status = wait(&mut child, progress)?;
    let (kind, message) = (first_bytes(child.stdout.take()), first_bytes(child.stderr.take()));
    match status {
        None => Err(CompileError::TooCostly(format!("{} s", limits::COMPILE_TIMEOUT.as_secs()))),
        Some(status) if status.success() => {
            let kind = serde_json::from_str(&kind).map_err(std::io::Error::from);
            Ok(kind?)
        }
        Some(status) if status.code() == Some(EXIT_INVALID) => {
            Err(CompileError::Invalid(message.trim().to_owned()))
        }
        Some(status) if status.code() == Some(EXIT_NOT_A_COMPONENT) => {
            Err(CompileError::NotAComponent(message.trim().to_owned()))
        }
        // Out of memory ends in an abort, out of CPU time in a signal.
        Some(_) => Err(CompileError::TooCostly(format!(
            "{} MB of memory or {} s of CPU time",
            limits::COMPILE_MEMORY_BYTES / limits::MEBIBYTE,
            limits::COMPILE_CPU_SECONDS
        ))),
    }
}

/// What the child wrote there. Unreadable bytes leave it empty; the child's status still says what happened.
fn first_bytes(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(MESSAGE_BYTES_MAX).read_to_string(&mut text);
    }
    text
}

/// Waits for the child; `None` if its time was over and it has been killed.
fn wait(child: &mut Child, progress: &mut dyn FnMut(Duration)) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let mut reported = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let elapsed = begun.elapsed();
        if elapsed > limits::COMPILE_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        if elapsed - reported >= Duration::from_millis(500) {
            reported = elapsed;
            progress(elapsed);
        }
        thread::sleep(POLL);
    }
}

/// What the child does: limits itself, compiles, writes, says the kind of guest on stdout. Returns its exit code.
pub fn child_main(module: &Path, artifact: &Path, functions: Option<&Path>) -> i32 {
    match limit_self().and_then(|()| fs::read(module)) {
        Ok(bytes) => compile(&bytes, artifact, functions),
        Err(error) => {
            eprintln!("prepare to compile: {error}");
            1
        }
    }
}

fn compile(bytes: &[u8], artifact: &Path, functions: Option<&Path>) -> i32 {
    let (kind, component) = match complete(bytes) {
        Ok(complete) => complete,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_NOT_A_COMPONENT;
        }
    };
    let bytes = component.as_deref().unwrap_or(bytes);
    let cache = functions.map(|file| Arc::new(FunctionCache::open(file)));
    let compiled = engine::compiling_engine(kind.engine_kind(), cache.clone())
        .and_then(|engine| Code::compile(&engine, kind, bytes));
    let code = match compiled {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            return EXIT_INVALID;
        }
    };
    let written = File::create(artifact).and_then(|mut file| file.write_all(&code));
    if let (Some(cache), Some(file)) = (cache, functions)
        && let Err(error) = cache.save(file)
    {
        // The next compilation takes longer.
        eprintln!("keep the compiled functions: {error}");
    }
    match written {
        Ok(()) => {
            println!("\"{}\"", kind.as_str());
            0
        }
        Err(error) => {
            eprintln!("write the compiled module: {error}");
            1
        }
    }
}

/// What kind of guest `bytes` are, with the component made of them if they are not one yet.
fn complete(bytes: &[u8]) -> Result<(GuestKind, Option<Vec<u8>>), String> {
    let form = inspect(bytes).map_err(|error| error.to_string())?.form;
    if let Form::Complete(kind) = form {
        return Ok((kind, None));
    }
    let component = componentize(bytes)?;
    match inspect(&component).map_err(|error| error.to_string())?.form {
        Form::Complete(kind) => Ok((kind, Some(component))),
        Form::ToComponentize => Err("the encoder did not make a component of it".into()),
    }
}

fn limit_self() -> std::io::Result<()> {
    let limit = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    limit(Resource::As, limits::COMPILE_MEMORY_BYTES)?;
    limit(Resource::Cpu, limits::COMPILE_CPU_SECONDS)?;
    limit(Resource::Fsize, limits::ARTIFACT_BYTES_MAX)?;
    limit(Resource::Nofile, 64)?;
    limit(Resource::Core, 0)?;
    // Nobody waits for the result of a host that was killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // A deploy must not slow down what is being served.
    rustix::process::nice(10)?;
    Ok(())
}
