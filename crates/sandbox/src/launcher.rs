//! The threads that children are made on.
//!
//! `PR_SET_PDEATHSIG` is about the parent *thread*: a container made by a worker of a thread pool
//! would be killed when the pool retires that worker. So every child is made on a thread that is
//! kept for this, and ends only with the process; or on the caller's own, when that is known to
//! outlive the child, which saves waking another one and being woken. A thread is busy until its
//! child has executed its program (`CLONE_VFORK`); as many are started as children are made at once.

#![expect(unsafe_code, reason = "clone3(2)")]

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::child;
use crate::plan::Plan;
use crate::sys::{self, CloneArgs, Stack};

/// A child to be made.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) plan: Box<Plan>,
    /// New namespaces for it, as `CLONE_NEW*`.
    pub(crate) namespaces: i32,
    /// v2 control group it is born in.
    pub(crate) cgroup: Option<OwnedFd>,
    /// A process whose PID namespace it is born in. It does not share memory then: the processes
    /// there might look into it.
    pub(crate) inside: Option<OwnedFd>,
}

/// A child that runs its program, or has failed to and has reported it.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Given back, for the names in it.
    pub(crate) plan: Box<Plan>,
}

/// Makes a child. Returns when it has executed its program or ended.
pub(crate) fn launch(launch: Launch) -> io::Result<Launched> {
    on_launcher(|stack| make(launch, stack))?
}

/// As [`launch`], on this thread, which must live as long as the child.
pub(crate) fn launch_here(launch: Launch) -> io::Result<Launched> {
    thread_local! {
        static STACK: OnceCell<Stack> = const { OnceCell::new() };
    }
    prepare()?;
    STACK.with(|cell| {
        let stack = match cell.get() {
            Some(stack) => stack,
            None => {
                let stack = Stack::new()?;
                cell.get_or_init(|| stack)
            }
        };
        make(launch, stack)
    })
}

type Job = Box<dyn FnOnce(&Stack) + Send>;

/// Runs `job` on an idle launcher, or on a new one.
fn on_launcher<T: Send + 'static>(job: impl FnOnce(&Stack) -> T + Send + 'static) -> io::Result<T> {
    static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);

    let thread = idle().pop();
    let thread = thread.map_or_else(start, Ok)?;
    let (done, result) = mpsc::channel();
    let job = Box::new(move |stack: &Stack| {
        // Somebody waits below.
        let _ = done.send(job(stack));
    });
    let gone = |()| io::Error::other("a launcher thread has ended");
    thread.send(job).map_err(|_| gone(()))?;
    let result = result.recv().map_err(|_| gone(()))?;
    idle().push(thread);
    Ok(result)
}

/// Signals that the C library needs to reach every thread with.
const LIBC_SIGNALS: u64 = 1 << (32 - 1) | 1 << (33 - 1);

/// To be done before the first child is made.
fn prepare() -> io::Result<()> {
    // What it is before any child has changed it.
    dumpable();
    Ok(sys::keep_children()?)
}

fn start() -> io::Result<Sender<Job>> {
    prepare()?;
    let stack = Stack::new()?;
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("bld-sandbox".to_owned()).stack_size(256 << 10).spawn(
        move || {
            // Signals are for the other threads.
            let _ = sys::set_signal_mask(!LIBC_SIGNALS);
            for job in jobs {
                job(&stack);
            }
        },
    )?;
    Ok(sender)
}

/// Whether core dumps and debuggers were allowed when the first child was made.
fn dumpable() -> usize {
    static AT_START: OnceLock<usize> = OnceLock::new();
    *AT_START.get_or_init(sys::dumpable)
}

fn make(launch: Launch, stack: &Stack) -> io::Result<Launched> {
    let Launch { plan, namespaces, cgroup, inside } = launch;
    if let Some(container) = &inside {
        // Of this thread's children only; the thread itself stays where it is.
        own_pid_namespace()?;
        sys::enter_namespaces(container, libc::CLONE_NEWPID)?;
    }
    let made = clone(&plan, namespaces, cgroup.as_ref(), inside.is_none(), stack);
    if inside.is_some() {
        own_pid_namespace().and_then(|own| Ok(sys::enter_namespaces(own, libc::CLONE_NEWPID)?))?;
    }
    let (pid, pidfd) = made?;
    Ok(Launched { pid, pidfd, plan })
}

fn own_pid_namespace() -> io::Result<&'static std::fs::File> {
    static OWN: OnceLock<std::fs::File> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    let own = std::fs::File::open("/proc/self/ns/pid")?;
    Ok(OWN.get_or_init(|| own))
}

fn clone(
    plan: &Plan,
    namespaces: i32,
    cgroup: Option<&OwnedFd>,
    share_memory: bool,
    stack: &Stack,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: i32 = -1;
    let (base, size) = stack.range();
    let mut flags = (libc::CLONE_VFORK | libc::CLONE_PIDFD | namespaces) as u64;
    if share_memory {
        flags |= libc::CLONE_VM as u64;
    }
    if cgroup.is_some() {
        flags |= sys::CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: base,
        stack_size: size,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // No handler of this process may run in the child, which has its memory but not its threads.
    let mask = sys::set_signal_mask(u64::MAX)?;
    if !share_memory {
        // The copy is born with it: nobody in the container may look at what this process knows.
        if let Err(error) = sys::set_dumpable(0) {
            sys::set_signal_mask(mask)?;
            return Err(error.into());
        }
    }
    let plan: *const Plan = plan;
    // SAFETY: the stack is this thread's and free, the thread is suspended until the child is done
    // with both stack and plan, signals are blocked, and `child::main` keeps to the rules.
    let result = unsafe { sys::clone3(&args, child::main, plan.cast()) };
    sys::set_signal_mask(mask)?;
    // A child that changed its user has also changed this for the shared memory.
    if sys::dumpable() != dumpable() {
        sys::set_dumpable(dumpable())?;
    }
    let pid = result?;
    // SAFETY: the kernel has put a new descriptor there.
    Ok((pid, unsafe { sys::own(pidfd as usize) }))
}
