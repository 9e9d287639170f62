//! `/tmp`: an empty file system in memory for one instance, as large as the app's manifest asks for.
//!
//! Each is a tmpfs that is mounted at no path. The kernel keeps it within its size to the byte, whatever a guest does
//! with holes, links and files that it removes while they are open. It is gone with its last descriptor, even after
//! kill -9. To make one takes the right to mount, which the host may not have. A helper process has it: from the start
//! if the host runs as root, otherwise in a user namespace, which only a process with one thread may enter. It hands
//! descriptors to the host.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Resource, Rlimit, getgid, getuid, setrlimit};
use rustix::thread::UnshareFlags;

use crate::budget::memory::Charge;
use crate::limits;

/// The hidden subcommand of the binary that runs [`child_main`].
pub const CHILD_COMMAND: &str = "make-scratch";

/// The `/tmp` of one instance, or of one worker if nothing is kept between invocations.
pub struct Scratch {
    root: OwnedFd,
    /// The memory for its whole size, used or not.
    _charge: Charge,
}

impl Scratch {
    /// Path of its root, valid as long as this value lives.
    pub fn root(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.root.as_raw_fd()).into()
    }
}

/// Makes scratch file systems; there is one for the host.
#[derive(Default)]
pub struct ScratchMaker {
    helper: Mutex<Option<Helper>>,
}

impl ScratchMaker {
    /// Makes an empty one of the size that was charged. Blocks for about fifty microseconds, and for milliseconds if
    /// the helper has to be started.
    pub fn make(&self, charge: Charge) -> io::Result<Arc<Scratch>> {
        Ok(Arc::new(Scratch { root: self.file_system(charge.bytes())?, _charge: charge }))
    }

    /// Fails if this machine does not allow the host to make any.
    pub fn check(&self) -> io::Result<()> {
        self.file_system(limits::MEBIBYTE).map(drop)
    }

    fn file_system(&self, bytes: u64) -> io::Result<OwnedFd> {
        let mut helper = self.helper.lock();
        // A helper that has died is replaced.
        if let Some(living) = &*helper
            && let Ok(made) = living.ask(bytes)
        {
            return made.map_err(io::Error::from_raw_os_error);
        }
        *helper = None;
        helper.insert(Helper::start()?).ask(bytes)?.map_err(io::Error::from_raw_os_error)
    }
}

/// The helper process. It ends when its socket closes, so also when the host dies.
struct Helper {
    child: Child,
    socket: OwnedFd,
}

impl Helper {
    fn start() -> io::Result<Self> {
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(limits::SCRATCH_HELPER_TIMEOUT))?;
        let child = Command::new("/proc/self/exe")
            .arg(CHILD_COMMAND)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, socket })
    }

    /// The root of a new file system, or the error number of the helper; fails if there is no answer.
    fn ask(&self, bytes: u64) -> io::Result<Result<OwnedFd, i32>> {
        rustix::net::send(&self.socket, &bytes.to_le_bytes(), SendFlags::NOSIGNAL)?;
        let mut answer = [0; size_of::<i32>()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut answer)];
        let received =
            rustix::net::recvmsg(&self.socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match (received.bytes, i32::from_le_bytes(answer), descriptor) {
            (4, 0, Some(root)) => Ok(Ok(root)),
            (4, error, None) if error != 0 => Ok(Err(error)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has ended already, or it hangs. In both cases it must not stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the helper: answers each request for a file system of some size until its socket, which is its stdin, closes.
/// Returns its exit code.
pub fn child_main() -> i32 {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    // It needs no more descriptors, and a core dump would be of no use.
    for (resource, most) in [(Resource::Nofile, 64), (Resource::Core, 0)] {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    let mut may_enter = true;
    loop {
        let mut request = [0; size_of::<u64>()];
        match rustix::net::recv(socket, &mut request, RecvFlags::empty()) {
            Ok((8, _)) => {}
            Ok(_) => return 0,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return 1,
        }
        let bytes = u64::from_le_bytes(request);
        let mut made = file_system(bytes);
        if made.is_err() && std::mem::take(&mut may_enter) && enter_namespace().is_ok() {
            made = file_system(bytes);
        }
        if answer(socket, made).is_err() {
            return 1;
        }
    }
}

fn answer(socket: BorrowedFd<'_>, made: rustix::io::Result<OwnedFd>) -> rustix::io::Result<()> {
    let (number, root) = match &made {
        Ok(root) => (0, Some(root.as_fd())),
        Err(error) => (error.raw_os_error(), None),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(root) = &root {
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(root)));
    }
    let number: [u8; 4] = number.to_le_bytes();
    rustix::net::sendmsg(socket, &[IoSlice::new(&number)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// The root of a new file system that holds at most `bytes` and is mounted nowhere.
fn file_system(bytes: u64) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let inodes = bytes / limits::SCRATCH_BYTES_PER_INODE;
    fsconfig_set_string(context.as_fd(), "size", bytes.to_string())?;
    fsconfig_set_string(context.as_fd(), "nr_inodes", inodes.to_string())?;
    fsconfig_set_string(context.as_fd(), "mode", "0700")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Moves this process, which has one thread, to a new user namespace with the same user and group, and to new mounts.
fn enter_namespace() -> io::Result<()> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    #[expect(
        deprecated,
        reason = "what can be unsafe about it, sharing no table of files, is not asked for"
    )]
    rustix::thread::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}
